package pontoon;

import java.util.Map;
import java.util.TreeMap;
import org.apache.dubbo.common.utils.NetUtils;
import org.apache.dubbo.config.ApplicationConfig;
import org.apache.dubbo.config.ProtocolConfig;
import org.apache.dubbo.config.RegistryConfig;
import org.apache.dubbo.config.ServiceConfig;
import org.apache.dubbo.config.bootstrap.DubboBootstrap;

/** A real Dubbo 2.7 provider with its options as key=value. It prints "@ready ADDRESS" once it is there, and ends on SIGTERM. */
public class Dubbo27App {
  public static void main(String[] args) throws Exception {
    Map<String, String> options = new TreeMap<>();
    for (String arg : args) {
      int equals = arg.indexOf('=');
      options.put(arg.substring(0, equals), arg.substring(equals + 1));
    }
    int port = Integer.parseInt(options.get("port"));
    ServiceConfig<Greeter> service = new ServiceConfig<>();
    service.setInterface(Greeter.class);
    service.setRef(new Answers(options.get("application")));
    service.setGroup(options.get("group"));
    service.setVersion(options.get("version"));
    if (options.containsKey("weight")) service.setWeight(Integer.valueOf(options.get("weight")));

    ApplicationConfig application = new ApplicationConfig(options.get("application"));
    application.setQosEnable(false);
    RegistryConfig registry = new RegistryConfig(options.get("registry"));
    registry.setTimeout(10_000);
    if (options.containsKey("root")) registry.setGroup(options.get("root"));
    DubboBootstrap bootstrap = DubboBootstrap.getInstance().application(application).registry(registry);
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
