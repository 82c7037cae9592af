import type { FaultRegistry } from './registries.js';
import { Workload } from './workloads.js';

/** Instances that are to leave the mesh, from a moment on. */
export interface Departure {
  readonly host: string;
  readonly endpoints: readonly string[];
  /** As of `performance.now()`. */
  readonly at: number;
}

/** The instances of one service: real listeners, registered in a real registry. */
export class Fleet {
  readonly service: string;
  readonly host: string;
  readonly #registry: FaultRegistry;
  readonly #note: (text: string) => void;
  #workloads: readonly Workload[] = [];
  /** They live, and are not registered any more. */
  #left: readonly Workload[] = [];

  /** @param note hears what is done, for the table */
  constructor(registry: FaultRegistry, service: string, note: (text: string) => void) {
    this.service = service;
    this.host = registry.host(service);
    this.#registry = registry;
    this.#note = (text) => note(`${service}: ${text}`);
  }

  /** The endpoints of those that live. */
  get living(): readonly string[] {
    return this.#workloads.map(({ address }) => address);
  }

  /** The ports of those that live, the oldest first. */
  get ports(): readonly number[] {
    return this.#workloads.map(({ port }) => port);
  }

  /** Starts instances and registers them. @returns their endpoints */
  async add(count: number): Promise<readonly string[]> {
    this.#note(`${count} start`);
    const added = await this.start(count);
    await Promise.all(added.map((workload) => this.#registry.register(this.service, workload.port)));
    return added.map(({ address }) => address);
  }

  /** Starts instances that nobody registers. */
  async start(count: number): Promise<readonly Workload[]> {
    const added: Workload[] = [];
    while (added.length < count) added.push(await Workload.start());
    this.#workloads = [...this.#workloads, ...added];
    return added;
  }

  /** Registers all that live, as their clients do when the registry has forgotten them. */
  async registerAgain(): Promise<void> {
    this.#note('all that live register again');
    await Promise.all(this.#workloads.map(({ port }) => this.#registry.register(this.service, port)));
  }

  /** The oldest instances deregister and end. */
  async remove(count: number): Promise<Departure> {
    this.#note(`${count} deregister and end`);
    const leaving = this.#take(count);
    const departure = this.#departure(leaving);
    await Promise.all(leaving.map(({ port }) => this.#registry.deregister(this.service, port)));
    for (const workload of leaving) workload.die();
    return departure;
  }

  /** The oldest instances end without a word to the registry. */
  die(count: number): Departure {
    this.#note(`${count} end without a word`);
    const leaving = this.#take(count);
    for (const workload of leaving) workload.die();
    return this.#departure(leaving);
  }

  /** All deregister and live on. */
  async leave(): Promise<Departure> {
    this.#note('all deregister and live on');
    const leaving = this.#take(this.#workloads.length);
    this.#left = [...this.#left, ...leaving];
    await Promise.all(leaving.map(({ port }) => this.#registry.deregister(this.service, port)));
    return this.#departure(leaving);
  }

  end(): void {
    for (const workload of [...this.#take(this.#workloads.length), ...this.#left]) workload.die();
  }

  #take(count: number): readonly Workload[] {
    const taken = this.#workloads.slice(0, count);
    this.#workloads = this.#workloads.slice(count);
    return taken;
  }

  #departure(workloads: readonly Workload[]): Departure {
    return { host: this.host, endpoints: workloads.map(({ address }) => address), at: performance.now() };
  }
}
