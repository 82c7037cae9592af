import { setTimeout as sleep } from 'node:timers/promises';
import { asError } from '#model/reason.js';
import { HttpError } from '#sources/http.js';
import { HttpApi, idOf, isNotToBeHad, type PushAddress, type ServiceName } from './api.js';
import { Catalog } from './catalog.js';
import { type ClientOptions, type Connect, controllerWithin, type NacosClient, type Watcher } from './client.js';
import { Pushes } from './push.js';

/** Services per page of the overview, which holds all of their instances. */
const pageSize = 200;

/** Reads Nacos 1 (and what later versions kept of its API) over HTTP. */
export function connectHttp(options: ClientOptions): Connect {
  return async (watcher, signal) => new HttpClient(options, watcher, signal);
}

/**
 * What is read of a service is always the answer to a plain question about it, for all clusters. An overview of all services with their
 * instances is looked at in each interval, and says which ones to ask about; where the server has none, or does not allow it, each is asked about.
 * Pushes, where they are wanted, say it sooner.
 */
class HttpClient implements NacosClient {
  readonly #options: ClientOptions;
  readonly #watcher: Watcher;
  readonly #abort: AbortController;
  readonly #signal: AbortSignal;
  readonly #api: HttpApi;
  readonly #catalog: Catalog;
  readonly #pushes: Pushes | undefined;
  readonly #followed = new Map<string, ServiceName>();
  /** What the last overview held of each service; undefined as long as there was none. */
  #overview: ReadonlyMap<string, string> | undefined;
  #hasOverview = true;
  #follows = false;

  constructor(options: ClientOptions, watcher: Watcher, signal: AbortSignal) {
    const { config, context } = options;
    this.#options = options;
    this.#watcher = watcher;
    this.#abort = controllerWithin(signal);
    this.#signal = this.#abort.signal;
    this.#api = new HttpApi(config);
    this.#catalog = new Catalog({
      config,
      context,
      api: this.#api,
      servicesOfGroup: (...page) => this.#api.servicesOfGroup(...page),
    });
    if (config.push)
      this.#pushes = new Pushes({
        ask: (service, pushTo) => this.#ask(service, pushTo),
        changed: (service) => void this.#watcher.changed(service, () => this.query(service)),
        log: context.log,
      });
  }

  async list(): Promise<ServiceName[]> {
    const listed = await this.#catalog.list(this.#signal);
    if (!this.#follows) {
      this.#follows = true;
      // Before the services are asked about: what changes later shows in the next overview.
      this.#overview = await this.#look();
      void this.#follow();
    }
    return listed;
  }

  async watchList(): Promise<boolean> {
    return this.#overview !== undefined && this.#catalog.scopes !== undefined;
  }

  async subscribe(service: ServiceName): Promise<unknown> {
    this.#followed.set(idOf(service), service);
    const info = await this.query(service);
    void this.#pushes?.subscribe(service);
    return info;
  }

  async unsubscribe(service: ServiceName): Promise<void> {
    this.#followed.delete(idOf(service));
    this.#pushes?.unsubscribe(service);
  }

  query(service: ServiceName): Promise<unknown> {
    return this.#ask(service);
  }

  async close(): Promise<void> {
    this.#abort.abort();
    await this.#pushes?.close();
    await this.#api.close();
  }

  async #ask(service: ServiceName, pushTo?: PushAddress): Promise<unknown> {
    try {
      return await this.#api.instances(service, this.#signal, pushTo);
    } catch (error) {
      if (error instanceof HttpError && error.status === undefined) this.#watcher.lost(error);
      throw error;
    }
  }

  async #follow(): Promise<void> {
    const pause = () => sleep(this.#options.config.pollInterval, true, { signal: this.#signal }).catch(() => false);
    try {
      while (await pause()) await this.#compare();
    } catch (error) {
      this.#watcher.lost(asError(error));
    }
  }

  /** Asks about what changed from one overview to the next. */
  async #compare(): Promise<void> {
    const before = this.#overview;
    const now = await this.#look();
    this.#overview = now;
    if (now !== undefined) {
      this.#watcher.alive();
      const isGone = ([id]: [string, unknown]) => !now.has(id);
      if ([...now.keys()].some((id) => !this.#followed.has(id)) || [...this.#followed].some(isGone))
        this.#watcher.listed();
    }
    const changed = [...this.#followed].filter(([id]) => now === undefined || now.get(id) !== before?.get(id));
    await Promise.all(changed.map(([, service]) => this.#watcher.changed(service, () => this.query(service))));
  }

  /** The wanted services of all namespaces, each with a digest of its instances; undefined if it is not to be had. */
  async #look(): Promise<ReadonlyMap<string, string> | undefined> {
    if (!this.#hasOverview) return undefined;
    const found = new Map<string, string>();
    try {
      for (const namespace of this.#catalog.namespaces)
        for (let pageNo = 1, last = false; !last; pageNo++) {
          const page = await this.#api.overview(namespace, pageNo, pageSize, this.#signal);
          for (const { digest, ...service } of page)
            if (this.#catalog.isWanted({ namespace, ...service })) found.set(idOf({ namespace, ...service }), digest);
          last = page.length < pageSize;
        }
      return found;
    } catch (error) {
      const answered = error instanceof HttpError && error.status === 200;
      if (!answered && !isNotToBeHad(error)) throw error;
      this.#hasOverview = false;
      this.#options.context.log.debug({ err: error }, 'there is no overview: each service is asked about');
      return undefined;
    }
  }
}
