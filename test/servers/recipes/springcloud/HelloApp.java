package pontoon;

import org.springframework.beans.factory.annotation.Value;
import org.springframework.boot.SpringApplication;
import org.springframework.boot.autoconfigure.SpringBootApplication;
import org.springframework.web.bind.annotation.GetMapping;
import org.springframework.web.bind.annotation.RestController;

/** A real Spring Cloud application that registers in Eureka; its settings come as arguments. */
@SpringBootApplication
@RestController
public class HelloApp {
  @Value("${spring.application.name} ${server.port}")
  private String answer;

  /** Says who answers, as "name port". */
  @GetMapping("/hello")
  public String hello() {
    return answer;
  }

  public static void main(String[] args) {
    SpringApplication.run(HelloApp.class, args);
  }
}
