import { readFile, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { TestAgent } from '#test/real/consul/agent.js';
import { TestLeases } from '#test/real/eureka/leases.js';
import { Registrations } from '#test/real/nacos/registrations.js';
import { urlNode, Writer } from '#test/real/zookeeper/harness.js';
import { type Consul, startConsul } from '#test/servers/consul.js';
import { type Eureka, startEureka } from '#test/servers/eureka.js';
import { type Nacos, startNacos } from '#test/servers/nacos.js';
import { startZookeeper, type Zookeeper } from '#test/servers/zookeeper.js';

/** A real registry, and how instances on 127.0.0.1 are written into it. Services are named by letters. */
export interface FaultRegistry {
  readonly name: string;
  /** The port that clients connect to. */
  readonly port: number;
  /** Other such ports, by their distances from it. */
  readonly offsets?: readonly number[];
  /** Its entry in the configuration, read through the port: its own unless something stands between. */
  config(port?: number): object;
  /** The host that Pontoon gives a service. */
  host(service: string): string;
  register(service: string, port: number): Promise<void>;
  deregister(service: string, port: number): Promise<void>;
  stop(): Promise<void>;
}

/** Dubbo by interface: providers in ephemeral znodes. */
export class ZooKeeperRegistry implements FaultRegistry {
  readonly name = 'zookeeper';
  readonly server: Zookeeper;
  #writer: Writer;

  private constructor(server: Zookeeper, writer: Writer) {
    this.server = server;
    this.#writer = writer;
  }

  static async start(): Promise<ZooKeeperRegistry> {
    const server = await startZookeeper();
    return new ZooKeeperRegistry(server, await new Writer(server.port).open());
  }

  get port(): number {
    return this.server.port;
  }

  config(port = this.server.port) {
    return { name: this.name, type: 'zookeeper', servers: [`127.0.0.1:${port}`], sessionTimeout: '4s' };
  }

  host(service: string): string {
    return `shop.${service}.dubbo`.toLowerCase();
  }

  async register(service: string, port: number): Promise<void> {
    const node = this.#node(service, port);
    if (!(await this.#writer.exists(node))) await this.#writer.create(node, '', { ephemeral: true });
  }

  async deregister(service: string, port: number): Promise<void> {
    await this.#writer.remove(this.#node(service, port));
  }

  /** Deletes all that Dubbo has written. */
  async wipe(): Promise<void> {
    await this.#writer.removeAll('/dubbo');
  }

  /** Stops it, deletes its data, and starts it: nobody's session goes on. */
  async loseData(): Promise<void> {
    await this.down();
    await rm(join(this.server.folder, 'data'), { recursive: true });
    await this.up();
  }

  /** Stops it, and ends the session that all was registered with. */
  async down(): Promise<void> {
    // In this order: a session that is closed takes its znodes along.
    await this.server.stop();
    await this.#writer.close();
  }

  async up(): Promise<void> {
    await this.server.start();
    this.#writer = await new Writer(this.server.port).open();
  }

  async stop(): Promise<void> {
    await this.#writer.close();
    await this.server.stop();
  }

  #node(service: string, port: number): string {
    const name = `shop.${service}`;
    return urlNode('/dubbo', name, `dubbo://127.0.0.1:${port}/${name}?interface=${name}`);
  }
}

/** Persistent instances. Nacos connects to each and finds those that live healthy. */
export class NacosRegistry implements FaultRegistry {
  readonly name = 'nacos';
  /** gRPC. */
  readonly offsets = [1_000];
  readonly server: Nacos;
  readonly #registrations: Registrations;

  private constructor(server: Nacos) {
    this.server = server;
    this.#registrations = new Registrations(server);
  }

  static async start(): Promise<NacosRegistry> {
    return new NacosRegistry(await startNacos());
  }

  get port(): number {
    return this.server.port;
  }

  config(port = this.server.port) {
    return { name: this.name, type: 'nacos', servers: [`127.0.0.1:${port}`], pollInterval: '1s' };
  }

  host(service: string): string {
    return `${service}.default-group.public.nacos`;
  }

  register(service: string, port: number): Promise<void> {
    return this.#registrations.register({ service, port });
  }

  deregister(service: string, port: number): Promise<void> {
    return this.#registrations.deregister({ service, port });
  }

  /** Stops it, deletes its database, and starts it. */
  async loseData(): Promise<void> {
    await this.server.stop();
    await rm(join(this.server.folder, 'data'), { recursive: true });
    await this.server.start();
  }

  /** Restarts it so that it wants a user, or so that it does not. */
  async refuse(on: boolean): Promise<void> {
    const file = join(this.server.folder, 'conf/application.properties');
    const properties = await readFile(file, 'utf8');
    await writeFile(file, properties.replace(/^(nacos\.core\.auth\.enabled)=.*$/m, `$1=${on}`));
    await this.server.restart();
  }

  stop(): Promise<void> {
    return this.server.stop();
  }
}

/** Leases that are renewed as clients do, at one or more servers that do not know of one another. */
export class EurekaRegistry implements FaultRegistry {
  readonly name = 'eureka';
  readonly servers: readonly Eureka[];
  /** By the number of the server. A server without them lies. */
  readonly #leases = new Map<number, TestLeases>();

  private constructor(servers: readonly Eureka[]) {
    this.servers = servers;
    for (const [index, { url }] of servers.entries()) this.#leases.set(index, new TestLeases([url]));
  }

  /** @param count of servers; each lease is at each of them, as among peers */
  static async start(count = 1): Promise<EurekaRegistry> {
    const servers: Eureka[] = [];
    // Each is a JVM that starts: one after the other.
    while (servers.length < count) servers.push(await startEureka());
    return new EurekaRegistry(servers);
  }

  get port(): number {
    return this.servers[0]?.port ?? 0;
  }

  config(port?: number) {
    const ports = port === undefined ? this.servers.map((server) => server.port) : [port];
    const servers = ports.map((each) => `http://127.0.0.1:${each}/eureka`);
    return { name: this.name, type: 'eureka', servers, pollInterval: '500ms', timeout: '3s', settleTime: '5s' };
  }

  host(service: string): string {
    return `${service}.eureka`;
  }

  async register(service: string, port: number): Promise<void> {
    await Promise.all([...this.#leases.values()].map((leases) => leases.register(leaseOf(service, port))));
  }

  async deregister(service: string, port: number): Promise<void> {
    await Promise.all([...this.#leases.values()].map((leases) => leases.deregister(leaseOf(service, port))));
  }

  /** Restarts all servers with an empty registry; nobody renews until it registers again. */
  async restartEmpty(): Promise<void> {
    await this.#forget([...this.#leases.keys()]);
    for (const server of this.servers) await server.restart();
    for (const [index, { url }] of this.servers.entries()) this.#leases.set(index, new TestLeases([url]));
  }

  /** Restarts one server, which answers from then on that there is nothing: nobody registers there, and it has no peers. */
  async lie(index: number): Promise<void> {
    await this.#forget([index]);
    await this.servers[index]?.restart();
  }

  async stop(): Promise<void> {
    await this.#forget([...this.#leases.keys()]);
    await Promise.all(this.servers.map((server) => server.stop()));
  }

  async #forget(indexes: readonly number[]): Promise<void> {
    for (const index of indexes) {
      await this.#leases.get(index)?.stop();
      this.#leases.delete(index);
    }
  }
}

function leaseOf(service: string, port: number) {
  return { app: service.toUpperCase(), id: `127.0.0.1:${port}`, port };
}

/** Services of external nodes, written into the catalog: no agent registers them again by itself. */
export class ConsulRegistry implements FaultRegistry {
  readonly name = 'consul';
  readonly server: Consul;
  readonly #agent: TestAgent;

  private constructor(server: Consul) {
    this.server = server;
    this.#agent = new TestAgent(server.url);
  }

  static async start(): Promise<ConsulRegistry> {
    return new ConsulRegistry(await startConsul());
  }

  get port(): number {
    return this.server.port;
  }

  config(port = this.server.port) {
    return {
      name: this.name,
      type: 'consul',
      servers: [`http://127.0.0.1:${port}`],
      wait: '10s',
      timeout: '2s',
    };
  }

  host(service: string): string {
    return `${service}.service.consul`;
  }

  async register(service: string, port: number): Promise<void> {
    const Service = { ID: `${service}-${port}`, Service: service, Port: port };
    await this.#agent.send('PUT', '/v1/catalog/register', { Node: `node-${port}`, Address: '127.0.0.1', Service });
  }

  async deregister(_service: string, port: number): Promise<void> {
    await this.#agent.send('PUT', '/v1/catalog/deregister', { Node: `node-${port}` });
  }

  /** Consul's own snapshot of all that it holds. */
  async snapshot(): Promise<ArrayBuffer> {
    return (await fetch(`${this.server.url}/v1/snapshot`)).arrayBuffer();
  }

  /** Puts a snapshot in the place of all that it holds. */
  async restore(snapshot: ArrayBuffer): Promise<void> {
    const response = await fetch(`${this.server.url}/v1/snapshot`, { method: 'PUT', body: snapshot });
    if (!response.ok) throw new Error(`Consul's restore answered ${response.status}: ${await response.text()}`);
  }

  /** Stops it, deletes its data, and starts it: its index begins anew. */
  async loseData(): Promise<void> {
    await this.server.stop();
    await rm(join(this.server.folder, 'data'), { recursive: true });
    await this.server.start();
  }

  stop(): Promise<void> {
    return this.server.stop();
  }
}
