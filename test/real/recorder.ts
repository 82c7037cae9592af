import { setTimeout as sleep } from 'node:timers/promises';
import { pino } from 'pino';
import { RegistryView } from '#catalog/view.js';
import type { Instance, RegistryService, ServiceKey, ServiceName } from '#model/service.js';
import type { Cause, Listing, Source, SourceContext, SourceOutput, SourceState } from '#sources/contract.js';
import { until } from '#test/servers/probes.js';

/** Keeps what a source writes, in a view as the engine does, and counts it. */
export class Recorder implements SourceOutput {
  readonly #view = new RegistryView('r', ({ cause }) => {
    this.causes.push(cause.what);
    this.fewest = Math.min(this.fewest, this.services.size);
  });
  readonly services = this.#view.said;
  readonly unreadables = this.#view.unreadable;
  readonly states: SourceState[] = [];
  readonly causes: string[] = [];
  /** Services given to `update`, changed and removed. */
  updates = 0;
  /** Complete listings. */
  listings = 0;
  lives = 0;
  /** Fewest services since this was last set; for what must never be emptied. */
  fewest = Number.POSITIVE_INFINITY;

  listing(): Listing {
    const listing = this.#view.listing();
    return {
      add: (services) => listing.add(services),
      commit: (cause) => {
        this.listings++;
        this.states.push({ kind: 'live' });
        listing.commit(cause);
      },
    };
  }

  update(changed: readonly RegistryService[], removed: readonly ServiceKey[], cause: Cause): void {
    this.updates += changed.length + removed.length;
    this.#view.update(changed, removed, cause);
  }

  unreadable(key: ServiceKey | ServiceName, error: Error): void {
    this.#view.setUnreadable(key, error);
  }

  alive(): void {
    this.lives++;
  }

  state(state: SourceState): void {
    this.states.push(state);
  }

  get now(): SourceState['kind'] | undefined {
    return this.states.at(-1)?.kind;
  }

  /** What the last state says is wrong. */
  get reason(): string {
    const state = this.states.at(-1);
    return state !== undefined && 'error' in state ? state.error.message : '';
  }

  named(name: string): RegistryService | undefined {
    return [...this.services.values()].find((service) => service.key.name === name);
  }

  instances(name: string): readonly Instance[] {
    return this.named(name)?.instances ?? [];
  }
}

/** A source that runs, and what it wrote. */
export interface Running {
  readonly out: Recorder;
  /** Waits for something that the source writes. */
  until(what: string, condition: (out: Recorder) => boolean, timeoutMs?: number): Promise<void>;
  /** Stops the source; ms until it ended. */
  stop(): Promise<number>;
}

/** Runs a source, and again when it throws, as the engine does but without its patience. */
export function run(source: Source, out = new Recorder()): Running {
  const controller = new AbortController();
  const ended = (async () => {
    while (!controller.signal.aborted) {
      try {
        await source.run(out, controller.signal);
      } catch (error) {
        out.state({ kind: 'failed', error: error as Error });
        await sleep(200, undefined, { signal: controller.signal }).catch(() => {});
      }
    }
  })();
  return {
    out,
    until: (what, condition, timeoutMs = 60_000) =>
      until(what, () => condition(out), timeoutMs, 10).catch((error: Error) => {
        throw new Error(`${error.message}; states ${out.states.map(({ kind }) => kind).join(' ')} ${out.reason}`);
      }),
    stop: async () => {
      const start = performance.now();
      controller.abort();
      await ended;
      return performance.now() - start;
    },
  };
}

/** A context that logs nothing. */
export function contextOf(registry: string, includes: (name: string) => boolean = () => true): SourceContext {
  return { registry, log: pino({ level: 'silent' }), includes };
}
