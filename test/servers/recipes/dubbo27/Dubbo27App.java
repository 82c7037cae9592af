package pontoon;

import java.util.Map;
import java.util.Scanner;
import java.util.TreeMap;
import org.apache.dubbo.common.utils.NetUtils;
import org.apache.dubbo.config.ApplicationConfig;
import org.apache.dubbo.config.ProtocolConfig;
import org.apache.dubbo.config.ReferenceConfig;
import org.apache.dubbo.config.RegistryConfig;
import org.apache.dubbo.config.ServiceConfig;
import org.apache.dubbo.config.bootstrap.DubboBootstrap;

/**
 * A real Dubbo 2.7 provider, or with kind=consumer a consumer, with its options as key=value. It prints "@ready ADDRESS" once it is there, and ends on
 * SIGTERM. A consumer takes lines "ID NAME" from standard input, calls hello(NAME) and prints "@ID ok ANSWER" or "@ID error MESSAGE".
 */
public class Dubbo27App {
  public static void main(String[] args) throws Exception {
    Map<String, String> options = new TreeMap<>();
    for (String arg : args) {
      int equals = arg.indexOf('=');
      options.put(arg.substring(0, equals), arg.substring(equals + 1));
    }
    if ("consumer".equals(options.get("kind"))) consume(options);
    else provide(options);
  }

  private static DubboBootstrap bootstrap(Map<String, String> options) {
    ApplicationConfig application = new ApplicationConfig(options.get("application"));
    application.setQosEnable(false);
    RegistryConfig registry = new RegistryConfig(options.get("registry"));
    registry.setTimeout(10_000);
    if (options.containsKey("root")) registry.setGroup(options.get("root"));
    return DubboBootstrap.getInstance().application(application).registry(registry);
  }

  private static void consume(Map<String, String> options) {
    ReferenceConfig<Greeter> reference = new ReferenceConfig<>();
    reference.setInterface(Greeter.class);
    reference.setGroup(options.get("group"));
    reference.setVersion(options.get("version"));
    reference.setCheck(false);
    reference.setRetries(0);
    reference.setTimeout(3000);
    bootstrap(options).reference(reference).start();
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

  private static void provide(Map<String, String> options) throws Exception {
    int port = Integer.parseInt(options.get("port"));
    ServiceConfig<Greeter> service = new ServiceConfig<>();
    service.setInterface(Greeter.class);
    service.setRef(new Answers(options.get("application")));
    service.setGroup(options.get("group"));
    service.setVersion(options.get("version"));
    if (options.containsKey("weight")) service.setWeight(Integer.valueOf(options.get("weight")));

    DubboBootstrap bootstrap = bootstrap(options);
    for (String protocol : options.get("protocols").split(",")) {
      bootstrap.protocol(new ProtocolConfig(protocol, port++));
    }
    bootstrap.service(service).start();
    System.out.println("@ready " + NetUtils.getLocalHost() + ":" + options.get("port"));
    Thread.currentThread().join();
  }

  private static final class Answers implements Greeter {
    private final String provider;

    private Answers(String provider) {
      this.provider = provider;
    }

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
