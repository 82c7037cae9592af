import { type RegistryService, type ServiceKey, serviceId } from '#model/service.js';
import type { Listing, Source, SourceOutput, SourceState } from '#sources/contract.js';
import { until } from '#test/servers/probes.js';

/** Runs a source and keeps what it says, as the engine would. */
export class Recorder implements SourceOutput {
  readonly services = new Map<string, RegistryService>();
  readonly unread = new Map<string, Error>();
  readonly states: SourceState[] = [];
  /** What came over time, for people: the end of it is part of a failed wait's message. */
  readonly events: string[] = [];
  proofs = 0;
  readonly #abort = new AbortController();
  #done: Promise<void> = Promise.resolve();

  /** Starts the source; it has to be stopped. */
  static run(source: Source): Recorder {
    const recorder = new Recorder();
    recorder.#done = source.run(recorder, recorder.#abort.signal);
    return recorder;
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

  /** The service with this name, wherever it is. */
  named(name: string): RegistryService | undefined {
    return [...this.services.values()].find(({ key }) => key.name === name);
  }

  /** Waits until the condition holds. @returns after how many ms @throws Error with the last events */
  async wait(what: string, condition: (recorder: Recorder) => boolean, timeoutMs = 20_000): Promise<number> {
    const start = performance.now();
    try {
      await until(what, () => condition(this), timeoutMs, 5);
    } catch (error) {
      throw new Error(`${what} did not happen; last events:\n${this.events.slice(-15).join('\n')}`, { cause: error });
    }
    return performance.now() - start;
  }

  listing(): Listing {
    const added = new Map<string, RegistryService>();
    return {
      add: (services) => {
        for (const service of services) added.set(serviceId(service.key), service);
      },
      commit: () => {
        for (const id of this.services.keys()) if (!this.unread.has(id)) this.services.delete(id);
        for (const [id, service] of added) this.services.set(id, service);
        this.#note(`listing of ${added.size}`);
        this.state({ kind: 'live' });
      },
    };
  }

  update(changed: readonly RegistryService[], removed: readonly ServiceKey[]): void {
    for (const service of changed) {
      this.services.set(serviceId(service.key), service);
      this.unread.delete(serviceId(service.key));
      this.#note(`${service.key.name}: ${service.instances.length} instances`);
    }
    for (const key of removed) {
      this.services.delete(serviceId(key));
      this.#note(`${key.name}: removed`);
    }
  }

  unreadable(key: ServiceKey, error: Error): void {
    this.unread.set(serviceId(key), error);
    this.#note(`${key.name}: ${error.message}`);
  }

  alive(): void {
    this.proofs++;
  }

  state(state: SourceState): void {
    this.states.push(state);
    this.#note('error' in state ? `${state.kind}: ${state.error.message}` : state.kind);
  }

  #note(event: string): void {
    this.events.push(`${Math.round(performance.now())} ${event}`);
  }
}
