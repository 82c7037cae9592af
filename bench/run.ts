import { setTimeout as sleep } from 'node:timers/promises';
import { type Pontoon, type PontoonConfig, startPontoon } from '#test/servers/pontoon.js';
import { httpOk, until } from '#test/servers/probes.js';
import { MeshClient } from './client/client.js';
import { type Load, type Place, place } from './loads/load.js';
import { median } from './measure.js';

export interface RunOptions {
  /** What Pontoon reads, and what is to be at its clients at the end. */
  readonly loads: readonly Pick<Load, 'config' | 'expected'>[];
  /** 1 unless given. */
  readonly shards?: number;
  /** SotW unless given. */
  readonly protocol?: 'sotw' | 'delta';
  /** Further keys of Pontoon's configuration. */
  readonly config?: Omit<PontoonConfig, 'registries'>;
  /** How many clients there are. */
  readonly clients?: number;
}

/** Resolves to the ms of `performance.now()` at which a service has so many endpoints. */
interface Awaited {
  readonly endpoints: number;
  readonly resolve: (at: number) => void;
}

/** How long one change may take before the run counts as broken: ms. */
const longest = 60_000;

/** Pontoon with the real registries before it and clients behind it. */
export class Run {
  readonly pontoon: Pontoon;
  readonly addresses: readonly string[];
  clients: readonly MeshClient[];
  /** ms from Pontoon's start to the last byte of the complete set at the first client. */
  coldMs = 0;
  /** Hears of every change that reaches the first client. */
  told: (host: string, endpoints: number, at: number) => void = () => undefined;
  readonly #loads: RunOptions['loads'];
  readonly #awaited = new Map<string, Awaited>();

  private constructor(options: RunOptions, pontoon: Pontoon, addresses: readonly string[]) {
    this.#loads = options.loads;
    this.pontoon = pontoon;
    this.addresses = addresses;
    const { protocol = 'sotw', clients = 1 } = options;
    this.clients = Array.from({ length: clients }, (_, index) =>
      index > 0
        ? new MeshClient({ addresses, protocol })
        : new MeshClient({ addresses, protocol, changed: (...change) => this.#changed(...change) }),
    );
  }

  /** Resolves when every client has all there is. */
  static async start(options: RunOptions): Promise<Run> {
    const { loads, shards = 1, config = {} } = options;
    const begun = performance.now();
    const pontoon = await startPontoon({
      registries: loads.map(({ config }) => config),
      log: { level: 'warn' },
      listener: { shards },
      ...config,
    });
    const addresses = Array.from({ length: shards }, (_, shard) => `127.0.0.1:${pontoon.xdsPort + shard}`);
    const run = new Run(options, pontoon, addresses);
    const [first = 0] = await Promise.all(run.clients.map((client) => client.synced()));
    run.coldMs = first - begun;
    await until('Pontoon to be ready', () => httpOk(`${pontoon.url}/readyz`), longest, 50);
    return run;
  }

  /** For istiod's meshConfig. */
  get configSources(): string[] {
    return this.addresses.map((address) => `xds://${address}`);
  }

  get client(): MeshClient {
    return this.clients[0] as MeshClient;
  }

  /** Resolves to the time at which the first client has so many endpoints of a service. One waits for a host at a time. */
  has(host: string, endpoints: number): Promise<number> {
    return new Promise((resolve, reject) => {
      const timer = setTimeout(
        () => reject(new Error(`${host}: no ${endpoints} endpoints after ${longest} ms`)),
        longest,
      );
      this.#awaited.set(host, {
        endpoints,
        resolve: (at) => {
          clearTimeout(timer);
          resolve(at);
        },
      });
    });
  }

  /** The clients go, so that others are measured alone. */
  leave(): void {
    for (const client of this.clients) client.close();
    this.clients = [];
  }

