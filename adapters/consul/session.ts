import { setTimeout as sleep } from 'node:timers/promises';
import pLimit from 'p-limit';
import { asError } from '#model/reason.js';
import type { RegistryService } from '#model/service.js';
import { type Cause, cause, type SourceContext, type SourceOutput } from '#sources/contract.js';
import { Backoff, type Budget, fork } from '#sources/pace.js';
import { type Answer, type ConsulClient, isUnavailable, nextIndex, type Question } from './client.js';
import { pauseOf, Refusal } from './connection.js';
import { decodeNames } from './decode.js';
import type { Reading } from './instance.js';
import type { ConsulConfig } from './schema.js';
import { metadataOf, type Scope, serviceKey } from './scope.js';
import { type Reader, WatchedService } from './service.js';
import { Sweep } from './sweep.js';

/** Reads at one time. */
const READERS = 8;
// Consul's advice: a query that never blocks must not become a storm.
const SERVICE_PACE_MS = 50;
/** Added to the pace of a service: its whole answer comes anew with each change. */
const INSTANCE_PACE_MS = 0.2;
const LIST_PACE_MS = 200;
/** Pauses of a service between its attempts while the servers are away: a hundred services need not find out what the list does. */
const STALE_PAUSES = 6;
/** Attempts without a usable answer after which a service is shown as unreadable, while others are read. */
const FAILED_ATTEMPTS = 3;

/** What a session works with, and what it tells. */
export interface SessionOptions {
  readonly scope: Scope;
  readonly client: ConsulClient;
  readonly reading: Reading;
  readonly config: ConsulConfig;
  readonly context: SourceContext;
  readonly out: SourceOutput;
  /** Blocking queries on services that are left for all sessions. */
  readonly polls: Budget;
  /** The place answers, and is being read. */
  readonly syncing: () => void;
  /** All services of the place, once, when they have been read for the first time. */
  readonly read: (services: readonly RegistryService[], told: Cause) => void;
  readonly failed: (error: Error) => void;
  readonly well: () => void;
  /** Keeps what runs beside, and ends all if it fails. */
  readonly spawn: (work: Promise<void>) => void;
  readonly signal: AbortSignal;
}

/**
 * Reads one scope by blocking queries: one on the list of services, one on each service while there are any left. The other services are
 * read after a signal: any registration changes the list's index, and one more query tells which checks fail.
 */
export class ScopeSession {
  readonly #options: SessionOptions;
  readonly #reader: Reader;
  readonly #services = new Map<string, WatchedService>();
  /** What ends the blocking query of a service that has one. */
  readonly #held = new Map<WatchedService, AbortController>();
  readonly #sweep: Sweep;
  #followsSignals = false;
  #stale = false;

  constructor(options: SessionOptions) {
    const { client, reading, scope, config, context } = options;
    this.#options = options;
    this.#reader = { client, reading, metadata: metadataOf(scope) };
    this.#sweep = new Sweep({ client, log: context.log, wait: config.wait, read: (...args) => this.#read(...args) });
  }

