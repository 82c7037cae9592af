import zookeeper, { type Client } from 'node-zookeeper-client';
import { startZookeeper, type Zookeeper } from '#test/servers/zookeeper.js';
import { Load, type Place, type Told, without } from './load.js';

/** Dubbo's providers, registered by interface, in a real ZooKeeper. */
export class ZookeeperLoad extends Load {
  override readonly name = 'zookeeper';
  #server: Zookeeper | undefined;
  #client: Client | undefined;
  readonly #folders = new Set<number>();

  get server(): Zookeeper {
    if (this.#server === undefined) throw new Error('ZooKeeper is not started');
    return this.#server;
  }

  override get config(): object {
    return { name: 'zk', type: 'zookeeper', servers: [this.server.connectString] };
  }

  override host(service: number): string {
    return `${interfaceName(service).toLowerCase()}.dubbo`;
  }

  override async start(): Promise<void> {
    this.#server = await startZookeeper({ heapMiB: 1_536 });
    this.#client = await connect(this.server);
    await this.#create('/dubbo');
  }

  override async stop(): Promise<void> {
    this.#client?.close();
    await this.#server?.stop();
  }

  override async kill(): Promise<void> {
    await this.server.kill();
  }

  override async readAll(): Promise<void> {
    const client = await connect(this.server);
    const names = await children(client, '/dubbo');
    await Promise.all(
      names.map(async (name) => {
        for (const category of await children(client, `/dubbo/${name}`))
          await children(client, `/dubbo/${name}/${category}`);
      }),
    );
    client.close();
  }

  override async watch(services: readonly number[], told: Told): Promise<() => void> {
    const client = await connect(this.server);
    const look = async (service: number): Promise<void> => {
      const seen = () => void look(service).catch(() => undefined);
      told(service, (await children(client, folder(service), seen)).length, performance.now());
    };
    await Promise.all(services.map(look));
    return () => client.close();
  }

  protected override async write(service: number, before: readonly Place[], after: readonly Place[]): Promise<void> {
    const client = this.#client as Client;
    const asked: Promise<void>[] = [];
    if (!this.#folders.has(service)) {
      this.#folders.add(service);
      // In the order of one session: a node's parent is there before it.
      asked.push(this.#create(`/dubbo/${interfaceName(service)}`), this.#create(folder(service)));
    }
    asked.push(...without(after, before).map((place) => this.#create(znode(service, place))));
    const remove = (path: string) =>
      new Promise<void>((resolve, reject) => client.remove(path, (error) => (error ? reject(error) : resolve())));
    asked.push(...without(before, after).map((place) => remove(znode(service, place))));
    await Promise.all(asked);
  }

  #create(path: string): Promise<void> {
    const client = this.#client as Client;
    return new Promise((resolve, reject) => client.create(path, (error) => (error ? reject(error) : resolve())));
  }
}

function interfaceName(service: number): string {
  return `com.acme.bench.Bench${service}`;
}

function folder(service: number): string {
  return `/dubbo/${interfaceName(service)}/providers`;
}

function znode(service: number, { address, port }: Place): string {
  const name = interfaceName(service);
  const url = `dubbo://${address}:${port}/${name}?application=app-${service}&dubbo=2.0.2&interface=${name}&methods=a,b,c&release=3.3.4&side=provider&timestamp=1795386505240`;
  return `${folder(service)}/${encodeURIComponent(url)}`;
}

function connect(server: Zookeeper): Promise<Client> {
  return new Promise((resolve) => {
    const client = zookeeper.createClient(server.connectString, { sessionTimeout: 30_000 });
    client.once('connected', () => resolve(client));
    client.connect();
  });
}

function children(client: Client, path: string, seen: () => void = () => undefined): Promise<string[]> {
  return new Promise((resolve, reject) =>
    client.getChildren(path, seen, (error, names) => (error ? reject(error) : resolve(names))),
  );
}
