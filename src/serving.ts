import { bucketsWithin, type ServedShards, shardsWithin } from '#catalog/shards.js';
import type { XdsListener } from '#sinks/xds/server.js';

/**
 * Which shards this process serves, and which of them may answer. A shard answers once all that is in it is known: until then its clients keep what they have. One that
 * leaves is closed before anything of it is forgotten, so that it is never answered empty.
 */
export class Serving {
  readonly #listeners: readonly XdsListener[];
  /** Buckets of hosts of which all is known. */
  readonly #complete = new Set<number>();
  #served: readonly number[] = [];

  constructor(listeners: readonly XdsListener[]) {
    this.#listeners = listeners;
  }

  /** Whether something that is served here is not known completely yet. */
  get isWaiting(): boolean {
    return this.#served.some((bucket) => !this.#complete.has(bucket));
  }

  /** Opens the ports of shards that are not open yet; they wait. @throws Error if one cannot be opened: then those are open that were */
  async open(serve: ServedShards | undefined): Promise<void> {
    const fresh = this.#listeners.map((listener) => {
      const open = openShards(listener);
      return shardsWithin(listener.status().shards, serve).filter((shard) => !open.includes(shard));
    });
    try {
      for (const [index, listener] of this.#listeners.entries()) await listener.open(fresh[index]);
    } catch (error) {
      await Promise.all(this.#listeners.map((listener, index) => listener.close(fresh[index])));
      throw error;
    }
  }

  /** From now on these shards are served: the ports of all others are closed, and what is in them counts as unknown. */
  async serve(serve: ServedShards | undefined): Promise<void> {
    this.#served = bucketsWithin(serve);
    const isServed = new Set(this.#served);
    for (const bucket of this.#complete) if (!isServed.has(bucket)) this.#complete.delete(bucket);
    for (const listener of this.#listeners) {
      const kept = new Set(shardsWithin(listener.status().shards, serve));
      await listener.close(openShards(listener).filter((shard) => !kept.has(shard)));
    }
  }

  /** All is known of what is served here, as far as it lies within these shards, and may be shown. @param known undefined: all */
  complete(known?: ServedShards): void {
    const isKnown = new Set(bucketsWithin(known));
    for (const bucket of this.#served) if (isKnown.has(bucket)) this.#complete.add(bucket);
    const unknown = this.#served.filter((bucket) => !this.#complete.has(bucket));
    for (const listener of this.#listeners) {
      const { shards } = listener.status();
      const waiting = new Set(unknown.map((bucket) => bucket % shards));
      listener.ready(openShards(listener).filter((shard) => !waiting.has(shard)));
    }
  }

  async close(): Promise<void> {
    await Promise.all(this.#listeners.map((listener) => listener.close()));
  }
}

function openShards(listener: XdsListener): number[] {
  return listener.status().open.map(({ shard }) => shard);
}
