import { setTimeout as sleep } from 'node:timers/promises';
import type { Logger } from 'pino';
import { reasonOf } from '#model/reason.js';
import { type ConsulClient, isSilence, nextIndex } from './client.js';
import { Refusal } from './connection.js';
import { decodeFailingChecks, type FailingCheck } from './decode.js';
import { Backoff, Bell } from './pace.js';
import type { WatchedService } from './service.js';

/** Reads at one time. */
const READERS = 8;
const FOLLOW_PACE_MS = 200;
const PAUSE_MS = 1_000;
const RETRY_MS = 10_000;
/** Without any signal, services are read again at this rate: what no signal tells, such as what a token may see. */
const QUIET_READ_MS = 1_000;

/** What a sweep works with. */
export interface SweepOptions {
  readonly client: ConsulClient;
  readonly log: Logger;
  /** ms between two sweeps without a signal, at least. */
  readonly wait: number;
  /** Reads a service and gives out what changed. @returns why it could not be read, if so */
  readonly read: (service: WatchedService, what: string) => Promise<Error | undefined>;
}

/** Reads the services that have no blocking query of their own: after each signal, and slowly without one. */
export class Sweep {
  readonly #options: SweepOptions;
  readonly #services = new Set<WatchedService>();
  readonly #wanted = new Bell();

  constructor(options: SweepOptions) {
    this.#options = options;
  }

  add(service: WatchedService): void {
    this.#services.add(service);
    this.#wanted.ring();
  }

  delete(service: WatchedService): void {
    this.#services.delete(service);
  }

  /** One of those that wait for a blocking query of their own. */
  first(): WatchedService | undefined {
    const [first] = this.#services;
    return first;
  }

  /** Something changed: all are to be read. */
  ring(): void {
    this.#wanted.ring();
  }

  /** Runs until the signal aborts, and then throws its reason. */
  async run(signal: AbortSignal): Promise<never> {
    const backoff = new Backoff();
    for (;;) {
      const failed = [...this.#services].filter(({ failures }) => failures > 0);
      const quiet = Math.max(this.#options.wait, QUIET_READ_MS * this.#services.size);
      const signalled = await this.#wanted.heard(failed.length > 0 ? RETRY_MS : quiet, signal);
      const start = performance.now();
      // New ones first.
      const all = [...this.#services].sort((a, b) => Number(a.index > 0n) - Number(b.index > 0n));
      const what = signalled ? 'read after a signal' : 'read again';
      if (await this.#readAll(signalled || failed.length === 0 ? all : failed, what)) backoff.reset();
      else await backoff.pause(signal);
      // At least half of the time is left to the servers.
      await sleep(Math.max(PAUSE_MS, performance.now() - start), undefined, { signal });
    }
  }

  /** Has the services read at once whose checks begin or cease to fail. Runs until the signal aborts, and then throws its reason. */
  followChecks(signal: AbortSignal): Promise<never> {
    let known: ReadonlyMap<string, FailingCheck> | undefined;
    return this.#follow('failing checks', signal, async (index) => {
      const answer = await this.#options.client.failingChecks({ index }, signal);
      const failing = new Map(decodeFailingChecks(answer.body).map((check) => [check.id, check]));
      if (known === undefined) this.#wanted.ring();
      else await this.#readAll(this.#affected(known, failing), 'check');
      known = failing;
      return answer.index;
    });
  }

  /** Has all services read when a node changes, which the list of services does not tell. Runs until the signal aborts, and then throws its reason. */
  followNodes(signal: AbortSignal): Promise<never> {
    return this.#follow('nodes', signal, async (index) => {
      const answer = await this.#options.client.nodes({ index }, signal);
      if (index > 0n && answer.index !== index) this.#wanted.ring();
      return answer.index;
    });
  }

  /** @param ask asks with an index and takes the answer; gives the answer's index */
  async #follow(what: string, signal: AbortSignal, ask: (index: bigint) => Promise<bigint>): Promise<never> {
    const backoff = new Backoff();
    for (let index = 0n; ; ) {
      try {
        index = nextIndex(await ask(index), index);
        backoff.reset();
        await sleep(FOLLOW_PACE_MS, undefined, { signal });
      } catch (error) {
        signal.throwIfAborted();
        this.#options.log.warn(
          { reason: reasonOf(error) },
          `the ${what} cannot be followed: services beyond maxPolls are read one after the other`,
        );
        this.#wanted.ring();
        index = 0n;
        await backoff.pause(signal, error instanceof Refusal ? error.pause : 0);
      }
    }
  }

  /** Reads services, and has all read again if no server answers. @returns whether servers answered */
  async #readAll(services: readonly WatchedService[], what: string): Promise<boolean> {
    const queue = [...services];
    let silence = false;
    const reader = async () => {
      for (let service = queue.shift(); service !== undefined && !silence; service = queue.shift()) {
        if (!this.#services.has(service)) continue;
        const error = await this.#options.read(service, what);
        if (error !== undefined) silence ||= isSilence(error);
      }
    };
    await Promise.all(Array.from({ length: READERS }, reader));
    if (silence) this.#wanted.ring();
    return !silence;
  }

  #affected(before: ReadonlyMap<string, FailingCheck>, now: ReadonlyMap<string, FailingCheck>): WatchedService[] {
    const changed = [
      ...[...before.values()].filter(({ id }) => !now.has(id)),
      ...[...now.values()].filter(({ id }) => !before.has(id)),
    ];
    const names = new Set(changed.map(({ service }) => service));
    const nodes = new Set(changed.filter(({ service }) => service === '').map(({ node }) => node));
    return [...this.#services].filter(
      (service) => names.has(service.key.name) || [...nodes].some((node) => service.isOn(node)),
    );
  }
}
