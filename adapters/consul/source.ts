import { setMaxListeners } from 'node:events';
import { setTimeout as sleep } from 'node:timers/promises';
import pLimit from 'p-limit';
import { reasonOf } from '#model/reason.js';
import { type Cause, cause, type Source, type SourceContext, type SourceOutput } from '#sources/contract.js';
import { HttpError } from '#sources/http.js';
import { type Answer, ConsulClient, nextIndex, type Question } from './client.js';
import { decodeFailingChecks, decodeNames, decodeService, type FailingCheck, serviceKey } from './decode.js';
import { Backoff, Bell } from './pace.js';
import type { ConsulConfig } from './schema.js';
import { WatchedService } from './service.js';

/** Reads beside the blocking queries, at one time. */
const READERS = 8;
// Consul's advice: a query that never blocks must not become a storm.
const SERVICE_PACE_MS = 50;
const LIST_PACE_MS = 200;
const SWEEP_PAUSE_MS = 1_000;
const RETRY_MS = 10_000;
/** Without any signal, services without a blocking query are read again at this rate: what no signal tells, such as a node's address. */
const QUIET_READ_MS = 100;
/** Attempts without any answer after which a service is shown as unreadable, while others are read. */
const SILENT_ATTEMPTS = 3;

/**
 * Reads a Consul catalog by blocking queries: one on the list of services, one on each service, up to `maxPolls`. The services
 * beyond that are read after a signal: any registration changes the list's index, and one more query tells which checks fail.
 */
export class ConsulSource implements Source {
  readonly #config: ConsulConfig;
  readonly #context: SourceContext;

  constructor(config: ConsulConfig, context: SourceContext) {
    this.#config = config;
    this.#context = context;
  }

