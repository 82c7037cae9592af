import pLimit from 'p-limit';
import { type ApplicationInstance, type ApplicationMetadata, parseApplicationMetadata } from '#adapters/dubbo/index.js';
import { askMetadata } from '#adapters/dubbo/metadata.js';
import { asError } from '#model/reason.js';
import type { NacosClient } from './client.js';

/** An instance of one namespace. */
export interface PlacedInstance {
  readonly namespace: string;
  readonly instance: ApplicationInstance;
}

/** Questions at a time. */
const concurrency = 16;
/** Instances of one revision that are asked before it is given up. */
const most = 3;
/** ms before what could not be had is asked for again. */
const patience = 30_000;
/** The revision of an application that provides nothing. */
const nothing = '0';

/** What revisions of applications provide: from the config centre, or from an instance itself. A revision never changes, so that it is read once. */
export class DubboMetadata {
  readonly #known = new Map<string, ApplicationMetadata>();
  readonly #failed = new Map<string, { readonly error: Error; readonly at: number }>();
  /** What each application provided when it was last known. */
  readonly #last = new Map<string, ApplicationMetadata>();
  readonly #limit = pLimit(concurrency);
  #configs: NacosClient['configs'];

  attach({ configs }: NacosClient): void {
    this.#configs = configs;
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
      new Error(revision === '' ? 'it names no revision of its metadata' : 'its metadata has not been read')
    );
  }

  /** Those whose metadata is to be read now. */
  wanting(instances: readonly PlacedInstance[]): PlacedInstance[] {
    return instances.filter((one) => {
      const { revision } = one.instance;
      const id = idOf(one);
      const failure = this.#failed.get(id);
      const isDue = failure === undefined || performance.now() - failure.at > patience;
      return revision !== '' && revision !== nothing && !this.#known.has(id) && isDue;
    });
  }

  /** Whether something that could not be had is to be asked for again. */
  get isRetryDue(): boolean {
    return [...this.#failed.values()].some(({ at }) => performance.now() - at > patience);
  }

  /** Reads the metadata of all of these. Never rejects. */
  async load(instances: readonly PlacedInstance[], signal: AbortSignal): Promise<void> {
    const revisions = new Map<string, PlacedInstance[]>();
    for (const one of instances) {
      const id = idOf(one);
      revisions.set(id, [...(revisions.get(id) ?? []), one]);
      const failure = this.#failed.get(id);
      if (failure !== undefined) this.#failed.set(id, { ...failure, at: performance.now() });
    }
    await Promise.all([...revisions].map(([id, same]) => this.#limit(() => this.#read(id, same, signal))));
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
    if (error !== undefined && !signal.aborted) this.#failed.set(id, { error, at: performance.now() });
  }

  async #ask({ namespace, instance }: PlacedInstance, signal: AbortSignal): Promise<ApplicationMetadata> {
    const { application, revision, remoteMetadata } = instance;
    if (!remoteMetadata) return await askMetadata(instance, signal);
    const text = await this.#configs?.read({ namespace, group: revision, dataId: application });
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

function idOf({ namespace, instance }: PlacedInstance): string {
  return `${namespace}/${instance.application}/${instance.revision}`;
}
