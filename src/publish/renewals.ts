import { WorkQueue } from '#queue/workqueue.js';

/** Renews leases, each service at a time of its own, so that they are spread over the time between two renewals. */
export class Renewals {
  readonly #queue: WorkQueue;
  readonly #timers = new Map<string, { readonly every: number; timer: NodeJS.Timeout }>();

  /** @param renew must not throw */
  constructor(renew: (id: string) => Promise<void>, parallel: number) {
    this.#queue = new WorkQueue(renew, parallel);
    this.#queue.open();
  }

  /** @param every ms; undefined: nothing is to be renewed */
  set(id: string, every: number | undefined): void {
    if (this.#timers.get(id)?.every === every) return;
    this.delete(id);
    if (every === undefined) return;
    const fire = (): void => {
      entry.timer = setTimeout(fire, every).unref();
      this.#queue.add(id);
    };
    const entry = { every, timer: setTimeout(fire, Math.random() * every).unref() };
    this.#timers.set(id, entry);
  }

  delete(id: string): void {
    clearTimeout(this.#timers.get(id)?.timer);
    this.#timers.delete(id);
  }

  /** Soon, since the last one failed. */
  again(id: string, ms: number): void {
    if (this.#timers.has(id)) this.#queue.add(id, ms);
  }

  clear(): void {
    for (const { timer } of this.#timers.values()) clearTimeout(timer);
    this.#timers.clear();
  }

  /** Resolves when none is under way. */
  async close(): Promise<void> {
    this.clear();
    await this.#queue.close();
  }
}
