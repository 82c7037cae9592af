import type { ProjectionChange } from '#istio/projection.js';
import type { EncodedResource, ResourceType } from '#istio/resource.js';
import { compareText } from '#model/mesh.js';

/** All resources of one type as they are sent: fields of a DiscoveryResponse, one after the other, in the order of their names. */
export interface Snapshot {
  /** Equal content has an equal version, whichever way it came about. */
  readonly version: string;
  readonly count: number;
  readonly fields: Uint8Array;
}

class TypeSet {
  readonly resources = new Map<string, EncodedResource>();
  #sum = 0n;
  #snapshot: Snapshot | undefined;

  set(resource: EncodedResource): void {
    this.delete(resource.name);
    this.resources.set(resource.name, resource);
    this.#sum ^= BigInt(`0x${resource.version}`);
    this.#snapshot = undefined;
  }

  delete(name: string): void {
    const known = this.resources.get(name);
    if (known === undefined) return;
    this.resources.delete(name);
    this.#sum ^= BigInt(`0x${known.version}`);
    this.#snapshot = undefined;
  }

  snapshot(): Snapshot {
    this.#snapshot ??= {
      version: `${this.resources.size}-${this.#sum.toString(16)}`,
      count: this.resources.size,
      fields: Buffer.concat(
        [...this.resources.values()].sort((a, b) => compareText(a.name, b.name)).map(({ field }) => field),
      ),
    };
    return this.#snapshot;
  }
}

/** The resources that one listener serves: all, or those that its filter takes. */
export class ResourceSet {
  /**
   * Whether the set may be shown. istiod deletes what an answer lacks, so until every registry has been read once it gets no answer: that leaves what it
   * has in place, and holds its first start up.
   */
  ready = false;
  readonly #filter: (resource: EncodedResource) => boolean;
  readonly #types = new Map<ResourceType, TypeSet>();

  /** @param filter chooses by host, bucket, type or name, always the same for one name */
  constructor(filter: (resource: EncodedResource) => boolean = () => true) {
    this.#filter = filter;
  }

  /** Takes a change in. @returns whether anything of it belongs to this set */
  apply(change: Pick<ProjectionChange, 'set' | 'removed'>): boolean {
    const set = change.set.filter(this.#filter);
    const removed = change.removed.filter(this.#filter);
    for (const resource of set) this.#type(resource.type).set(resource);
    for (const resource of removed) this.#type(resource.type).delete(resource.name);
    return set.length + removed.length > 0;
  }

  snapshot(type: ResourceType): Snapshot {
    return this.#type(type).snapshot();
  }

  #type(type: ResourceType): TypeSet {
    let set = this.#types.get(type);
    if (set === undefined) {
      set = new TypeSet();
      this.#types.set(type, set);
    }
    return set;
  }
}
