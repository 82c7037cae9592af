import type { ProjectionChange } from '#istio/projection.js';
import type { EncodedResource, ResourceType } from '#istio/resource.js';
import { compareText } from '#model/mesh.js';

/** What of a change concerns one set: names by type. */
export type ChangedNames = ReadonlyMap<ResourceType, readonly string[]>;

/** Resources whose bytes are kept as one block. */
const blockSize = 64;

/** All resources of one type in one set. */
class TypeSet {
  readonly resources = new Map<string, EncodedResource>();
  #sum = 0n;
  /** Names, sorted; undefined since one came or went. */
  #order: readonly string[] | undefined;
  /** Undefined where a resource has changed. */
  readonly #blocks: (Uint8Array | undefined)[] = [];

  /** Equal content has an equal version, whichever way it came about. */
  get version(): string {
    return `${this.resources.size}-${this.#sum.toString(16)}`;
  }

  /**
   * As a whole set is sent: fields of a DiscoveryResponse, one after the other, in the order of their names, in blocks. A change of a resource makes its block
   * anew, and no other.
   */
  get blocks(): readonly Uint8Array[] {
    this.#order ??= [...this.resources.keys()].sort(compareText);
    const order = this.#order;
    return Array.from({ length: Math.ceil(order.length / blockSize) }, (_, block) => {
      const known = this.#blocks[block] ?? this.#block(order.slice(block * blockSize, (block + 1) * blockSize));
      this.#blocks[block] = known;
      return known;
    });
  }

  /** @returns whether its bytes are others than before */
  set(resource: EncodedResource): boolean {
    const known = this.resources.get(resource.name);
    if (known?.version === resource.version) return false;
    this.resources.set(resource.name, resource);
    this.#sum ^= BigInt(`0x${resource.version}`);
    if (known === undefined) this.#reorder();
    else {
      this.#sum ^= BigInt(`0x${known.version}`);
      if (this.#order !== undefined) this.#blocks[Math.floor(placeIn(this.#order, known.name) / blockSize)] = undefined;
    }
    return true;
  }

  /** @returns whether it was there */
  delete(name: string): boolean {
    const known = this.resources.get(name);
    if (known === undefined) return false;
    this.resources.delete(name);
    this.#sum ^= BigInt(`0x${known.version}`);
    this.#reorder();
    return true;
  }

  #reorder(): void {
    this.#order = undefined;
    this.#blocks.length = 0;
  }

  #block(names: readonly string[]): Uint8Array {
    return Buffer.concat(names.flatMap((name) => this.resources.get(name)?.field ?? []));
  }
}

/** Where a name is among sorted ones. It is there. */
function placeIn(names: readonly string[], name: string): number {
  let [from, to] = [0, names.length - 1];
  while (from < to) {
    const middle = (from + to + 1) >> 1;
    if (compareText(names[middle] as string, name) > 0) to = middle - 1;
    else from = middle;
  }
  return from;
}

/** The resources behind one port. */
export class ResourceSet {
  /**
   * Whether the set may be shown. istiod deletes what an answer lacks, so until every registry has been read once it gets no answer: that leaves what it
   * has in place, and holds its first start up.
   */
  ready = false;
  readonly #types = new Map<ResourceType, TypeSet>();
  readonly #mayShow: (type: ResourceType) => boolean;

  /** @param mayShow whether all is known of a type, so that it may be shown once the set is ready */
  constructor(mayShow: (type: ResourceType) => boolean = () => true) {
    this.#mayShow = mayShow;
  }

  isShown(type: ResourceType): boolean {
    return this.ready && this.#mayShow(type);
  }

  /** Resources of all types. */
  get size(): number {
    return [...this.#types.values()].reduce((sum, { resources }) => sum + resources.size, 0);
  }

  /** The set of a type; an empty one if there was none. */
  of(type: ResourceType): Omit<TypeSet, 'set' | 'delete'> {
    return this.#type(type);
  }

  /** @returns whether its content is another now */
  put(resource: EncodedResource): boolean {
    return this.#type(resource.type).set(resource);
  }

  /** @returns whether its content is another now */
  remove({ type, name }: EncodedResource): boolean {
    return this.#type(type).delete(name);
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

/**
 * The resources that one listener serves, divided over its shards by the bucket of their host: all of them, or those that its filter takes. The work of a
 * change is that of its resources, however many shards there are.
 */
export class ShardedSets {
  readonly sets: readonly ResourceSet[];
  readonly #filter: (resource: EncodedResource) => boolean;

  /**
   * @param shards a power of two, at most 256
   * @param filter what may be seen; what it says is asked for with each change that names a resource
   * @param mayShow as of {@link ResourceSet}
   */
  constructor(
    shards: number,
    filter: (resource: EncodedResource) => boolean = () => true,
    mayShow?: (type: ResourceType) => boolean,
  ) {
    this.sets = Array.from({ length: shards }, () => new ResourceSet(mayShow));
    this.#filter = filter;
  }

  /** Takes a change in. @returns what changed, by shard; those that it does not touch are not there */
  apply({ set, removed }: Pick<ProjectionChange, 'set' | 'removed'>): ReadonlyMap<number, ChangedNames> {
    const touched = new Map<number, Map<ResourceType, string[]>>();
    const take = (resource: EncodedResource, isServed: boolean): void => {
      const shard = resource.bucket % this.sets.length;
      const own = this.sets[shard] as ResourceSet;
      if (!(isServed ? own.put(resource) : own.remove(resource))) return;
      let names = touched.get(shard);
      if (names === undefined) {
        names = new Map();
        touched.set(shard, names);
      }
      const ofType = names.get(resource.type);
      if (ofType === undefined) names.set(resource.type, [resource.name]);
      else ofType.push(resource.name);
    };
    for (const resource of set) take(resource, this.#filter(resource));
    for (const resource of removed) take(resource, false);
    return touched;
  }
}
