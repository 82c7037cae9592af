package pontoon;

import com.alibaba.nacos.api.NacosFactory;
import com.alibaba.nacos.api.exception.NacosException;
import com.alibaba.nacos.api.naming.NamingFactory;
import com.alibaba.nacos.api.naming.NamingService;
import com.alibaba.nacos.api.naming.listener.NamingEvent;
import com.alibaba.nacos.api.naming.pojo.Instance;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Properties;
import java.util.Scanner;
import java.util.TreeMap;
import java.util.stream.Collectors;

/**
 * A real Nacos client that keeps one instance registered: options as key=value, metadata as
 * metadata.KEY=VALUE. It prints "@ready" once registered, takes lines "ID COMMAND ARGUMENT" from
 * standard input and answers each with "@ID ok" or "@ID error MESSAGE". Commands: register,
 * deregister, weight NUMBER, enabled BOOLEAN, healthy BOOLEAN, metadata KEY=VALUE; watch SERVICE,
 * which prints "@mark SERVICE MARK" with the metadata "mark" of its first instance, now and whenever
 * it changes; config DATAID, which asks for a configuration; select SERVICE, answered with its healthy
 * instances, each as IP:PORT@CLUSTER WEIGHT KEY=VALUE..., separated by " | ".
 */
public class NacosApp {
  private final Properties properties = new Properties();
  private final NamingService naming;
  private final String service;
  private final String group;
  private final Instance instance = new Instance();

  private NacosApp(Map<String, String> options) throws NacosException {
    properties.putAll(options);
    naming = NamingFactory.createNamingService(properties);
    service = options.get("service");
    group = options.get("group");
    instance.setIp(options.get("ip"));
    instance.setPort(Integer.parseInt(options.get("port")));
    instance.setWeight(Double.parseDouble(options.get("weight")));
    instance.setClusterName(options.get("cluster"));
    instance.setEphemeral(Boolean.parseBoolean(options.get("ephemeral")));
    options.forEach((key, value) -> {
      if (key.startsWith("metadata.")) instance.addMetadata(key.substring("metadata.".length()), value);
    });
  }

  public static void main(String[] args) throws NacosException {
    Map<String, String> options = new HashMap<>();
    for (String arg : args) {
      int equals = arg.indexOf('=');
      options.put(arg.substring(0, equals), arg.substring(equals + 1));
    }
    NacosApp app = new NacosApp(options);
    app.register();
    System.out.println("@ready");
    for (Scanner input = new Scanner(System.in); input.hasNextLine(); ) {
      String[] line = input.nextLine().split(" ", 3);
      System.out.println("@" + line[0] + " " + app.answer(line[1], line.length > 2 ? line[2] : ""));
    }
    System.exit(0);
  }

  private String answer(String command, String argument) {
    try {
      return "ok " + run(command, argument);
    } catch (NacosException | RuntimeException e) {
      return "error " + String.valueOf(e.getMessage()).replaceAll("\\s+", " ");
    }
  }

  private String run(String command, String argument) throws NacosException {
    switch (command) {
      case "register" -> {}
      case "deregister" -> {
        naming.deregisterInstance(service, group, instance);
        return "";
      }
      case "weight" -> instance.setWeight(Double.parseDouble(argument));
      case "enabled" -> instance.setEnabled(Boolean.parseBoolean(argument));
      case "healthy" -> instance.setHealthy(Boolean.parseBoolean(argument));
      case "watch" -> {
        naming.subscribe(argument, group, event -> {
          List<Instance> instances = ((NamingEvent) event).getInstances();
          String mark = instances.isEmpty() ? "" : instances.get(0).getMetadata().getOrDefault("mark", "");
          System.out.println("@mark " + argument + " " + mark);
        });
        return "";
      }
      case "config" -> {
        NacosFactory.createConfigService(properties).getConfig(argument, group, 3000);
        return "";
      }
      case "select" -> {
        return naming.selectInstances(argument, group, true).stream().map(NacosApp::text).collect(Collectors.joining(" | "));
      }
      case "metadata" -> {
        int equals = argument.indexOf('=');
        instance.addMetadata(argument.substring(0, equals), argument.substring(equals + 1));
      }
      default -> throw new IllegalArgumentException("no command " + command);
    }
    register();
    return "";
  }

  private static String text(Instance one) {
    String metadata = new TreeMap<>(one.getMetadata()).entrySet().stream().map(Map.Entry::toString).collect(Collectors.joining(" "));
    return one.getIp() + ":" + one.getPort() + "@" + one.getClusterName() + " " + one.getWeight() + " " + metadata;
  }

  private void register() throws NacosException {
    naming.registerInstance(service, group, instance);
  }
}