  /** Reads until the signal aborts, and then throws its reason. Tells what it cannot read, and tries again. */
  async run(): Promise<void> {
    const { signal, read, failed, spawn } = this.#options;
    const backoff = new Backoff();
    for (;;) {
      try {
        const list = await this.#readFirst();
        const all = [...this.#services.values()];
        const contents = all.flatMap(({ content }) => content ?? []);
        read(contents, cause('first listing'));
        for (const service of all) this.#assign(service);
        spawn(this.#sweep.run(signal));
        return await this.#followList(list.index);
      } catch (error) {
        signal.throwIfAborted();
        failed(asError(error));
        await backoff.pause(signal, pauseOf(error));
      }
    }
  }

  /** Reads the list and all services that were not read in an earlier attempt. @throws Error if the place cannot be read */
  async #readFirst(): Promise<Answer> {
    const { client, signal, syncing } = this.#options;
    const list = await client.services({}, signal);
    let names = this.#wantedNames(list);
    if (names.length === 0) names = this.#wantedNames(await client.services({ elsewhere: list.server }, signal));
    syncing();
    const wanted = new Set(names);
    for (const name of this.#services.keys()) if (!wanted.has(name)) this.#services.delete(name);
    const limit = pLimit(READERS);
    // If the servers are gone, the others need not find that out, too.
    const { controller, release } = fork(signal);
    const reads = names.map((name) => limit(() => this.#readNew(name, controller.signal)));
    const errors = await Promise.all(reads).finally(() => {
      controller.abort();
      release();
    });
    const [first] = errors.filter((error) => error !== undefined);
    // One that cannot be read is its own trouble; all of them are the registry's.
    if (first !== undefined && !errors.includes(undefined)) throw first;
    return list;
  }

  /**
   * Reads a service for the first time.
   * @returns why it cannot be read, though the servers answer
   * @throws HttpError if they do not
   */
  async #readNew(name: string, signal: AbortSignal): Promise<Error | undefined> {
    const { client, failed } = this.#options;
    signal.throwIfAborted();
    const service = this.#services.get(name) ?? this.#know(name);
    if (service.index > 0n) return undefined;
    const backoff = new Backoff();
    for (let attempt = 1; ; attempt++) {
      try {
        await service.look({}, signal);
        service.failures = 0;
        return undefined;
      } catch (error) {
        signal.throwIfAborted();
        if (isUnavailable(error) && (error instanceof Refusal || attempt < FAILED_ATTEMPTS)) {
          // Servers that refuse may do so for long: meanwhile that is the state of the whole.
          if (attempt % FAILED_ATTEMPTS === 0) failed(asError(error));
          await backoff.pause(signal, pauseOf(error));
          continue;
        }
        if (isUnavailable(error)) await client.services({}, signal);
        service.failures = FAILED_ATTEMPTS;
        this.#notRead(service, error);
        return asError(error);
      }
    }
  }

  #know(name: string): WatchedService {
    const { context, scope } = this.#options;
    const service = new WatchedService(serviceKey(context.registry, scope, name), this.#reader);
    this.#services.set(name, service);
    return service;
  }

  /** Gives a service a blocking query of its own, if there is one left. */
  #assign(service: WatchedService): void {
    const { polls, signal, spawn } = this.#options;
    if (!polls.take()) {
      this.#sweep.add(service);
      if (!this.#followsSignals)
        for (const follow of [this.#sweep.followChecks(signal), this.#sweep.followNodes(signal)]) spawn(follow);
      this.#followsSignals = true;
      return;
    }
    this.#sweep.delete(service);
    const { controller, release } = fork(signal);
    this.#held.set(service, controller);
    spawn(this.#follow(service, controller.signal).finally(release));
  }

  /** Keeps a blocking query on one service. */
  async #follow(service: WatchedService, gone: AbortSignal): Promise<void> {
    const { signal } = this.#options;
    const backoff = new Backoff();
    try {
      for (;;) {
        const question = service.failures > 0 ? {} : { index: service.index };
        const error = await this.#read(service, 'blocking query', question, gone);
        if (error !== undefined) await this.#pause(backoff, error, gone);
        else {
          backoff.reset();
          const pace = SERVICE_PACE_MS + INSTANCE_PACE_MS * (service.content?.instances.length ?? 0);
          await sleep(pace, undefined, { signal: gone });
        }
      }
    } catch (error) {
      if (!gone.aborted || signal.aborted) throw error;
    }
  }

  /** Pauses after a failed read of a service: for longer while the list, which is asked for all the time, is not answered either. */
  async #pause(backoff: Backoff, error: Error, gone: AbortSignal): Promise<void> {
    let pauses = 0;
    do await backoff.pause(gone, pauseOf(error));
    while (this.#stale && ++pauses < STALE_PAUSES);
  }

  /** Reads a service and gives out what changed. @returns why it could not be read, if so */
  async #read(
    service: WatchedService,
    what: string,
    question: Question = {},
    signal = this.#options.signal,
  ): Promise<Error | undefined> {
    const { out } = this.#options;
    try {
      const before = service.content;
      const changed = await service.look(question, signal);
      service.failures = 0;
      out.alive();
      if (!changed && !service.unreadable) return undefined;
      service.unreadable = false;
      const { content, key } = service;
      if (content !== undefined) out.update([content], [], cause(what));
      else if (before !== undefined) out.update([], [key], cause(what));
      return undefined;
    } catch (error) {
      signal.throwIfAborted();
      this.#notRead(service, error);
      return asError(error);
    }
  }

  /** Counts one more failure of a service, and shows it after some. */
  #notRead(service: WatchedService, error: unknown): void {
    service.failures++;
    // While the servers are away, that is the state of the whole, and not each service's.
    if (isUnavailable(error) && (this.#stale || service.failures < FAILED_ATTEMPTS)) return;
    service.unreadable = true;
    this.#options.out.unreadable(service.key, asError(error));
  }

  async #followList(first: bigint): Promise<void> {
    const { client, signal, out, failed } = this.#options;
    const backoff = new Backoff();
    let index = first;
    for (;;) {
      try {
        // After a failure at once, not when something changes.
        const answer = await client.services(this.#stale ? {} : { index }, signal);
        const next = nextIndex(answer.index, index);
        if (next !== index) this.#sweep.ring();
        const complete = await this.#reconcile(answer, cause('blocking query on the list'));
        if (this.#stale) this.#recovered();
        this.#stale = false;
        out.alive();
        index = complete ? next : 0n;
        if (!complete) await backoff.pause(signal);
        else {
          backoff.reset();
          await sleep(LIST_PACE_MS, undefined, { signal });
        }
      } catch (error) {
        signal.throwIfAborted();
        this.#stale = true;
        failed(asError(error));
        await backoff.pause(signal, pauseOf(error));
      }
    }
  }

  /** What failed while the servers were away is asked for again, and says nothing of the services. */
  #recovered(): void {
    for (const service of this.#services.values()) service.failures = Math.min(service.failures, 1);
    this.#options.well();
  }

  /** Takes a list. @returns whether everything that is missing in it is settled */
  async #reconcile(list: Answer, told: Cause): Promise<boolean> {
    const names = new Set(this.#wantedNames(list));
    for (const name of names) if (!this.#services.has(name)) this.#assign(this.#know(name));
    const missing = [...this.#services.values()].filter(({ key }) => !names.has(key.name));
    const limit = pLimit(READERS);
    const settled = await Promise.all(missing.map((service) => limit(() => this.#isGone(service, list.server))));
    const gone = missing.filter((_, place) => settled[place]);
    for (const service of gone) this.#forget(service);
    const shown = gone.filter(({ content, unreadable }) => content !== undefined || unreadable).map(({ key }) => key);
    if (shown.length > 0) this.#options.out.update([], shown, told);
    return gone.length === missing.length;
  }

  async #isGone(service: WatchedService, server: string): Promise<boolean> {
    try {
      return await service.isGone(server, this.#options.signal);
    } catch (error) {
      this.#options.signal.throwIfAborted();
      this.#notRead(service, error);
      return false;
    }
  }

  #forget(service: WatchedService): void {
    this.#services.delete(service.key.name);
    this.#sweep.delete(service);
    const controller = this.#held.get(service);
    if (controller === undefined) return;
    controller.abort();
    this.#held.delete(service);
    this.#options.polls.give();
    const next = this.#sweep.first();
    if (next !== undefined) this.#assign(next);
  }

  #wantedNames(list: Answer): string[] {
    const names = decodeNames(list.body);
    if (names.length === 0 && (list.filtered || list.closed))
      throw new Error(`${list.server}: the token may see no service`);
    return names.filter((name) => name !== 'consul' && this.#isWanted(name));
  }

  #isWanted(name: string): boolean {
    const { context, scope } = this.#options;
    if (!context.includes(name)) return false;
    const { metadata } = this.#reader;
    return context.mayServe?.({ ...serviceKey(context.registry, scope, name), kind: 'consul', metadata }) ?? true;
  }
}
