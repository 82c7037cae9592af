import pLimit from 'p-limit';
import { Connection } from '#adapters/nacos/connection.js';
import { type Nacos, startNacos } from '#test/servers/nacos.js';
import { Load, type Place, type Told } from './load.js';

/** Ephemeral instances in a real Nacos 2.3.2, kept by one gRPC connection, which registers all of a service at once. */
export class NacosLoad extends Load {
  override readonly name = 'nacos';
  readonly #settings: Readonly<Record<string, string | number | boolean>>;
  #server: Nacos | undefined;
  #writer: Connection | undefined;
  readonly #ending = new AbortController();

  /** @param settings of the server */
  constructor(settings: Readonly<Record<string, string | number | boolean>> = {}) {
    super();
    this.#settings = settings;
  }

  get server(): Nacos {
    if (this.#server === undefined) throw new Error('Nacos is not started');
    return this.#server;
  }

  override get config(): object {
    return { name: 'nacos', type: 'nacos', servers: [this.server.address] };
  }

  override host(service: number): string {
    return `bench-${service}.default-group.public.nacos`;
  }

  override async start(): Promise<void> {
    this.#server = await startNacos({ heapMiB: 2_048, settings: this.#settings });
    this.#writer = await this.#connect();
  }

  override async stop(): Promise<void> {
    this.#ending.abort();
    await this.#server?.stop();
  }

  override async kill(): Promise<void> {
    await this.server.kill();
  }

  override async readAll(): Promise<void> {
    const connection = await this.#connect();
    const page = { ...group, serviceName: '', selector: '', pageNo: 1, pageSize: 100_000 };
    const { serviceNames } = await connection.request('ServiceListRequest', { module: 'naming', ...page });
    const limit = pLimit(32);
    const names = Array.isArray(serviceNames) ? serviceNames.map(String) : [];
    await Promise.all(names.map((name) => limit(() => subscribe(connection, name.split('@@').at(-1) ?? name))));
    connection.close();
  }

  override async watch(services: readonly number[], told: Told): Promise<() => void> {
    const numbers = new Map(services.map((service) => [`bench-${service}`, service]));
    const take = (info: unknown): void => {
      const { name, hosts } = info as { name: string; hosts: readonly unknown[] };
      const service = numbers.get(name.split('@@').at(-1) ?? name);
      if (service !== undefined) told(service, hosts.length, performance.now());
    };
    const connection = await this.#connect((type, body) => {
      if (type === 'NotifySubscriberRequest') take(body.serviceInfo);
    });
    const limit = pLimit(32);
    await Promise.all(
      [...numbers.keys()].map((name) => limit(async () => take((await subscribe(connection, name)).serviceInfo))),
    );
    return () => connection.close();
  }

  protected override async write(service: number, _before: readonly Place[], after: readonly Place[]): Promise<void> {
    const instances = after.map(({ address, port }) => ({
      ip: address,
      port,
      weight: 1,
      enabled: true,
      healthy: true,
      ephemeral: true,
      clusterName: 'DEFAULT',
      metadata: { application: `app-${service}`, 'preserved.register.source': 'SPRING_CLOUD', version: '1.0' },
    }));
    const body = { type: 'batchRegisterInstance', serviceName: `bench-${service}`, instances };
    await this.#writer?.request('BatchInstanceRequest', { module: 'naming', ...group, ...body });
  }

  async #connect(onTold: (type: string, body: Readonly<Record<string, unknown>>) => void = () => undefined) {
    const [host = '', port = ''] = this.server.address.split(':');
    const server = { host, port: Number(port) };
    const connection = await Connection.open(
      { server, tls: undefined, onTold, onAlive: () => undefined },
      this.#ending.signal,
    );
    connection.lost.catch(() => undefined);
    return connection;
  }
}

const group = { namespace: 'public', groupName: 'DEFAULT_GROUP' };

function subscribe(connection: Connection, serviceName: string) {
  return connection.request('SubscribeServiceRequest', {
    module: 'naming',
    ...group,
    serviceName,
    subscribe: true,
    clusters: '',
  });
}
