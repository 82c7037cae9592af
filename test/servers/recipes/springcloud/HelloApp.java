package pontoon;

import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse.BodyHandlers;
import java.util.List;
import org.springframework.beans.factory.annotation.Autowired;
import org.springframework.beans.factory.annotation.Value;
import org.springframework.boot.SpringApplication;
import org.springframework.boot.autoconfigure.SpringBootApplication;
import org.springframework.cloud.client.ServiceInstance;
import org.springframework.cloud.client.discovery.DiscoveryClient;
import org.springframework.http.ResponseEntity;
import org.springframework.web.bind.annotation.GetMapping;
import org.springframework.web.bind.annotation.PathVariable;
import org.springframework.web.bind.annotation.RestController;

/** A real Spring Cloud application that registers in Eureka; its settings come as arguments. */
@SpringBootApplication
@RestController
public class HelloApp {
  @Value("${spring.application.name} ${server.port}")
  private String answer;

  @Autowired
  private DiscoveryClient discovery;

  /** Says who answers, as "name port". */
  @GetMapping("/hello")
  public String hello() {
    return answer;
  }

  /** Calls the first instance of another application: its metadata "tier" and its answer. 404 if none is found. */
  @GetMapping("/call/{name}")
  public ResponseEntity<String> call(@PathVariable("name") String name) throws Exception {
    List<ServiceInstance> found = discovery.getInstances(name);
    if (found.isEmpty()) return ResponseEntity.notFound().build();
    ServiceInstance one = found.get(0);
    HttpRequest request = HttpRequest.newBuilder(one.getUri()).build();
    String body = HttpClient.newHttpClient().send(request, BodyHandlers.ofString()).body();
    return ResponseEntity.ok(one.getMetadata().get("tier") + " " + body);
  }

  public static void main(String[] args) {
    SpringApplication.run(HelloApp.class, args);
  }
}
