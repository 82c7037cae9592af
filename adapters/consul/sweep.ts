import { setTimeout as sleep } from 'node:timers/promises';
import type { Logger } from 'pino';
import { reasonOf } from '#model/reason.js';
import { Backoff, Bell } from '#sources/pace.js';
import { type ConsulClient, isSilence, isUnavailable, nextIndex, type Question } from './client.js';
import { pauseOf } from './connection.js';
import { decodeFailingChecks, decodeMarks, type FailingCheck } from './decode.js';
import type { WatchedService } from './service.js';

/** Reads at one time. */
const READERS = 8;
const FOLLOW_PACE_MS = 200;
const PAUSE_MS = 200;
/** After all services were read one by one. */
const WHOLE_PAUSE_MS = 1_000;
/** Instances beyond which the whole catalog is too long an answer to be parsed in one go. */
const MOST_INSTANCES = 40_000;
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
  readonly read: (service: WatchedService, what: string, question: Question) => Promise<Error | undefined>;
}

/** Reads the services that have no blocking query of their own: those that changed after each signal, and all slowly without one. */
export class Sweep {
  readonly #options: SweepOptions;
  readonly #services = new Set<WatchedService>();
  /** Those that are to be read. */
  readonly #due = new Set<WatchedService>();
  readonly #wanted = new Bell();
  /** What each service looked like when the whole catalog was last asked for, but for those that were read in a later state; undefined if that is not known. */
  #marks: Map<string, string> | undefined;
  /** Consul's index of that answer. */
  #marked = 0n;
  #isWholeToBeHad = true;

  constructor(options: SweepOptions) {
    this.#options = options;
  }

  add(service: WatchedService): void {
    this.#services.add(service);
    this.#due.add(service);
    this.#wanted.ring();
  }

  delete(service: WatchedService): void {
    this.#services.delete(service);
    this.#due.delete(service);
  }

  /** One of those that wait for a blocking query of their own. */
  first(): WatchedService | undefined {
    const [first] = this.#services;
    return first;
  }

  /** Something changed. */
  ring(): void {
    this.#wanted.ring();
  }

  /** Runs until the signal aborts, and then throws its reason. */
  async run(signal: AbortSignal): Promise<never> {
    const backoff = new Backoff();
    for (;;) {
      const quiet = Math.max(this.#options.wait, QUIET_READ_MS * this.#services.size);
      const isSignalled = await this.#wanted.heard(this.#due.size > 0 ? RETRY_MS : quiet, signal);
      const start = performance.now();
      if (isSignalled) await this.#findChanged(signal);
      else if (this.#due.size === 0) for (const service of this.#services) this.#due.add(service);
      // New ones first.
      const due = [...this.#due].sort((a, b) => Number(a.index > 0n) - Number(b.index > 0n));
      const isRead = isSignalled
        ? await this.#read(due, 'read after a signal', { fresh: true })
        : await this.#read(due, 'read again');
      if (isRead) backoff.reset();
      else await backoff.pause(signal);
      // At least half of the time is left to the servers.
      const least = this.#marks === undefined ? WHOLE_PAUSE_MS : PAUSE_MS;
      await sleep(Math.max(least, performance.now() - start), undefined, { signal });
    }
  }

  /** Has those read that changed since this was last asked; all, if that cannot be told. */
  async #findChanged(signal: AbortSignal): Promise<void> {
    const before = this.#marks;
    this.#marks = this.#isWholeToBeHad ? await this.#look(signal) : undefined;
    for (const service of this.#services) {
      const mark = this.#marks?.get(service.key.name);
      if (mark === undefined || before?.get(service.key.name) !== mark) this.#due.add(service);
    }
  }

  async #look(signal: AbortSignal): Promise<Map<string, string> | undefined> {
    try {
      const { body, index } = await this.#options.client.everything({ fresh: true }, signal);
      const { services, instances } = decodeMarks(body);
      this.#marked = index;
      this.#isWholeToBeHad = instances <= MOST_INSTANCES;
      return services;
    } catch (error) {
      signal.throwIfAborted();
      if (isUnavailable(error)) return undefined;
      this.#isWholeToBeHad = false;
      const reason = reasonOf(error);
      this.#options.log.warn(
        { reason },
        'the whole catalog cannot be asked for: after each change all services are read',
      );
      return undefined;
    }
  }

  /** Has the services read at once whose checks begin or cease to fail. Runs until the signal aborts, and then throws its reason. */
  followChecks(signal: AbortSignal): Promise<never> {
    let known: ReadonlyMap<string, FailingCheck> | undefined;
    return this.#follow('failing checks', signal, async (index) => {
      const answer = await this.#options.client.failingChecks({ index }, signal);
      const failing = new Map(decodeFailingChecks(answer.body).map((check) => [check.id, check]));
      if (known === undefined) this.#wanted.ring();
      else {
        const affected = this.#affected(known, failing);
        for (const service of affected) this.#due.add(service);
        await this.#read(affected, 'check', { fresh: true });
      }
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
        await backoff.pause(signal, pauseOf(error));
      }
    }
  }

  /** Reads services; those that cannot be read stay due. @returns whether servers answered */
  async #read(services: readonly WatchedService[], what: string, question: Question = {}): Promise<boolean> {
    const queue = [...services];
    let silence = false;
    const reader = async () => {
      for (let service = queue.shift(); service !== undefined && !silence; service = queue.shift()) {
        if (!this.#services.has(service)) continue;
        const error = await this.#options.read(service, what, question);
        if (error === undefined) {
          this.#due.delete(service);
          // If it goes back to what it was when all was asked for, its mark shows nothing.
          if (service.index > this.#marked) this.#marks?.delete(service.key.name);
        } else silence ||= isSilence(error);
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
