import zookeeper, { type ACL, type Client } from 'node-zookeeper-client';
import { pino } from 'pino';
import { z } from 'zod';
import { Driver } from '#adapters/zookeeper/driver.js';
import { fields } from '#adapters/zookeeper/schema.js';
import { type Pauses, ZooKeeperSource } from '#adapters/zookeeper/source.js';
import { RegistryView, type ViewChange } from '#catalog/view.js';
import { nameFilter } from '#config/fields.js';
import type { RegistryService } from '#model/service.js';
import type { SourceContext } from '#sources/contract.js';
import { Supervisor } from '#sources/supervisor.js';
import { until } from '#test/servers/probes.js';

/** A ZooKeeper source at work, and what it has written so far. */
export class Reading {
  readonly view: RegistryView;
  readonly changes: ViewChange[] = [];
  readonly #supervisor: Supervisor;

  /** @param config as in the configuration file, but for what all registries share */
  constructor(
    config: z.input<z.ZodObject<typeof fields>>,
    exclude: readonly string[] = [],
    pauses?: Pauses,
    mayServe: SourceContext['mayServe'] = () => true,
  ) {
    const log = pino({ level: process.env.PONTOON_TEST_LOG ?? 'silent' });
    this.view = new RegistryView('zk', (change) => this.changes.push(change));
    const context = { registry: 'zk', log, includes: nameFilter(undefined, exclude), mayServe };
    const source = new ZooKeeperSource(z.strictObject(fields).parse(config), context, pauses);
    this.#supervisor = new Supervisor(source, { view: this.view, staleAfter: 60_000, log });
    this.#supervisor.start();
  }

  get status() {
    return this.#supervisor.status();
  }

  /** `group/version` → `protocol://address:port` of each instance, for one interface; undefined if there is none. */
  of(interfaceName: string): Record<string, string[]> | undefined {
    const found = this.services(interfaceName).map(({ key, instances }): [string, string[]] => [
      `${key.group}/${key.version}`,
      instances.map(({ address, ports }) => `${ports[0]?.protocol}://${address}:${ports[0]?.number}`),
    ]);
    return found.length === 0 ? undefined : Object.fromEntries(found.sort());
  }

  services(interfaceName: string): RegistryService[] {
    return [...this.view.said.values()].filter(({ key }) => key.name === interfaceName);
  }

  /** Waits until an interface is as expected. */
  async sees(interfaceName: string, expected: Record<string, string[]> | undefined, timeout = 20_000): Promise<void> {
    const wanted = JSON.stringify(expected);
    let found: string | undefined;
    await until(
      `${interfaceName} to be ${wanted}`,
      () => {
        found = JSON.stringify(this.of(interfaceName));
        return found === wanted;
      },
      timeout,
      5,
    ).catch((error) => {
      throw new Error(`${error.message}; it is ${found}, state ${JSON.stringify(this.status)}`);
    });
  }

  async is(state: string, timeout = 20_000): Promise<void> {
    await until(`state ${state}`, () => this.status.state === state, timeout, 5).catch((error) => {
      throw new Error(`${error.message}; it is ${JSON.stringify(this.status)}`);
    });
  }

  stop(): Promise<void> {
    return this.#supervisor.stop();
  }
}

/** Somebody who writes into ZooKeeper, with promises. */
export class Writer {
  readonly client: Client;
  readonly #driver: Driver;

  constructor(port: number) {
    this.#driver = new Driver([{ host: '127.0.0.1', port }], 10_000, () => undefined);
    this.client = this.#driver.client;
  }

  async open(): Promise<this> {
    const connected = new Promise<void>((resolve) => this.client.once('connected', resolve));
    this.client.connect();
    await connected;
    return this;
  }

  login(username: string, password: string): void {
    this.client.addAuthInfo('digest', Buffer.from(`${username}:${password}`));
  }

  /** Creates a znode, and those above it. */
  async create(path: string, data = '', more: { ephemeral?: boolean } = {}): Promise<void> {
    const above = path.slice(0, path.lastIndexOf('/'));
    if (above !== '' && !(await this.exists(above))) await this.create(above).catch(ignoreExisting);
    await this.createAt(path, data, more);
  }

  /** Creates a znode below one that is there. */
  async createAt(path: string, data = '', more: { ephemeral?: boolean } = {}): Promise<void> {
    const mode = more.ephemeral ? zookeeper.CreateMode.EPHEMERAL : zookeeper.CreateMode.PERSISTENT;
    await this.#ask<unknown>((done) => this.client.create(path, Buffer.from(data), mode, done));
  }

  /** Writes a znode, whether it is there or not, and those above it. */
  async put(path: string, data: string): Promise<void> {
    if (await this.exists(path)) await this.set(path, data);
    else await this.create(path, data);
  }

  /** Puts one znode in another's place at once: nobody sees neither or both. */
  async replace(old: string, path: string, data: string): Promise<void> {
    const buffer = Buffer.from(data);
    await this.#ask<unknown>((done) => this.client.transaction().remove(old).create(path, buffer).commit(done));
  }

  async exists(path: string): Promise<boolean> {
    return Boolean(await this.#ask<unknown>((done) => this.client.exists(path, done)));
  }

  async set(path: string, data: string): Promise<void> {
    await this.#ask<unknown>((done) => this.client.setData(path, Buffer.from(data), done));
  }

  async protect(path: string, acl: ACL[]): Promise<void> {
    await this.#ask<unknown>((done) => this.client.setACL(path, acl, done));
  }

  async remove(path: string): Promise<void> {
    await this.#ask<unknown>((done) => this.client.remove(path, (error) => done(error, undefined)));
  }

  children(path: string): Promise<string[]> {
    return this.#ask<string[]>((done) => this.client.getChildren(path, done));
  }

  async data(path: string): Promise<string> {
    return String(await this.#ask<Buffer>((done) => this.client.getData(path, done)));
  }

  /** Removes a znode with all that is below it. */
  async removeAll(path: string): Promise<void> {
    const children = await this.children(path);
    for (const child of children) await this.removeAll(`${path}/${child}`);
    await this.remove(path);
  }

  close(): Promise<void> {
    return this.#driver.close();
  }

  #ask<T>(send: (done: (error: unknown, value: T) => void) => void): Promise<T> {
    return new Promise<T>((resolve, reject) =>
      send((error, value) => (error === null || error === undefined ? resolve(value) : reject(error))),
    );
  }
}

/** Another one was faster. */
function ignoreExisting(error: { code?: unknown }): void {
  if (error.code !== zookeeper.Exception.NODE_EXISTS) throw error;
}

/** The znode of a provider or consumer, below `root`. */
export function urlNode(root: string, interfaceName: string, url: string, category = 'providers'): string {
  return `${root}/${interfaceName}/${category}/${encodeURIComponent(url)}`;
}
