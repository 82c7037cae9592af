package pontoon;

/** What the Dubbo test application provides. */
public interface Greeter {
  /** Answers who was reached, as {@code hello NAME from PROVIDER}. */
  String hello(String name);

  int add(int a, int b);
}
