import type { RegistryService, ServiceKey } from '#model/service.js';
import type { Cause, Source, SourceState } from '#sources/contract.js';
import { Recorder } from '#test/real/recorder.js';
import { until } from '#test/servers/probes.js';

/** A Nacos source that runs, and what it says: it never throws, since it connects anew by itself. */
export class NacosRun extends Recorder {
  /** What came over time, for people: the end of it is part of a failed wait's message. */
  readonly events: string[] = [];
  readonly #abort = new AbortController();
  #done: Promise<void> = Promise.resolve();

  /** Starts the source; it has to be stopped. */
  static of(source: Source): NacosRun {
    const run = new NacosRun();
    run.#done = source.run(run, run.#abort.signal);
    return run;
  }

  /** Ends the source. @returns how long that took, in ms */
  async stop(): Promise<number> {
    const start = performance.now();
    this.#abort.abort();
    await this.#done;
    return performance.now() - start;
  }

  get lastState(): SourceState | undefined {
    return this.states.at(-1);
  }

  /** Waits until the condition holds. @returns after how many ms @throws Error with the last events */
  async wait(what: string, condition: (run: NacosRun) => boolean, timeoutMs = 60_000): Promise<number> {
    const start = performance.now();
    try {
      await until(what, () => condition(this), timeoutMs, 5);
    } catch (error) {
      throw new Error(`${what} did not happen; last events:\n${this.events.slice(-15).join('\n')}`, { cause: error });
    }
    return performance.now() - start;
  }

  override update(changed: readonly RegistryService[], removed: readonly ServiceKey[], cause: Cause): void {
    for (const service of changed) this.#note(`${service.key.name}: ${service.instances.length} instances`);
    for (const key of removed) this.#note(`${key.name}: removed`);
    super.update(changed, removed, cause);
  }

  override unreadable(key: ServiceKey, error: Error): void {
    this.#note(`${key.name}: ${error.message}`);
    super.unreadable(key, error);
  }

  override state(state: SourceState): void {
    this.#note('error' in state ? `${state.kind}: ${state.error.message}` : state.kind);
    super.state(state);
  }

  #note(event: string): void {
    this.events.push(`${Math.round(performance.now())} ${event}`);
  }
}
