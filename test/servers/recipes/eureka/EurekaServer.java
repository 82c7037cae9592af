package pontoon;

import org.springframework.beans.factory.annotation.Value;
import org.springframework.boot.SpringApplication;
import org.springframework.boot.autoconfigure.SpringBootApplication;
import org.springframework.cloud.netflix.eureka.server.EnableEurekaServer;
import org.springframework.context.annotation.Bean;
import org.springframework.security.config.Customizer;
import org.springframework.security.config.annotation.web.builders.HttpSecurity;
import org.springframework.security.web.SecurityFilterChain;

/** The real Eureka server; its settings come as arguments. It wants basic auth if spring.security.user.name is set. */
@SpringBootApplication
@EnableEurekaServer
public class EurekaServer {
  @Bean
  SecurityFilterChain security(HttpSecurity http, @Value("${spring.security.user.name:}") String user)
      throws Exception {
    http.csrf(csrf -> csrf.disable());
    if (user.isEmpty()) http.authorizeHttpRequests(requests -> requests.anyRequest().permitAll());
    else
      http.authorizeHttpRequests(requests -> requests.anyRequest().authenticated()).httpBasic(Customizer.withDefaults());
    return http.build();
  }

  public static void main(String[] args) {
    SpringApplication.run(EurekaServer.class, args);
  }
}
