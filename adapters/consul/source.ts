import { setTimeout as sleep } from 'node:timers/promises';
import { asError } from '#model/reason.js';
import { cause, type Source, type SourceContext, type SourceOutput } from '#sources/contract.js';
import { Backoff, Budget, fork } from '#sources/pace.js';
import { ConsulClient, type Place, Servers } from './client.js';
import { pauseOf } from './connection.js';
import { readingOf } from './instance.js';
import { Parts } from './parts.js';
import type { ConsulConfig } from './schema.js';
import { datacenters, type Scope, scopeName, scopesWithin } from './scope.js';
import { ScopeSession } from './session.js';

/** How often it is looked whether there are new data centres, partitions or namespaces: no blocking query tells. */
const DISCOVERY_MS = 60_000;

/** Reads a Consul catalog by blocking queries: each data centre, partition and namespace by itself. */
export class ConsulSource implements Source {
  readonly #config: ConsulConfig;
  readonly #context: SourceContext;

  constructor(config: ConsulConfig, context: SourceContext) {
    this.#config = config;
    this.#context = context;
  }

  async run(out: SourceOutput, signal: AbortSignal): Promise<void> {
    const servers = new Servers(this.#config);
    const { controller, release } = fork(signal);
    const run = new Run(servers, this.#context, out, controller.signal);
    try {
      await run.run();
    } catch (error) {
      if (!signal.aborted) throw error;
    } finally {
      controller.abort();
      await run.ended();
      release();
      servers.close();
    }
  }
}

/** One run of a source. */
class Run {
  readonly #parts: Parts;
  readonly #known = new Set<string>();
  readonly #polls: Budget;
  readonly #tasks = new Set<Promise<void>>();
  #fail: (error: unknown) => void = () => {};

  constructor(
    private readonly servers: Servers,
    private readonly context: SourceContext,
    private readonly out: SourceOutput,
    private readonly signal: AbortSignal,
  ) {
    this.#parts = new Parts(out);
    this.#polls = new Budget(servers.config.maxPolls);
  }

  /** Runs until the signal aborts, and then throws; or throws what went wrong in the code. */
  async run(): Promise<never> {
    const failed = new Promise<never>((_, reject) => {
      this.#fail = reject;
      this.signal.addEventListener('abort', () => reject(this.signal.reason));
    });
    this.#once('data centres', () => this.#discover());
    return await failed;
  }

  async ended(): Promise<void> {
    while (this.#tasks.size > 0) await Promise.allSettled(this.#tasks);
  }

  #spawn(work: Promise<void>): void {
    const task = work.catch((error: unknown) => this.#fail(error)).finally(() => this.#tasks.delete(task));
    this.#tasks.add(task);
  }

  /** Finds the data centres, at the start and those that come. One that is no longer listed may be cut off: it is still asked. */
  async #discover(): Promise<void> {
    const { config } = this.servers;
    await this.#again('data centres', config.datacenters?.includes('*') ?? false, async () => {
      const centers = await datacenters(config, this.#client({}), this.signal);
      for (const center of centers) this.#once(tenantsOf(center), () => this.#discoverWithin(center));
    });
  }

  /** Finds the partitions and namespaces of a data centre. */
  async #discoverWithin(center: Scope): Promise<void> {
    const { config } = this.servers;
    const all = [config.partitions, config.namespaces].some((names) => names?.includes('*') ?? false);
    await this.#again(tenantsOf(center), all, async () => {
      const scopes = await scopesWithin(center, config, (place) => this.#client(place), this.signal);
      for (const scope of scopes) this.#once(scopeName(scope), () => this.#read(scope));
    });
  }

  /** Does it until it succeeds, and then from time to time, if need be. */
  async #again(part: string, forEver: boolean, find: () => Promise<void>): Promise<void> {
    const backoff = new Backoff();
    for (let isFirst = true; ; ) {
      try {
        await find();
        if (isFirst) this.#parts.read(part, [], cause('discovery'));
        else this.#parts.well(part);
        isFirst = false;
        backoff.reset();
        if (!forEver) return;
        await sleep(DISCOVERY_MS * (0.9 + Math.random() / 5), undefined, { signal: this.signal });
      } catch (error) {
        this.signal.throwIfAborted();
        this.#parts.failed(part, asError(error));
        await backoff.pause(this.signal, pauseOf(error));
      }
    }
  }

  #once(part: string, begin: () => Promise<void>): void {
    if (this.#known.has(part)) return;
    this.#known.add(part);
    this.#parts.expect(part);
    this.#spawn(begin());
  }

  #read(scope: Scope): Promise<void> {
    const part = scopeName(scope);
    const session = new ScopeSession({
      scope,
      client: this.#client(scope),
      reading: readingOf(this.servers.config),
      config: this.servers.config,
      context: this.context,
      out: this.out,
      polls: this.#polls,
      syncing: () => this.#parts.syncing(),
      read: (services, told) => this.#parts.read(part, services, told),
      failed: (error) => this.#parts.failed(part, error),
      well: () => this.#parts.well(part),
      spawn: (work) => this.#spawn(work),
      signal: this.signal,
    });
    return session.run();
  }

  #client(place: Place): ConsulClient {
    return new ConsulClient(this.servers, place);
  }
}

/** For people: the part that lists the partitions and namespaces of a data centre. */
function tenantsOf(center: Scope): string {
  return `partitions and namespaces ${center.datacenter === undefined ? '' : `of ${scopeName(center)}`}`.trim();
}
