import { type TargetUnderTest, targetContract } from '#test/real/contract/target.js';
import { type Consul, startConsul } from '#test/servers/consul.js';
import { TestAgent } from './agent.js';

class ConsulTargetUnderTest implements TargetUnderTest {
  readonly title: string;
  readonly type = 'consul';
  readonly needs = ['consul'];
  readonly settings: object;
  readonly survives = true;
  readonly lease?: number;
  readonly weights = [10, 3] as const;
  #server: Consul | undefined;

  constructor(via: 'catalog' | 'agent') {
    this.title = `Consul 1.17.0, ${via}`;
    this.settings = { via, ttl: '3s' };
    if (via === 'agent') this.lease = 6_000;
  }

  async start(): Promise<void> {
    this.#server = await startConsul();
  }

  async stop(): Promise<void> {
    await this.#server?.stop();
  }

  server() {
    return { process: this.#consul, port: this.#consul.port };
  }

  keys(port: number) {
    return { servers: [`http://127.0.0.1:${port}`], wait: '10s', timeout: '5s' };
  }

  async foreign(service: string, address: string, port: number): Promise<void> {
    await new TestAgent(this.#consul.url).register({ id: `${service}-${port}`, name: service, address, port });
  }

  get #consul(): Consul {
    if (this.#server === undefined) throw new Error('not started');
    return this.#server;
  }
}

targetContract(new ConsulTargetUnderTest('catalog'));
targetContract(new ConsulTargetUnderTest('agent'));
