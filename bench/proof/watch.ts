import type { Lane } from './lane.js';
import type { Stream } from './load.js';
import type { RegistryName, Service } from './services.js';

const lookMs = 250;
const looksPerRecord = 4;

/** Requests of one stream within a second. */
export interface Count {
  requests: number;
  failed: number;
  /** Of the failed ones, those to each service. */
  readonly failedOf: Record<string, number>;
}

/** What an Envoy had of one registry at some moment. */
interface Endpoints {
  /** All of them, those of dead instances included. */
  readonly held: number;
  /** Those of living instances. */
  readonly living: number;
  /** How many instances lived. */
  readonly alive: number;
}

/** What one lane and registry were like in one second, at the moment when the Envoy lacked most. */
export interface Sample extends Count, Endpoints {
  readonly lane: string;
  readonly registry: RegistryName;
}

/** One second of the run. */
export interface Second {
  /** Since the load began, in s. */
  readonly second: number;
  /** Index of the phase. */
  readonly phase: number;
  readonly samples: readonly Sample[];
  /** Instances that Pontoon's guards held; undefined while it could not be asked. */
  readonly guarded: number | undefined;
}

/** Instances that really went, and when each lane's Envoy had none of them any more. */
export interface Removal {
  readonly what: string;
  readonly addresses: readonly string[];
  /** ms until the last one had gone, by lane; 'before' when none was there to begin with. */
  readonly after: Map<string, number | 'before'>;
  readonly begun: number;
}

/** Looks at all lanes, and keeps one record for each second. */
export class Watch {
  readonly seconds: Second[] = [];
  readonly phases: string[] = [];
  readonly removals: Removal[] = [];
  /** `ip:port` of all instances that live. */
  readonly alive: Set<string>;
  readonly #streams: readonly Stream[];
  readonly #guarded: () => Promise<number>;
  readonly #counts = new Map<Stream, Count>();
  readonly #worst = new Map<Stream, Endpoints>();
  readonly #told: (second: Second) => void;
  #over = false;
  #looking: Promise<void> = Promise.resolve();

  /**
   * @param guarded how many instances are held
   * @param told gets each second's record
   */
  constructor(
    streams: readonly Stream[],
    services: readonly Service[],
    guarded: () => Promise<number>,
    told: (second: Second) => void,
  ) {
    this.#streams = streams;
    this.alive = new Set(services.flatMap(({ addresses }) => addresses));
    this.#guarded = guarded;
    this.#told = told;
  }

  start(): void {
    this.#looking = this.#run();
  }

  async stop(): Promise<void> {
    this.#over = true;
    await this.#looking;
  }

  /** A request was answered or failed. */
  count(stream: Stream, service: Service, ok: boolean): void {
    const count = this.#count(stream);
    count.requests++;
    if (ok) return;
    count.failed++;
    count.failedOf[service.name] = (count.failedOf[service.name] ?? 0) + 1;
  }

  /** Instances go for good, from now on. */
  remove(what: string, addresses: readonly string[]): Removal {
    const removal: Removal = { what, addresses, after: new Map(), begun: performance.now() };
    for (const lane of this.#lanes)
      if (!addresses.some((address) => lane.endpoints.has(address))) removal.after.set(lane.name, 'before');
    for (const address of addresses) this.alive.delete(address);
    this.removals.push(removal);
    return removal;
  }

  get #lanes(): Lane[] {
    return [...new Set(this.#streams.map(({ lane }) => lane))];
  }

  async #run(): Promise<void> {
    const begun = performance.now();
    for (let look = 1; !this.#over; look++) {
      await Promise.all(this.#lanes.map((lane) => lane.look()));
      this.#timeRemovals();
      this.#noteWorst();
      if (look % looksPerRecord === 0) await this.#record(look / looksPerRecord);
      const next = begun + look * lookMs - performance.now();
      await new Promise((resolve) => setTimeout(resolve, Math.max(0, next)));
    }
  }

  #timeRemovals(): void {
    for (const { addresses, after, begun } of this.removals)
      for (const { name, endpoints } of this.#lanes)
        if (!after.has(name) && !addresses.some((address) => endpoints.has(address)))
          after.set(name, performance.now() - begun);
  }

  #noteWorst(): void {
    for (const stream of this.#streams) {
      const { lane, registry } = stream;
      const living = lane.living(registry, this.alive);
      const alive = lane.of(registry).filter((address) => this.alive.has(address)).length;
      const worst = this.#worst.get(stream);
      if (worst === undefined || alive - living >= worst.alive - worst.living)
        this.#worst.set(stream, { held: lane.held(registry), living, alive });
    }
  }

  async #record(second: number): Promise<void> {
    const guarded = await this.#guarded().catch(() => undefined);
    const samples = this.#streams.map((stream): Sample => {
      const { lane, registry } = stream;
      const count = this.#count(stream);
      const endpoints = this.#worst.get(stream) ?? { held: 0, living: 0, alive: 0 };
      this.#counts.delete(stream);
      this.#worst.delete(stream);
      return { lane: lane.name, registry, ...endpoints, ...count };
    });
    const record = { second, phase: this.phases.length - 1, samples, guarded };
    this.seconds.push(record);
    this.#told(record);
  }

  #count(stream: Stream): Count {
    const count = this.#counts.get(stream) ?? { requests: 0, failed: 0, failedOf: {} };
    this.#counts.set(stream, count);
    return count;
  }
}
