import ConsulClient from 'consul';
import pLimit from 'p-limit';
import type { RegistryUnderTest, TestInstance } from '#test/real/contract/registry.js';
import { type Consul, startConsul } from '#test/servers/consul.js';
import { TestAgent } from './agent.js';

const token = '6f2b1c1e-0000-4000-8000-a5a5a5a5a5a5';
const acl = { acl: { enabled: true, default_policy: 'deny', tokens: { initial_management: token, agent: token } } };

/** A real Consul server for the contract suite. */
export class ConsulUnderTest implements RegistryUnderTest {
  readonly title = 'Consul 1.17.0';
  readonly type = 'consul';
  readonly needs = ['consul'];
  readonly idleRequestsPerMinute = 1_100;
  #server: Consul | undefined;

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
    return { servers: [`http://127.0.0.1:${port}`], wait: '10s', timeout: '1s' };
  }

  async register(service: string, { address, port, metadata }: TestInstance): Promise<void> {
    await this.#agent.register({ id: `${service}-${port}`, name: service, address, port, meta: metadata });
  }

  async deregister(service: string, { port }: TestInstance): Promise<void> {
    await this.#agent.deregister(`${service}-${port}`);
  }

  async registerMany(services: readonly string[], instance: TestInstance): Promise<void> {
    const limit = pLimit(8);
    await Promise.all(services.map((service) => limit(() => this.register(service, instance))));
  }

  async malform(service: string): Promise<void> {
    await this.#agent.register({ id: `${service}-bad`, name: service, address: 'no address', port: 80 });
  }

  async repeat(service: string, instances: readonly TestInstance[]): Promise<void> {
    for (const instance of [...instances].reverse()) await this.register(service, instance);
  }

  async guarded() {
    const server = await startConsul({ config: acl, token });
    const secret = '0badc0de-0000-4000-8000-000000000000';
    const keys = (used: string) => ({ ...this.keys(server.port), auth: { token: used } });
    return { right: keys(token), wrong: keys(secret), secret, stop: () => server.stop() };
  }

  async watch(service: string, seen: (mark: string | undefined) => void) {
    const client = new ConsulClient({ host: '127.0.0.1', port: this.#consul.port });
    const watch = client.watch({ method: client.health.service, options: { service } });
    watch.on('change', (entries: { Service: { Meta: Record<string, string> } }[]) =>
      seen(entries[0]?.Service.Meta.mark),
    );
    return () => watch.end();
  }

  get #consul(): Consul {
    if (this.#server === undefined) throw new Error('not started');
    return this.#server;
  }

  get #agent(): TestAgent {
    return new TestAgent(this.#consul.url);
  }
}
