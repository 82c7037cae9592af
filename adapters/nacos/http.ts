import type { EventEmitter } from 'node:events';
import { setTimeout as sleep } from 'node:timers/promises';
import { format } from 'node:util';
import type { NacosNamingClient } from 'nacos';
import type { Logger } from 'pino';
import { z } from 'zod';
import { HttpError } from '#sources/http.js';
import { HttpApi, type ServiceName } from './api.js';
import { Catalog } from './catalog.js';
import { type ClientOptions, type Connect, controllerWithin, type NacosClient, type Watcher } from './client.js';
import type { Resource } from './signature.js';

/** Reads Nacos 1 (and what later versions kept of its API) over HTTP, with the npm package `nacos` for pushes over UDP. */
export function connectHttp(options: ClientOptions): Connect {
  return async (watcher, signal) => new HttpClient(options, watcher, signal);
}

/** What the package gives to its HTTP client, of which it needs `request` alone. */
interface PackageRequest {
  readonly data: { readonly namespaceId: string; readonly serviceName: string; readonly clusters: string };
}

/** The package's client with what its types leave out. Its parts print their errors to the console unless somebody listens. */
type Naming = NacosNamingClient & {
  close(): Promise<void>;
  readonly _hostReactor: EventEmitter & { readonly _pushReceiver: EventEmitter };
};

interface Subscription {
  readonly service: ServiceName;
  /** The package asks for named clusters only. */
  readonly clusters: string;
  readonly listener: () => void;
}

/** Servers push to clients that call themselves so; it is what the package says of itself, too. */
const pushable = { 'user-agent': 'Nacos-Java-Client:v1.0.0', 'client-version': 'Nacos-Java-Client:v1.0.0' };

const instanceList = '/v1/ns/instance/list';
const hosts = z.object({ hosts: z.array(z.looseObject({ clusterName: z.string().min(1).catch('DEFAULT') })) });

/**
 * What is read is always the answer of a plain question for all clusters, asked for every service at each poll; the package only says when to
 * ask sooner. It would miss services without hosts and clusters that it was not told, and never stops asking for what it once subscribed to.
 */
class HttpClient implements NacosClient {
  readonly #options: ClientOptions;
  readonly #watcher: Watcher;
  readonly #abort: AbortController;
  readonly #signal: AbortSignal;
  readonly #api: HttpApi;
  readonly #catalog: Catalog;
  readonly #naming = new Map<string, Promise<Naming>>();
  readonly #subscriptions = new Map<string, Subscription>();

