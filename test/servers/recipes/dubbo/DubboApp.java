package pontoon;

import java.util.Map;
import java.util.Scanner;
import java.util.TreeMap;
import org.apache.dubbo.common.utils.NetUtils;
import org.apache.dubbo.config.AbstractInterfaceConfig;
import org.apache.dubbo.config.ApplicationConfig;
import org.apache.dubbo.config.MetadataReportConfig;
import org.apache.dubbo.config.ProtocolConfig;
import org.apache.dubbo.config.ReferenceConfig;
import org.apache.dubbo.config.RegistryConfig;
import org.apache.dubbo.config.ServiceConfig;
import org.apache.dubbo.config.bootstrap.DubboBootstrap;

/**
 * A real Dubbo application: "provider" or "consumer", then its options as key=value.
 * It prints "@ready ADDRESS" once it is there and ends, unregistering, on SIGTERM. A consumer takes
 * lines "ID NAME" from standard input, calls hello(NAME) and prints "@ID ok ANSWER" or
 * "@ID error MESSAGE".
 */
public class DubboApp {
  public static void main(String[] args) throws Exception {
    Map<String, String> options = new TreeMap<>();
    for (int i = 1; i < args.length; i++) {
      int equals = args[i].indexOf('=');
      options.put(args[i].substring(0, equals), args[i].substring(equals + 1));
    }
    if (args[0].equals("provider")) provide(options);
    else consume(options);
  }

  private static void provide(Map<String, String> options) throws Exception {
    int port = Integer.parseInt(options.get("port"));
    ServiceConfig<Greeter> service = new ServiceConfig<>();
    service.setInterface(Greeter.class);
    service.setRef(new Answers(options.get("name")));
    service.setGroup(options.get("group"));
    service.setVersion(options.get("version"));
    if (options.containsKey("weight")) service.setWeight(Integer.valueOf(options.get("weight")));
    if (options.containsKey("warmup")) service.setWarmup(Integer.valueOf(options.get("warmup")));
    if (!options.containsKey("registry")) service.setRegister(false);

    start(options, new ProtocolConfig(options.get("protocol"), port), service);
    System.out.println("@ready " + NetUtils.getLocalHost() + ":" + port);
    Thread.currentThread().join();
  }

  private static void consume(Map<String, String> options) {
    ReferenceConfig<Greeter> reference = new ReferenceConfig<>();
    reference.setInterface(Greeter.class);
    reference.setGroup(options.get("group"));
    reference.setVersion(options.get("version"));
    reference.setProtocol(options.get("protocol"));
    reference.setCheck(false);
    reference.setRetries(0);
    reference.setTimeout(3000);
    if (options.containsKey("url")) reference.setUrl(options.get("url"));

    start(options, null, reference);
    Greeter greeter = reference.get();
    System.out.println("@ready " + NetUtils.getLocalHost());
    for (Scanner input = new Scanner(System.in); input.hasNextLine(); ) {
      String[] line = input.nextLine().split(" ", 2);
      System.out.println("@" + line[0] + " " + call(greeter, line[1]));
    }
    System.exit(0);
  }

  private static String call(Greeter greeter, String name) {
    try {
      return "ok " + greeter.hello(name);
    } catch (RuntimeException e) {
      return "error " + String.valueOf(e.getMessage()).replaceAll("\\s+", " ");
    }
  }

  private static void start(
      Map<String, String> options, ProtocolConfig protocol, AbstractInterfaceConfig serviceOrReference) {
    ApplicationConfig application = new ApplicationConfig(options.get("application"));
    application.setQosEnable(false);
    application.setRegisterMode(options.get("mode"));
    application.setMetadataType(options.get("metadata"));
    if (options.containsKey("metadataPort")) {
      application.setMetadataServicePort(Integer.valueOf(options.get("metadataPort")));
    }
    DubboBootstrap bootstrap = DubboBootstrap.getInstance().application(application);
    if (protocol != null) bootstrap.protocol(protocol);
    bootstrap.registry(registry(options));
    if ("remote".equals(options.get("metadata"))) {
      bootstrap.metadataReport(new MetadataReportConfig(options.get("registry")));
    }
    if (serviceOrReference instanceof ServiceConfig<?> service) bootstrap.service(service);
    if (serviceOrReference instanceof ReferenceConfig<?> reference) bootstrap.reference(reference);
    bootstrap.start();
  }

  private static RegistryConfig registry(Map<String, String> options) {
    if (!options.containsKey("registry")) return new RegistryConfig("N/A");
    RegistryConfig registry = new RegistryConfig(options.get("registry"));
    registry.setTimeout(10_000);
    return registry;
  }

  private record Answers(String provider) implements Greeter {
    @Override
    public String hello(String name) {
      return "hello " + name + " from " + provider;
    }

    @Override
    public int add(int a, int b) {
      return a + b;
    }
  }
}
