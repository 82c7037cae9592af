import { type TargetUnderTest, targetContract } from '#test/real/contract/target.js';
import { type Eureka, startEureka } from '#test/servers/eureka.js';
import { TestLeases } from './leases.js';

class EurekaTargetUnderTest implements TargetUnderTest {
  readonly title = 'Eureka, Spring Cloud 2024.0.1';
  readonly type = 'eureka';
  readonly needs = ['eureka'];
  readonly settings = { leaseDuration: '3s', renewInterval: '1s' };
  readonly settingsOfMany = {};
  readonly survives = false;
  /** A server waits for twice the lease's time. */
  readonly lease = 9_000;
  #server: Eureka | undefined;
  #leases: TestLeases | undefined;

  async start(): Promise<void> {
    this.#server = await startEureka();
    this.#leases = new TestLeases([this.#server.url]);
  }

  async stop(): Promise<void> {
    await this.#leases?.stop();
    await this.#server?.stop();
  }

  server() {
    if (this.#server === undefined) throw new Error('not started');
    return { process: this.#server, port: this.#server.port };
  }

  keys(port: number) {
    return { servers: [`http://127.0.0.1:${port}/eureka`], pollInterval: '300ms', timeout: '3s', settleTime: '3s' };
  }

  name(service: string): string {
    return service.toUpperCase();
  }

  async foreign(service: string, address: string, port: number): Promise<void> {
    await this.#leases?.register({ app: service, id: `${address}:${service.toLowerCase()}:${port}`, address, port });
  }
}

targetContract(new EurekaTargetUnderTest());
