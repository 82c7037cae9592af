import { setTimeout as sleep } from 'node:timers/promises';
import { expect } from 'chai';
import { type Istiod, startIstiod } from '#test/servers/istiod.js';
import { type Pontoon, type PontoonConfig, startPontoon } from '#test/servers/pontoon.js';
import { until } from '#test/servers/probes.js';
import { serverFolder } from '#test/servers/process.js';
import { type Departure, Fleet } from './fleet.js';
import { Observer } from './observer.js';
import type { FaultRegistry } from './registries.js';

/** `npm run faults`: each fault with and without SIGKILL, and longer holds. */
export const isFull = process.env.PONTOON_FAULTS === 'full';

/** ms: how long the guards of a scene hold, of a registry and of a service. */
export const holdMs = isFull ? { registry: 30_000, service: 20_000 } : { registry: 5_000, service: 6_000 };

/** ms: how long a registry is away. */
export const outageMs = isFull ? 40_000 : 4_000;

/** Within how many ms what is said here has to happen, on a busy machine. */
export const within = {
  /** A removal below the limits: the registry's own delay, and istiod's. */
  plain: 5_000,
  /** A dead instance that is held: it is asked three times, 2 s apart, in the rounds of the prober. */
  dead: 25_000,
  /** What a source needs to be back after an outage, with its pauses of up to 15 s. */
  back: 40_000,
  /** What a source needs to notice that its registry is away. */
  stale: 60_000,
};

/** Per cent of a core that Pontoon may use in the mean, from the first fault to the end. */
const maxShare = 10;

/** Pontoon is killed in the middle of it, also in the short run. */
export const killed = (): SceneOptions => ({ isKilled: true });

/** Where a registry loses one service after the other: see {@link SceneOptions.blinkMs}. */
export const blinks = (): SceneOptions => ({ blinkMs: 2_000 });

export interface SceneOptions {
  /** Whether Pontoon is killed in the middle of it. */
  readonly isKilled?: boolean | undefined;
  /** ms for which what goes before a limit is passed may be away: it comes back when it has accepted a connection. Nothing may unless given. */
  readonly blinkMs?: number;
  /** How Pontoon is started; as it is shipped unless given. */
  readonly start?: (config: PontoonConfig) => Promise<Pontoon>;
  /** The entries of the registries, in place of their own. */
  readonly registries?: readonly object[];
  /** Where istiod finds Pontoon, if not at Pontoon's own address. */
  readonly configSource?: (pontoon: Pontoon) => Promise<string>;
  /** Keys over those of the scene's configuration. */
  readonly config?: Partial<PontoonConfig>;
}

/** A stage with real registries, workloads, Pontoon and istiod, and what a script does there. All that happens is printed as a table. */
export class Scene {
  readonly #options: SceneOptions;
  readonly #fleets: { readonly fleet: Fleet; readonly registry: FaultRegistry }[] = [];
  readonly #registries = new Set<FaultRegistry>();
  readonly #config: PontoonConfig;
  readonly #delays: number[] = [];
  /** When {@link held} saw what it waited for. */
  #heldAt = 0;
  #pontoon: Pontoon | undefined;
  #istiod: Istiod | undefined;
  #observer: Observer | undefined;