  async run(out: SourceOutput, signal: AbortSignal): Promise<void> {
    const client = new ConsulClient(this.#config);
    const session = new Session(client, this.#config, this.#context, out, signal);
    try {
      await session.run();
    } catch (error) {
      if (!signal.aborted) throw error;
    } finally {
      await session.end();
      client.close();
    }
  }
}

/** One run of a source. */
class Session {
  readonly #services = new Map<string, WatchedService>();
  /** Those with a blocking query of their own, and what ends it. */
  readonly #held = new Map<WatchedService, AbortController>();
  /** The others. */
  readonly #shared = new Set<WatchedService>();
  readonly #sweepWanted = new Bell();
  readonly #ending = new AbortController();
  readonly #signal: AbortSignal;
  readonly #tasks = new Set<Promise<void>>();
  #fail: (error: unknown) => void = () => {};
  #followsChecks = false;
  #stale = false;

  constructor(
    private readonly client: ConsulClient,
    private readonly config: ConsulConfig,
    private readonly context: SourceContext,
    private readonly out: SourceOutput,
    signal: AbortSignal,
  ) {
    this.#signal = AbortSignal.any([signal, this.#ending.signal]);
    setMaxListeners(0, this.#signal);
  }

  /** Runs until the signal aborts, and then throws; or throws what went wrong. */
  async run(): Promise<void> {
    const failed = new Promise<never>((_, reject) => {
      this.#fail = reject;
      this.#signal.addEventListener('abort', () => reject(this.#signal.reason));
    });
    await Promise.race([failed, this.#start()]);
    await failed;
  }

  async end(): Promise<void> {
    this.#ending.abort();
    await Promise.allSettled(this.#tasks);
  }

  async #start(): Promise<void> {
    this.out.state({ kind: 'connecting' });
    const list = await this.client.services({}, this.#signal);
    let names = this.#wantedNames(list);
    if (names.length === 0)
      names = this.#wantedNames(await this.client.services({ elsewhere: list.server }, this.#signal));
    this.out.state({ kind: 'syncing' });
    const told = cause('first listing');
    const listing = this.out.listing();
    const limit = pLimit(READERS);
    const readFirst = async (name: string) => {
      const service = this.#know(name);
      try {
        await service.look(this.client, {}, this.#signal);
        if (service.content !== undefined) listing.add([service.content]);
      } catch (error) {
        this.#signal.throwIfAborted();
        if (isSilence(error)) throw error;
        this.#notRead(service, error);
      }
    };
    await Promise.all(names.map((name) => limit(readFirst, name)));
    listing.commit(told);
    for (const service of this.#services.values()) this.#assign(service);
    this.#spawn(this.#followList(list.index));
    this.#spawn(this.#sweep());
  }

  #spawn(work: Promise<void>): void {
    const task = work.catch((error: unknown) => this.#fail(error)).finally(() => this.#tasks.delete(task));
    this.#tasks.add(task);
  }

  #know(name: string): WatchedService {
    const service = new WatchedService(serviceKey(this.context.registry, name));
    this.#services.set(name, service);
    return service;
  }

  /** Gives a service a blocking query of its own, if there is one left. */
  #assign(service: WatchedService): void {
    if (this.#held.size >= this.config.maxPolls) {
      this.#shared.add(service);
      this.#sweepWanted.ring();
      if (!this.#followsChecks) this.#spawn(this.#followChecks());
      this.#followsChecks = true;
      return;
    }
    this.#shared.delete(service);
    const controller = new AbortController();
    this.#held.set(service, controller);
    this.#spawn(this.#follow(service, controller.signal));
  }

  /** Keeps a blocking query on one service. */
  async #follow(service: WatchedService, gone: AbortSignal): Promise<void> {
    const signal = AbortSignal.any([this.#signal, gone]);
    const backoff = new Backoff();
    try {
      for (;;) {
        const error = await this.#read(
          service,
          service.failures > 0 ? {} : { index: service.index },
          'blocking query',
          signal,
        );
        if (error !== undefined) await backoff.pause(signal);
        else {
          backoff.reset();
          await sleep(SERVICE_PACE_MS, undefined, { signal });
        }
      }
    } catch (error) {
      if (!gone.aborted) throw error;
    }
  }

  /** Reads a service and gives out what changed. @returns why it could not be read, if so */
  async #read(
    service: WatchedService,
    question: Question,
    what: string,
    signal: AbortSignal,
  ): Promise<Error | undefined> {
    try {
      const before = service.content;
      const changed = await service.look(this.client, question, signal);
      service.failures = 0;
      this.out.alive();
      if (!changed && !service.unreadable) return undefined;
      service.unreadable = false;
      const { content, key } = service;
      if (content !== undefined) this.out.update([content], [], cause(what));
      else if (before !== undefined) this.out.update([], [key], cause(what));
      return undefined;
    } catch (error) {
      signal.throwIfAborted();
      this.#notRead(service, error);
      return error as Error;
    }
  }

  #notRead(service: WatchedService, error: unknown): void {
    service.failures++;
    // While the servers are away, that is the source's state, and not each service's.
    if (isSilence(error) && (this.#stale || service.failures < SILENT_ATTEMPTS)) return;
    service.unreadable = true;
    this.out.unreadable(service.key, error as Error);
  }

  async #followList(first: bigint): Promise<void> {
    const backoff = new Backoff();
    let index = first;
    for (;;) {
      try {
        // After a failure at once, not when something changes.
        const answer = await this.client.services(this.#stale ? {} : { index }, this.#signal);
        const next = nextIndex(answer.index, index);
        if (next !== index) this.#sweepWanted.ring();
        const complete = await this.#reconcile(answer, cause('blocking query on the list'));
        if (this.#stale) this.out.state({ kind: 'live' });
        this.#stale = false;
        this.out.alive();
        index = complete ? next : 0n;
        if (!complete) await backoff.pause(this.#signal);
        else {
          backoff.reset();
          await sleep(LIST_PACE_MS, undefined, { signal: this.#signal });
        }
      } catch (error) {
        this.#signal.throwIfAborted();
        this.#stale = true;
        this.out.state({ kind: 'stale', error: error as Error });
        await backoff.pause(this.#signal);
      }
    }
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
    const shown = gone.filter(({ content, unreadable }) => content !== undefined || unreadable);
    if (shown.length > 0)
      this.out.update(
        [],
        shown.map(({ key }) => key),
        told,
      );
    return gone.length === missing.length;
  }

  /** Asks for a service that is missing in the list, of another server where there is one. */
  async #isGone(service: WatchedService, server: string): Promise<boolean> {
    try {
      const { body, filtered } = await this.client.service(service.key.name, { elsewhere: server }, this.#signal);
      if (filtered) throw new Error(`the token may no longer see ${service.key.name}`);
      const found = decodeService(service.key, body);
      return found === undefined || found.instances.length + found.rejected.length === 0;
    } catch (error) {
      this.#signal.throwIfAborted();
      this.#notRead(service, error);
      return false;
    }
  }

  #forget(service: WatchedService): void {
    this.#services.delete(service.key.name);
    this.#shared.delete(service);
    this.#held.get(service)?.abort();
    this.#held.delete(service);
    const [next] = this.#shared;
    if (next !== undefined && this.#held.size < this.config.maxPolls) this.#assign(next);
  }

  #wantedNames(list: Answer): string[] {
    const names = decodeNames(list.body);
    if (names.length === 0 && (list.filtered || list.closed))
      throw new Error(`${list.server}: the token may see no service`);
    return names.filter((name) => name !== 'consul' && this.context.includes(name));
  }

  /** Reads the services without a blocking query: after each signal, and slowly without one. */
  async #sweep(): Promise<void> {
    const backoff = new Backoff();
    for (;;) {
      const failed = [...this.#shared].filter(({ failures }) => failures > 0);
      const quiet = Math.max(this.config.wait, QUIET_READ_MS * this.#shared.size);
      const signalled = await this.#sweepWanted.heard(failed.length > 0 ? RETRY_MS : quiet, this.#signal);
      const start = performance.now();
      // New ones first.
      const all = [...this.#shared].sort((a, b) => Number(a.index > 0n) - Number(b.index > 0n));
      if (await this.#readAll(signalled || failed.length === 0 ? all : failed)) backoff.reset();
      else await backoff.pause(this.#signal);
      // At least half of the time is left to the servers.
      await sleep(Math.max(SWEEP_PAUSE_MS, performance.now() - start), undefined, { signal: this.#signal });
    }
  }

  /** Reads services, and has all read again if no server answers. @returns whether servers answered */
  async #readAll(services: readonly WatchedService[]): Promise<boolean> {
    const queue = [...services];
    let silence = false;
    const reader = async () => {
      for (let service = queue.shift(); service !== undefined && !silence; service = queue.shift()) {
        if (!this.#shared.has(service)) continue;
        const error = await this.#read(service, {}, 'read after a signal', this.#signal);
        if (error !== undefined) silence ||= isSilence(error);
      }
    };
    await Promise.all(Array.from({ length: READERS }, reader));
    if (silence) this.#sweepWanted.ring();
    return !silence;
  }

  /** Tells which services without a blocking query have a check that began or ceased to fail, and has them read at once. */
  async #followChecks(): Promise<void> {
    const backoff = new Backoff();
    let known: ReadonlyMap<string, FailingCheck> | undefined;
    let index = 0n;
    for (;;) {
      try {
        const answer = await this.client.failingChecks({ index }, this.#signal);
        const failing = new Map(decodeFailingChecks(answer.body).map((check) => [check.id, check]));
        index = nextIndex(answer.index, index);
        if (known === undefined) this.#sweepWanted.ring();
        else await this.#readAll(this.#affected(known, failing));
        known = failing;
        backoff.reset();
        await sleep(LIST_PACE_MS, undefined, { signal: this.#signal });
      } catch (error) {
        this.#signal.throwIfAborted();
        this.context.log.warn(
          { reason: reasonOf(error) },
          'the failing checks cannot be followed: services beyond maxPolls are read one after the other',
        );
        this.#sweepWanted.ring();
        index = 0n;
        await backoff.pause(this.#signal);
      }
    }
  }

  #affected(before: ReadonlyMap<string, FailingCheck>, now: ReadonlyMap<string, FailingCheck>): WatchedService[] {
    const changed = [
      ...[...before.values()].filter(({ id }) => !now.has(id)),
      ...[...now.values()].filter(({ id }) => !before.has(id)),
    ];
    const names = new Set(changed.map(({ service }) => service));
    const nodes = new Set(changed.filter(({ service }) => service === '').map(({ node }) => node));
    return [...this.#shared].filter(
      (service) => names.has(service.key.name) || [...nodes].some((node) => service.isOn(node)),
    );
  }
}

/** Whether no server answered at all. */
function isSilence(error: unknown): boolean {
  return error instanceof HttpError && error.status === undefined;
}
