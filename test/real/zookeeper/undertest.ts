import zookeeper, { type Client } from 'node-zookeeper-client';
import pLimit from 'p-limit';
import type { RegistryUnderTest, TestInstance } from '#test/real/contract/registry.js';
import { until } from '#test/servers/probes.js';
import { startZookeeper, type Zookeeper } from '#test/servers/zookeeper.js';
import { Writer } from './harness.js';
import type { Layout, Znode } from './layouts.js';

/** A real ZooKeeper server for the contract suite, with persistent znodes: they stay without whoever wrote them. */
export class ZooKeeperUnderTest implements RegistryUnderTest {
  readonly title: string;
  readonly type = 'zookeeper';
  readonly needs = ['zookeeper'];
  readonly idleRequestsPerMinute = 60;
  readonly #layout: Layout;
  /** The znode of each instance. */
  readonly #written = new Map<string, string>();
  #server: Zookeeper | undefined;
  #writer: Writer | undefined;

  constructor(layout: Layout) {
    this.#layout = layout;
    this.title = `ZooKeeper 3.9.3, ${layout.title}`;
  }

  async start(): Promise<void> {
    this.#server = await startZookeeper();
  }

  async stop(): Promise<void> {
    await this.#writer?.close();
    await this.#server?.stop();
  }

  server() {
    return { process: this.#zookeeper, port: this.#zookeeper.port };
  }

  keys(port: number) {
    return { servers: [`127.0.0.1:${port}`], sessionTimeout: '6s' };
  }

  async register(service: string, instance: TestInstance): Promise<void> {
    const id = idOf(service, instance);
    const znode = this.#layout.instance(service, instance);
    const old = this.#written.get(id);
    await this.#write(async (writer) => {
      for (const before of this.#layout.before(service, instance)) await writer.put(before.path, before.data);
      if (old === undefined || old === znode.path) await writer.put(znode.path, znode.data);
      else await writer.replace(old, znode.path, znode.data);
    });
    this.#written.set(id, znode.path);
  }

  async deregister(service: string, instance: TestInstance): Promise<void> {
    const { path } = this.#layout.instance(service, instance);
    await this.#write((writer) => writer.remove(this.#written.get(idOf(service, instance)) ?? path));
    this.#written.delete(idOf(service, instance));
  }

  async registerMany(services: readonly string[], instance: TestInstance): Promise<void> {
    const limit = pLimit(64);
    await Promise.all(services.map((service) => limit(() => this.register(service, instance))));
  }

  async malform(service: string): Promise<void> {
    const { path, data } = this.#layout.malformed(service);
    await this.#write((writer) => writer.put(path, data));
  }

  async repeat(service: string, instances: readonly TestInstance[]): Promise<void> {
    const again = async (writer: Writer, { path, data }: Znode) =>
      data === '' ? writer.replace(path, path, data) : writer.put(path, data);
    for (const instance of [...instances].reverse())
      await this.#write((writer) => again(writer, this.#layout.instance(service, instance)));
  }

  async guarded() {
    const server = await startZookeeper();
    const writer = await new Writer(server.port).open();
    writer.login('pontoon', 'right-password');
    const owner = [new zookeeper.ACL(zookeeper.Permission.ALL, new zookeeper.Id('auth', ''))];
    for (const root of ['/dubbo', '/services']) {
      await writer.create(root);
      await writer.protect(root, owner);
    }
    await writer.close();
    const keys = (password: string) => ({ ...this.keys(server.port), auth: { username: 'pontoon', password } });
    const secret = 'wrong-password';
    return { right: keys('right-password'), wrong: keys(secret), secret, stop: () => server.stop() };
  }

  async watch(service: string, seen: (mark: string | undefined) => void) {
    const client = zookeeper.createClient(this.#zookeeper.connectString);
    client.connect();
    const folder = this.#layout.folder(service);
    const read = () => {
      watchChildren(client, folder, read, (child) => {
        client.getData(`${folder}/${child}`, read, (error, data) => {
          if (!error) seen(this.#layout.mark(child, data?.toString() ?? ''));
        });
      });
    };
    read();
    return () => client.close();
  }

  /** Does it again with another session when the server was away. */
  async #write(act: (writer: Writer) => Promise<unknown>): Promise<void> {
    await until('written', async () => {
      this.#writer ??= await new Writer(this.#zookeeper.port).open();
      const writer = this.#writer;
      try {
        await act(writer);
        return true;
      } catch (error) {
        if (this.#writer === writer) this.#writer = undefined;
        await writer.close();
        throw error;
      }
    });
  }

  get #zookeeper(): Zookeeper {
    if (this.#server === undefined) throw new Error('not started');
    return this.#server;
  }
}

function idOf(service: string, { address, port }: TestInstance): string {
  return `${service} ${address}:${port}`;
}

function watchChildren(client: Client, path: string, changed: () => void, first: (child: string) => void): void {
  client.getChildren(path, changed, (error, children) => {
    if (!error && children[0] !== undefined) first(children[0]);
  });
}
