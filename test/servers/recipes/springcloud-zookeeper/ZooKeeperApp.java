package pontoon;

import java.util.Scanner;
import org.springframework.beans.factory.annotation.Value;
import org.springframework.boot.SpringApplication;
import org.springframework.boot.autoconfigure.SpringBootApplication;
import org.springframework.cloud.client.serviceregistry.Registration;
import org.springframework.cloud.client.serviceregistry.ServiceRegistry;
import org.springframework.context.ApplicationContext;
import org.springframework.web.bind.annotation.GetMapping;
import org.springframework.web.bind.annotation.RestController;

/**
 * A real Spring Cloud application that registers in ZooKeeper; its settings come as arguments. It prints "@ready", then takes lines
 * "ID STATUS" from standard input, sets its registration's status as the actuator's service-registry endpoint would, and prints "@ID ok".
 */
@SpringBootApplication
@RestController
public class ZooKeeperApp {
  @Value("${spring.application.name} ${server.address}:${server.port}")
  private String answer;

  /** Says who answers, as "name address:port". */
  @GetMapping("/hello")
  public String hello() {
    return answer;
  }

  public static void main(String[] args) {
    ApplicationContext context = SpringApplication.run(ZooKeeperApp.class, args);
    @SuppressWarnings("unchecked")
    ServiceRegistry<Registration> registry = context.getBean(ServiceRegistry.class);
    Registration registration = context.getBean(Registration.class);
    System.out.println("@ready");
    for (Scanner input = new Scanner(System.in); input.hasNextLine(); ) {
      String[] line = input.nextLine().split(" ", 2);
      registry.setStatus(registration, line[1]);
      System.out.println("@" + line[0] + " ok");
    }
  }
}