  constructor(options: ClientOptions, watcher: Watcher, signal: AbortSignal) {
    const { config, context } = options;
    this.#options = options;
    this.#watcher = watcher;
    this.#abort = controllerWithin(signal);
    this.#signal = this.#abort.signal;
    this.#api = new HttpApi(config);
    this.#catalog = new Catalog({
      config,
      includes: context.includes,
      log: context.log,
      api: this.#api,
      servicesOfGroup: (...page) => this.#api.servicesOfGroup(...page),
    });
    void this.#poll();
  }

  list(): Promise<ServiceName[]> {
    return this.#catalog.list(this.#signal);
  }

  async watchList(): Promise<boolean> {
    return false;
  }

  async subscribe(service: ServiceName): Promise<unknown> {
    const info = await this.query(service);
    await this.#listen(service, info);
    return info;
  }

  async unsubscribe(service: ServiceName): Promise<void> {
    const subscription = this.#subscriptions.get(idOf(service));
    if (subscription === undefined) return;
    this.#subscriptions.delete(idOf(service));
    const { listener, clusters } = subscription;
    (await this.#client(service.namespace)).unSubscribe({ ...named(service), clusters }, listener);
  }

  async query(service: ServiceName): Promise<unknown> {
    const { serviceName, groupName } = named(service);
    return await this.#ask(service, {
      namespaceId: service.namespace,
      serviceName: `${groupName}@@${serviceName}`,
      clusters: '',
      healthyOnly: 'false',
    });
  }

  async close(): Promise<void> {
    this.#abort.abort();
    const clients = await Promise.allSettled(this.#naming.values());
    await Promise.all(clients.map((client) => (client.status === 'fulfilled' ? client.value.close() : undefined)));
    await this.#api.close();
  }

  async #ask(
    { group, name }: ServiceName,
    query: Record<string, string>,
    headers?: Record<string, string>,
  ): Promise<unknown> {
    try {
      const resource: Resource = { module: 'naming', group, service: name };
      return await this.#api.get(instanceList, query, resource, this.#signal, headers);
    } catch (error) {
      if (error instanceof HttpError && error.status === undefined) this.#watcher.lost(error);
      throw error;
    }
  }

  async #poll(): Promise<void> {
    const pause = () => sleep(this.#options.config.pollInterval, true, { signal: this.#signal }).catch(() => false);
    while (await pause())
      await Promise.all(
        [...this.#subscriptions.values()].map(({ service }) =>
          this.#watcher.changed(service, () => this.subscribe(service)),
        ),
      );
  }

  /** Subscribes to the clusters that the service has by now. */
  async #listen(service: ServiceName, info: unknown): Promise<void> {
    const found = hosts.parse(info).hosts.map(({ clusterName }) => clusterName);
    const clusters = [...new Set(['DEFAULT', ...found])].sort().join(',');
    if (this.#subscriptions.get(idOf(service))?.clusters === clusters) return;
    await this.unsubscribe(service);
    const listener = () => void this.#watcher.changed(service, () => this.subscribe(service));
    this.#subscriptions.set(idOf(service), { service, clusters, listener });
    (await this.#client(service.namespace)).subscribe({ ...named(service), clusters }, listener);
  }

  /** The package reads one namespace per client. */
  #client(namespace: string): Promise<Naming> {
    let client = this.#naming.get(namespace);
    if (client === undefined) {
      client = this.#start(namespace);
      this.#naming.set(namespace, client);
    }
    return client;
  }

  async #start(namespace: string): Promise<Naming> {
    const { log } = this.#options.context;
    // Loaded here, since few need it.
    const { NacosNamingClient } = await import('nacos');
    const options = {
      namespace,
      logger: packageLogger(log),
      // Which server is asked, how and with which token is decided by our own HTTP client.
      serverList: ['nacos'],
      httpclient: { request: (_url: string, { data }: PackageRequest) => this.#forPackage(data) },
    };
    const client = new NacosNamingClient(options) as Naming;
    for (const part of [client as unknown as EventEmitter, client._hostReactor, client._hostReactor._pushReceiver])
      part.on('error', (err: Error) => log.debug({ err }, 'nacos package'));
    await client.ready();
    return client;
  }

  /** Answers the package's question; "not modified" for what is no longer subscribed, or cannot be had now. */
  async #forPackage(query: PackageRequest['data']): Promise<{ status: number; data: string }> {
    const subscription = this.#subscriptions.get(`${query.namespaceId}@@${query.serviceName}`);
    const wanted = subscription?.clusters === query.clusters;
    const answer = wanted
      ? await this.#ask(subscription.service, { ...query }, pushable).catch(() => undefined)
      : undefined;
    return answer === undefined ? { status: 304, data: '' } : { status: 200, data: JSON.stringify(answer) };
  }
}

function named({ group, name }: ServiceName) {
  return { serviceName: name, groupName: group };
}

function idOf({ namespace, group, name }: ServiceName): string {
  return `${namespace}@@${group}@@${name}`;
}

/** The package logs each push and each failed question: news for nobody but its developers. */
function packageLogger(log: Logger): typeof console {
  const write = (message: unknown, ...rest: unknown[]) => {
    if (log.isLevelEnabled('debug')) log.debug(`nacos package: ${format(message, ...rest)}`);
  };
  return { ...console, debug: write, info: write, warn: write, error: write, log: write };
}
