import { setTimeout as sleep } from 'node:timers/promises';
import pLimit from 'p-limit';
import { type ApplicationInstance, type ApplicationMetadata, parseApplicationMetadata } from '#adapters/dubbo/index.js';
import { askMetadata } from '#adapters/dubbo/metadata.js';
import { asError } from '#model/reason.js';
import { controllerWithin, type NacosClient } from './client.js';

/** An instance of one namespace. */
export interface PlacedInstance {
  readonly namespace: string;
  readonly instance: ApplicationInstance;
}

/** Questions at a time to the config centre, and as many to instances: those that are silent hold nobody else up. */
const concurrency = 16;
/** Instances of one revision that are asked before it is given up. */
const most = 3;
/** ms before what could not be had is asked for again: after the first failure, since the config centre gives a document out a moment after it took it; and at most. */
const patience = { first: 1_000, most: 30_000 };
/** ms for which a listing waits for the config centre, and for what instances say of themselves. */
const listingPatience = { centre: 30_000, instances: 5_000 };
/** The revision of an application that provides nothing. */
const nothing = '0';

/** Why the metadata of a revision could not be had. */
interface Failure {
  readonly error: Error;
  readonly at: number;
  /** In a row. */
  readonly times: number;
}

/** What revisions of applications provide: from the config centre, or from an instance itself. A revision never changes, so that it is read once. */
export class DubboMetadata {
  readonly #known = new Map<string, ApplicationMetadata>();
  readonly #failed = new Map<string, Failure>();
  /** What each application provided when it was last known. */
  readonly #last = new Map<string, ApplicationMetadata>();
  readonly #limits = { centre: pLimit(concurrency), instances: pLimit(concurrency) };
  /** What is being read in this session. */
  #reading = new Map<string, Promise<void>>();
  #configs: NacosClient['configs'];

  /** From now on this client is asked; what was under way counts no more. */
  attach({ configs }: NacosClient): void {
    this.#configs = configs;
    this.#reading = new Map();
  }

  /** What an instance provides, or provided before, or why that is not known. */
  find({ namespace, instance }: PlacedInstance): ApplicationMetadata | Error {
    const id = idOf({ namespace, instance });
    const { application, revision } = instance;
    if (revision === nothing) return { services: [] };
    return (
      this.#known.get(id) ??
      this.#last.get(`${namespace}/${application}`) ??
      this.#failed.get(id)?.error ??
      new Error(revision === '' ? 'it names no revision of its metadata' : 'its metadata has not been read yet')
    );
  }

  /** Those whose metadata is to be read now. */
  wanting(instances: readonly PlacedInstance[]): PlacedInstance[] {
    return instances.filter((one) => {
      const { revision } = one.instance;
      const id = idOf(one);
      const failure = this.#failed.get(id);
      return (
        revision !== '' && revision !== nothing && !this.#known.has(id) && (failure === undefined || isDue(failure))
      );
    });
  }

  /** Whether something that could not be had is to be asked for again. */
  get isRetryDue(): boolean {
    return [...this.#failed.values()].some(isDue);
  }

  /** Reads the metadata of all of these, each revision once however many wait for it. Never rejects. */
  async load(instances: readonly PlacedInstance[], signal: AbortSignal): Promise<void> {
    const revisions = new Map<string, PlacedInstance[]>();
    for (const one of instances) revisions.set(idOf(one), [...(revisions.get(idOf(one)) ?? []), one]);
    const reading = this.#reading;
    const reads = [...revisions].map(([id, same]) => {
      const before = reading.get(id);
      if (before !== undefined) return before;
      const failure = this.#failed.get(id);
      if (failure !== undefined) this.#failed.set(id, { ...failure, at: performance.now() });
      const limit = this.#limits[placeOf(same[0])];
      const read = limit(() => this.#read(id, same, signal)).finally(() => reading.delete(id));
      reading.set(id, read);
      return read;
    });
    await Promise.all(reads);
  }

  /** The same for a listing, which waits no longer than it may: the rest is read on. Never rejects. */
  async loadSoon(instances: readonly PlacedInstance[], signal: AbortSignal): Promise<void> {
    const places = ['centre', 'instances'] as const;
    await Promise.all(
      places.map(async (place) => {
        const there = instances.filter((one) => placeOf(one) === place);
        const late = controllerWithin(signal);
        const patience = sleep(listingPatience[place], undefined, { signal: late.signal }).catch(() => {});
        await Promise.race([this.load(there, signal), patience]);
        late.abort();
      }),
    );
  }

  async #read(id: string, same: readonly PlacedInstance[], signal: AbortSignal): Promise<void> {
    const failures: Error[] = [];
    for (const one of same.slice(0, most)) {
      if (this.#known.has(id) || signal.aborted) return;
      try {
        const found = await this.#ask(one, signal);
        this.#known.set(id, found);
        this.#last.set(`${one.namespace}/${one.instance.application}`, found);
        this.#failed.delete(id);
        return;
      } catch (error) {
        failures.push(asError(error));
      }
    }
    const [error] = failures;
    const times = (this.#failed.get(id)?.times ?? 0) + 1;
    if (error !== undefined && !signal.aborted) this.#failed.set(id, { error, at: performance.now(), times });
  }

  async #ask({ namespace, instance }: PlacedInstance, signal: AbortSignal): Promise<ApplicationMetadata> {
    const { application, revision, remoteMetadata } = instance;
    if (!remoteMetadata) return await askMetadata(instance, signal);
    const configs = this.#configs;
    if (configs === undefined)
      throw new Error(`its metadata is in the config centre, which is not asked with "api: http"`);
    const text = await configs.read({ namespace, group: revision, dataId: application });
    if (text === undefined)
      throw new Error(`the config centre has no metadata of ${application} in revision ${revision}`);
    return parseApplicationMetadata(text);
  }

  /** Forgets revisions that none of these has. */
  keep(instances: readonly PlacedInstance[]): void {
    const ids = new Set(instances.map(idOf));
    for (const map of [this.#known, this.#failed]) for (const id of map.keys()) if (!ids.has(id)) map.delete(id);
  }
}

function isDue({ at, times }: Failure): boolean {
  return performance.now() - at > Math.min(patience.first * 2 ** (times - 1), patience.most);
}

/** Where the metadata of an instance is. */
function placeOf(one: PlacedInstance | undefined): 'centre' | 'instances' {
  return one?.instance.remoteMetadata ? 'centre' : 'instances';
}

function idOf({ namespace, instance }: PlacedInstance): string {
  return `${namespace}/${instance.application}/${instance.revision}`;
}
