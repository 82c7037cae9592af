import { setTimeout as sleep } from 'node:timers/promises';
import { type Load, place, placesOf } from './loads/load.js';
import type { Run } from './run.js';

interface Open {
  readonly instances: number;
  readonly begun: number;
  seen: number | undefined;
}

/** Changes of one after the other service, so many per second, and how late each is seen by a bare watcher and by the client. */
export class ChangeStream {
  /** ms from the beginning of a write until the client had it, in the order of arrival; and until the bare watcher had. */
  ours: number[] = [];
  floor: number[] = [];
  /** Changes of services whose last change had not arrived yet. */
  overtaken = 0;
  changes = 0;
  readonly #run: Run;
  readonly #load: Load;
  readonly #services: number;
  readonly #instances: number;
  readonly #open = new Map<string, Open>();
  #unwatch: () => void = () => undefined;

  private constructor(run: Run, load: Load, services: number) {
    this.#run = run;
    this.#load = load;
    this.#services = services;
    this.#instances = load.places(0).length;
    run.told = (host, endpoints, at) => this.#arrived(host, endpoints, at);
  }

  /** @param services the first ones are changed in turn */
  static async open(run: Run, load: Load, services: number): Promise<ChangeStream> {
    const stream = new ChangeStream(run, load, services);
    const numbers = Array.from({ length: services }, (_, service) => service);
    stream.#unwatch = await load.watch(numbers, (service, instances, at) => {
      const open = stream.#open.get(load.host(service));
      if (open?.instances === instances && open.seen === undefined) {
        open.seen = at;
        stream.floor.push(at - open.begun);
      }
    });
    return stream;
  }

  /** Changes so many per second for so long, and resolves when all writes are done. */
  async run(perSecond: number, seconds: number): Promise<void> {
    const begun = performance.now();
    const writes = new Set<Promise<void>>();
    let done = 0;
    for (;;) {
      const elapsed = performance.now() - begun;
      const due = Math.min(perSecond * seconds, Math.floor((elapsed / 1_000) * perSecond));
      for (; done < due; done++) {
        const write = this.#change(this.changes++).finally(() => writes.delete(write));
        writes.add(write);
      }
      if (elapsed >= seconds * 1_000) break;
      await sleep(5);
    }
    await Promise.all(writes);
  }

  /** Forgets what was measured. */
  reset(): void {
    this.ours = [];
    this.floor = [];
    this.overtaken = 0;
  }

  /** Puts back what was changed, and ends. */
  async close(): Promise<void> {
    this.#unwatch();
    this.#run.told = () => undefined;
    await this.#load.fill(this.#services, this.#instances);
  }

  /** One instance more, or less again the next time round. */
  async #change(number: number): Promise<void> {
    const service = number % this.#services;
    const places = placesOf(service, this.#instances);
    const hasMore = this.#load.places(service).length > this.#instances;
    const next = hasMore ? places : [...places, place(service, this.#instances)];
    const host = this.#load.host(service);
    if (this.#open.has(host)) this.overtaken++;
    this.#open.set(host, { instances: next.length, begun: performance.now(), seen: undefined });
    await this.#load.put(service, next);
  }

  #arrived(host: string, endpoints: number, at: number): void {
    const open = this.#open.get(host);
    if (open?.instances !== endpoints) return;
    this.#open.delete(host);
    this.ours.push(at - open.begun);
  }
}
