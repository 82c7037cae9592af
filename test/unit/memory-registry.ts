import type { Catalog } from '#catalog/catalog.js';
import type { Instance, Metadata, RegistryService, ServiceKey } from '#model/service.js';
import {
  type Placed,
  type PublishedInstance,
  type PublishedService,
  placeOf,
  type Target,
  type TargetContext,
  type TargetKind,
  type Written,
} from '#publish/contract.js';
import { cause } from '#sources/contract.js';
import { instance, service } from './builders.js';

/** A registry in memory, with a source that reads it after a while and a target that writes it: by the contract, and slowly if asked to. */
export class MemoryRegistry {
  readonly name: string;
  readonly #services = new Map<string, Map<string, Instance>>();
  /** What its source fills. */
  catalog: Catalog | undefined;
  /** ms until the source reads what was written. */
  readsAfter = 0;
  /** ms that a write takes. */
  takes = 0;
  isDown = false;
  losesMetadata = false;
  /** Key of metadata that it does not keep. */
  leavesOut: string | undefined;
  renewEvery: number | undefined;
  /** Leases that are not known any more at the next renewal. */
  forgets = false;
  /** Writes of a service, by name, in their order. */
  readonly writes: string[] = [];
  requests = 0;
  renewals = 0;
  /** Writes of one service that were under way at a time, at most. */
  mostAtOnce = 0;
  #underWay = 0;
  /** What the registry says of services themselves, by name. */
  readonly labels = new Map<string, Metadata>();
  /** Called before each request: to change the world meanwhile. */
  onRequest: () => void = () => undefined;

  constructor(name: string) {
    this.name = name;
  }

  get kind(): TargetKind {
    return {
      fields: {},
      as: '{{ mesh.name }}',
      nominalWeight: 1,
      hasWeights: true,
      keepsMetadata: !this.losesMetadata,
      seenWithin: 100,
      renewEvery: () => this.renewEvery,
      key: (name) => {
        if (name.includes(' ')) throw new Error(`"${name}" has a space`);
        return { namespace: '', group: '', name, version: '' };
      },
      target: (_config, context) => this.#target(context),
    };
  }

  /** The instances of a service, as `address:port`, sorted. */
  places(name: string): string[] {
    return this.instances(name)
      .map(({ id }) => id)
      .sort();
  }

  instances(name: string): Instance[] {
    return [...(this.#services.get(name)?.values() ?? [])];
  }

  /** Instances in all services. */
  get entries(): number {
    return [...this.#services.values()].reduce((sum, one) => sum + one.size, 0);
  }

  names(): string[] {
    return [...this.#services.keys()].sort();
  }

  /** An instance registers itself, or somebody writes it. */
  register(name: string, one: Instance, isRead = true): void {
    const known = this.#services.get(name) ?? new Map<string, Instance>();
    this.#services.set(name, known.set(`${one.address} ${one.ports[0]?.number}`, one));
    if (isRead) this.#read(name);
  }

  remove(name: string, address: string, port: number): void {
    const known = this.#services.get(name);
    known?.delete(`${address} ${port}`);
    if (known?.size === 0) this.#services.delete(name);
    this.#read(name);
  }

  /** A complete listing. */
  list(): void {
    const listing = this.catalog?.view(this.name)?.listing();
    listing?.add([...this.#services.keys()].flatMap((name) => this.#service(name) ?? []));
    listing?.commit(cause('listing'));
  }

  #read(name: string): void {
    const tell = (): void => {
      const found = this.#service(name);
      const view = this.catalog?.view(this.name);
      if (view?.complete !== true) return;
      if (found === undefined) view.update([], [this.#key(name)], cause('event'));
      else view.update([found], [], cause('event'));
    };
    if (this.readsAfter === 0) tell();
    else setTimeout(tell, this.readsAfter);
  }

  #key(name: string): ServiceKey {
    return { registry: this.name, namespace: '', group: '', name, version: '' };
  }

  #service(name: string): RegistryService | undefined {
    const instances = this.#services.get(name);
    if (instances === undefined) return undefined;
    const metadata = this.labels.get(name) ?? {};
    return service(name, [...instances.values()], { key: { registry: this.name }, metadata });
  }

  #target({ turn }: TargetContext): Target {
    const request = async (signal: AbortSignal): Promise<void> => {
      await turn(signal);
      this.onRequest();
      this.requests++;
      if (this.takes > 0) await new Promise((done) => setTimeout(done, this.takes));
      signal.throwIfAborted();
      if (this.isDown) throw new Error('connection refused');
    };
    return {
      write: async (wanted, before, signal) => {
        this.#underWay++;
        this.mostAtOnce = Math.max(this.mostAtOnce, this.#underWay);
        try {
          return await this.#write(wanted, before, request, signal);
        } finally {
          this.#underWay--;
        }
      },
      renew: async (_service, _placed, signal) => {
        signal.throwIfAborted();
        if (this.isDown) throw new Error('connection refused');
        this.renewals++;
        return !this.forgets;
      },
      close: async () => undefined,
    };
  }

  async #write(
    { key, instances }: PublishedService,
    before: readonly Placed[],
    request: (signal: AbortSignal) => Promise<void>,
    signal: AbortSignal,
  ): Promise<Written> {
    this.writes.push(key.name);
    const wanted = new Set(instances.map(placeOf));
    for (const one of instances) {
      await request(signal);
      this.register(key.name, this.#instance(one), false);
    }
    for (const { instance: old } of before)
      if (!wanted.has(placeOf(old))) {
        await request(signal);
        this.#services.get(key.name)?.delete(placeOf(old));
        if (this.#services.get(key.name)?.size === 0) this.#services.delete(key.name);
      }
    this.#read(key.name);
    const placed = instances.map((one) => ({ id: `${one.address}:${one.port}`, instance: this.#kept(one) }));
    const left = this.leavesOut;
    const notes = left === undefined ? [] : placed.map(({ id }) => ({ record: id, text: `${left} left out` }));
    return { placed, refused: [], notes };
  }

  #kept(instance: PublishedInstance): PublishedInstance {
    const metadata = Object.entries(instance.metadata).filter(([key]) => key !== this.leavesOut);
    return { ...instance, metadata: Object.fromEntries(metadata) };
  }

  #instance(published: PublishedInstance): Instance {
    const { address, port, isUp, weight, metadata } = this.#kept(published);
    return instance(address, port, {
      status: isUp ? 'UP' : 'OUT_OF_SERVICE',
      weight,
      metadata: this.losesMetadata ? {} : metadata,
    });
  }
}