  /** What the clients lack or have too much of, once they have had time to get it all; where they have left, one that comes anew. */
  async differences(): Promise<string[]> {
    if (this.clients.length === 0) this.clients = [new MeshClient({ addresses: this.addresses })];
    const look = (): string[] =>
      this.clients.flatMap((client, index) => this.#difference(client).map((text) => `client ${index}: ${text}`));
    await until('all to have arrived', () => look().length === 0, 30_000, 200).catch(() => undefined);
    return look();
  }

  async stop(): Promise<void> {
    this.leave();
    await this.pontoon.stop();
  }

  #changed(host: string, endpoints: number, at: number): void {
    this.told(host, endpoints, at);
    const awaited = this.#awaited.get(host);
    if (awaited?.endpoints !== endpoints) return;
    this.#awaited.delete(host);
    awaited.resolve(at);
  }

  #difference(client: MeshClient): string[] {
    const held = client.endpoints();
    let lost = 0;
    let extra = 0;
    let example = '';
    for (const [host, places] of this.#loads.flatMap(({ expected }) => [...expected])) {
      const has = held.get(host) ?? new Set();
      held.delete(host);
      const missing = [...places].filter((one) => !has.has(one));
      const more = [...has].filter((one) => !places.has(one));
      lost += missing.length;
      extra += more.length;
      if (missing.length + more.length > 0) example = `${host}: ${[...missing, ...more].slice(0, 3).join(', ')}`;
    }
    // A service whose last instance has gone stays for a while, without endpoints.
    for (const [host, places] of held) {
      extra += places.size;
      if (places.size > 0) example = `${host}, which is not registered`;
    }
    return lost + extra === 0 ? [] : [`${lost} endpoints lost, ${extra} too many: ${example}`];
  }
}

/** When one change was seen, in ms from the beginning of the write. */
export interface Timed {
  /** By the first client. */
  readonly ours: number;
  /** By the bare watcher. */
  readonly floor: number;
}

/** The median of each. */
export function medians(all: readonly Timed[]): Timed {
  return { ours: median(all.map(({ ours }) => ours)), floor: median(all.map(({ floor }) => floor)) };
}

/** Changes one instance of a service at a time, and times it beside a bare watcher of the same registry. */
export class Changer {
  readonly #run: Run;
  readonly #load: Load;
  readonly #service: number;
  readonly #base: readonly Place[];
  #awaited: { readonly instances: number; readonly resolve: (at: number) => void } | undefined;
  #unwatch: () => void = () => undefined;

  private constructor(run: Run, load: Load, service: number) {
    this.#run = run;
    this.#load = load;
    this.#service = service;
    this.#base = load.places(service);
  }

  static async open(run: Run, load: Load, service: number): Promise<Changer> {
    const changer = new Changer(run, load, service);
    changer.#unwatch = await load.watch([service], (_, instances, at) => {
      if (changer.#awaited?.instances === instances) changer.#awaited.resolve(at);
    });
    return changer;
  }

  /** An instance comes. */
  add(): Promise<Timed> {
    return this.#put([...this.#base, place(this.#service, this.#base.length)]);
  }

  /** It goes. */
  remove(): Promise<Timed> {
    return this.#put(this.#base);
  }

  /** So many changes, in turn one that comes and one that goes, each after so many ms of rest. */
  async several(count: number, rest: number): Promise<Timed[]> {
    const all: Timed[] = [];
    for (let change = 0; change < count; change++) {
      await sleep(rest);
      all.push(change % 2 === 0 ? await this.add() : await this.remove());
    }
    return all;
  }

  close(): void {
    this.#unwatch();
  }

  async #put(places: readonly Place[]): Promise<Timed> {
    const seen = new Promise<number>((resolve) => {
      this.#awaited = { instances: places.length, resolve };
    });
    const arrived = this.#run.has(this.#load.host(this.#service), places.length);
    const begun = performance.now();
    const [floor, ours] = await Promise.all([seen, arrived, this.#load.put(this.#service, places)]);
    return { ours: ours - begun, floor: floor - begun };
  }
}
