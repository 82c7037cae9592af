import pLimit from 'p-limit';
import type { RegistryUnderTest, TestInstance } from '#test/real/contract/registry.js';
import { type Nacos, type NacosVersion, startNacos } from '#test/servers/nacos.js';
import { type NacosClient, startNacosClient } from '#test/servers/nacosclient.js';
import { Governance } from './governance.js';
import { Registrations } from './registrations.js';

/** A real Nacos server for the contract suite, read over one of its two APIs. */
export class NacosUnderTest implements RegistryUnderTest {
  readonly title: string;
  readonly type = 'nacos';
  readonly needs: readonly string[];
  readonly idleRequestsPerMinute: number;
  readonly #version: NacosVersion;
  readonly #api: 'grpc' | 'http';
  #server: Nacos | undefined;
  #client: NacosClient | undefined;

  constructor(version: NacosVersion, api: 'grpc' | 'http', idleRequestsPerMinute: number) {
    this.title = `Nacos ${version} over ${api === 'grpc' ? 'gRPC' : 'HTTP'}`;
    this.needs = [version === '2.3.2' ? 'nacos2' : 'nacos3', 'nacos-client'];
    this.#version = version;
    this.#api = api;
    this.idleRequestsPerMinute = idleRequestsPerMinute;
  }

  async start(): Promise<void> {
    this.#server = await startNacos({ version: this.#version });
    // Nobody listens where the instances are; their health would change in the middle of a test.
    await this.#registrations.checkHealth(false);
  }

  async stop(): Promise<void> {
    await this.#client?.stop();
    await this.#server?.stop();
  }

  server() {
    return { process: this.#nacos, port: this.#nacos.port, offsets: this.#api === 'grpc' ? [1_000] : [] };
  }

  keys(port: number) {
    return { servers: [`127.0.0.1:${port}`], api: this.#api, ...(this.#api === 'http' ? { pollInterval: '1s' } : {}) };
  }

  async register(service: string, { address, port, metadata }: TestInstance): Promise<void> {
    await this.#registrations.register({ service, ip: address, port, metadata });
  }

  async deregister(service: string, { address, port }: TestInstance): Promise<void> {
    await this.#registrations.deregister({ service, ip: address, port });
  }

  async registerMany(services: readonly string[], instance: TestInstance): Promise<void> {
    const limit = pLimit(8);
    await Promise.all(services.map((service) => limit(() => this.register(service, instance))));
  }

  async malform(service: string): Promise<void> {
    await this.#registrations.register({ service, ip: 'no_host!', port: 80 });
  }

  async repeat(service: string, instances: readonly TestInstance[]): Promise<void> {
    for (const instance of [...instances].reverse()) await this.register(service, instance);
  }

  async guarded() {
    const user = { user: 'nacos', password: 'right-0badc0de' };
    const auth = this.#version === '2.3.2' ? { ...user, password: 'nacos' } : user;
    const server = await startNacos({ version: this.#version, auth });
    const secret = 'wrong-0badc0de';
    const keys = (password: string) => ({ ...this.keys(server.port), auth: { username: auth.user, password } });
    return { right: keys(auth.password), wrong: keys(secret), secret, stop: () => server.stop() };
  }

  async watch(service: string, seen: (mark: string | undefined) => void) {
    this.#client = await startNacosClient({ address: this.#nacos.address, service: 'watcher', port: 9_999 });
    return await this.#client.watch(service, seen);
  }

  /** Writes into the config centre. */
  get governance(): Governance {
    return new Governance(this.#nacos);
  }

  get #nacos(): Nacos {
    if (this.#server === undefined) throw new Error('not started');
    return this.#server;
  }

  get #registrations(): Registrations {
    return new Registrations(this.#nacos);
  }
}