  constructor(options: SceneOptions = {}) {
    this.#options = options;
    const guard = (hold: number) => ({ window: '30s', hold: `${hold}ms` });
    this.#config = {
      registries: [],
      guards: { registry: guard(holdMs.registry), service: guard(holdMs.service) },
      state: { directory: serverFolder('state') },
      ...options.config,
    };
  }

  /** A service with living instances in a registry, which Pontoon will read. */
  async fleet(registry: FaultRegistry, service: string, count: number): Promise<Fleet> {
    const fleet = new Fleet(registry, service, (text) => this.#observer?.note(text));
    this.#fleets.push({ fleet, registry });
    this.#registries.add(registry);
    await fleet.add(count);
    return fleet;
  }

  /** Starts Pontoon, istiod and the table, and waits until all is there. */
  async begin(): Promise<void> {
    const registries = this.#options.registries ?? [...this.#registries].map((registry) => registry.config());
    this.#pontoon = await (this.#options.start ?? startPontoon)({ ...this.#config, registries });
    const source = (await this.#options.configSource?.(this.#pontoon)) ?? this.#pontoon.configSource;
    this.#istiod = await startIstiod({ configSources: [source] });
    const fleets = this.#fleets.map(({ fleet }) => fleet);
    this.#observer = new Observer({
      istiod: this.#istiod,
      pontoon: this.#pontoon,
      columns: new Map(this.#fleets.map(({ fleet }) => [fleet.host, fleet.service])),
      living: () => fleets.map(({ host, living }) => [host, living]),
    });
    await this.#observer.start();
    await this.allThere(within.back);
    // The start's own work.
    await sleep(1_000);
    this.#observer.share();
  }

  /** Starts another istiod in the place of the first: it has nothing but what Pontoon gives it. */
  async newIstiod(): Promise<void> {
    await this.does('istiod is killed', () => this.istiod.kill());
    await this.does('istiod is started again', () => this.istiod.start());
  }

  get istiod(): Istiod {
    return started(this.#istiod);
  }

  /** Where Pontoon keeps what outlives it. */
  get stateDirectory(): string {
    return String((this.#config.state as { directory: string }).directory);
  }

  get pontoon(): Pontoon {
    return started(this.#pontoon);
  }

  get observer(): Observer {
    return started(this.#observer);
  }

  /** Does something to the world, and prints it. */
  async does(what: string, action: () => unknown): Promise<void> {
    this.observer.note(what);
    await action();
  }

  /** Lets time pass: ms. */
  async passes(ms: number): Promise<void> {
    await sleep(ms);
  }

  get isKilled(): boolean {
    return this.#options.isKilled === true;
  }

  /** Where Pontoon is killed, if this scene is about that: it comes back a second later. */
  async middle(): Promise<void> {
    if (!this.isKilled) return;
    await this.does('SIGKILL to Pontoon', () => this.pontoon.kill());
    await sleep(1_000);
    await this.does('Pontoon is started again', () => this.pontoon.start());
  }

  /** Waits until Pontoon's API shows something. */
  until(what: string, condition: (observer: Observer) => boolean, timeoutMs: number = within.back): Promise<void> {
    return until(what, () => condition(this.observer), timeoutMs, 100).catch((error: unknown) => {
      this.observer.note(`NOT within ${timeoutMs} ms: ${what}`);
      throw error;
    });
  }

  /** Waits until a registry is in a state: `consul stale`. */
  async state(wanted: string): Promise<void> {
    await this.until(wanted, ({ states }) => states.includes(wanted), within.stale);
  }

  /** Waits until guards hold so many, or anything. */
  async held(count: number | 'something'): Promise<void> {
    await this.until(`${count} is held`, ({ held }) => (count === 'something' ? held > 0 : held === count));
    this.#heldAt = performance.now();
  }

  /** Waits until the time of the registry's hold is well over, as of when {@link held} saw it. */
  async outlasts(): Promise<void> {
    await sleep(Math.max(0, this.#heldAt + holdMs.registry + 3_000 - performance.now()));
    this.observer.note(`longer than the hold of ${holdMs.registry / 1_000} s`);
  }

  /** Waits until istiod has none of them; they have so many ms from when they left. */
  async gone({ host, endpoints, at }: Departure, timeoutMs: number): Promise<void> {
    const left = timeoutMs - (performance.now() - at);
    const isGone = () => !endpoints.some((endpoint) => this.observer.endpoints.get(host)?.has(endpoint));
    await this.until(`${endpoints.length} of ${host} are gone`, isGone, left);
    const delay = performance.now() - at;
    this.#delays.push(delay);
    this.observer.note(`${endpoints.length} of ${host} are gone after ${(delay / 1_000).toFixed(1)} s`);
  }

  /** Waits until istiod has all that live. */
  async allThere(timeoutMs: number): Promise<void> {
    const isThere = () =>
      this.#fleets.every(({ fleet }) =>
        fleet.living.every((endpoint) => this.observer.endpoints.get(fleet.host)?.has(endpoint)),
      );
    await this.until('all that live are there', isThere, timeoutMs);
  }

  /** What holds after each fault: changes flow as ever. */
  async flows(): Promise<void> {
    for (const { fleet } of this.#fleets.slice(0, 1)) {
      await fleet.add(1);
      await this.allThere(within.plain);
      await this.gone(await fleet.remove(1), within.plain);
    }
  }

  /** Nothing that lives was lost, and little CPU was used. */
  check(): void {
    const { blinkMs = 0 } = this.#options;
    const { losses } = this.observer;
    const longest = Math.max(0, ...losses.map(({ length }) => length));
    const share = this.observer.share();
    const delays = this.#delays.map((delay) => (delay / 1_000).toFixed(1)).join(', ');
    console.log(
      `      lost: ${losses.length}${losses.length > 0 ? ` for ${longest} ms` : ''}; genuine removals, s: ${delays || 'none'}; CPU: ${share.toFixed(1)} %`,
    );
    expect(
      losses.filter(({ length }) => length > blinkMs),
      'living endpoints that istiod lacked',
    ).to.deep.equal([]);
    expect(share, 'per cent of a core').to.be.below(maxShare);
  }

  /** Ends all but the registries, out of which what was registered goes. */
  async close(): Promise<void> {
    await this.#observer?.stop();
    await this.#istiod?.stop();
    await this.#pontoon?.stop();
    for (const { fleet, registry } of this.#fleets) {
      await Promise.all(fleet.ports.map((port) => registry.deregister(fleet.service, port).catch(() => undefined)));
      fleet.end();
    }
  }
}

/**
 * A test of one fault; in the full matrix, and where `isKilled` says so, Pontoon is killed in the middle of it.
 * @param script ends when the world is well again
 */
export function fault(
  title: string,
  script: (scene: Scene) => Promise<void>,
  options: () => SceneOptions | Promise<SceneOptions> = () => ({}),
): void {
  const variants = isFull ? [false, true] : [undefined];
  for (const variant of variants) {
    it(variant === true ? `${title}; Pontoon is killed in the middle` : title, async function () {
      this.timeout(600_000);
      const given = await options();
      const scene = new Scene({ ...given, isKilled: variant ?? given.isKilled });
      try {
        await script(scene);
        scene.check();
      } finally {
        await scene.close();
      }
    });
  }
}

function started<Part>(part: Part | undefined): Part {
  if (part === undefined) throw new Error('the scene has not begun');
  return part;
}
