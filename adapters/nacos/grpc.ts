import { z } from 'zod';
import { reasonOf } from '#model/reason.js';
import { type GroupedService, groupedName, HttpApi, type Page, plainName, type ServiceName } from './api.js';
import { Catalog, type Scope } from './catalog.js';
import { type ClientOptions, type Connect, controllerWithin, type NacosClient, type Watcher } from './client.js';
import { Configs, toldConfig } from './config.js';
import { Connection, type ConnectionOptions, ConnectionReset, NacosError } from './connection.js';
import type { NacosServer } from './schema.js';
import type { Resource } from './signature.js';

/**
 * Reads Nacos 2 and 3 over gRPC: subscriptions and pushes. Connects to one of the servers: to the next one each time, since a client is made
 * anew when its server was lost; or to the one that the last server named, if it is one of them.
 */
export function connectGrpc(options: ClientOptions): Connect {
  const { servers } = options.config;
  let next = 0;
  const goTo = (wanted: NacosServer) => {
    const index = servers.findIndex(({ host, port }) => host === wanted.host && port === wanted.port);
    if (index !== -1) next = index;
  };
  return async (watcher, signal) => {
    const failures: string[] = [];
    for (const _ of servers) {
      const server = servers[next] as NacosServer;
      next = (next + 1) % servers.length;
      const client = new GrpcClient(options, server, watcher, signal, goTo);
      try {
        await client.open();
        return client;
      } catch (error) {
        await client.close();
        signal.throwIfAborted();
        failures.push(reasonOf(error));
      }
    }
    // Sorted: the same trouble is then said in the same words, whichever server was asked first.
    throw new Error(failures.sort().join('; '));
  };
}

/** What every question about naming has. */
interface Question {
  readonly namespace: string;
  readonly groupName: string;
  readonly serviceName: string;
  readonly [more: string]: unknown;
}

/** A connection and what is subscribed on it. */
interface Link {
  readonly connection: Connection;
  /** By `group@@name`: pushes do not name the namespace. */
  readonly services: Map<string, ServiceName>;
}

const serviceList = z.object({ count: z.number(), serviceNames: z.array(z.string().min(1)).nullish() });
const serviceName = z.object({ groupName: z.string(), name: z.string() });
const watched = z.array(
  z.object({ serviceKey: z.string() }).transform(({ serviceKey }): GroupedService => {
    const [, group = '', ...name] = serviceKey.split('@@');
    return { group, name: name.join('@@') };
  }),
);
/** The error's code when a pattern matches more than the server wants to watch, 500 by default; it is silent about the rest. */
const tooManyServices = 50_311;

class GrpcClient implements NacosClient {
  readonly configs = new Configs((type, { namespace, group }, body) =>
    this.#prove({ module: 'config', tenant: namespace === 'public' ? '' : namespace, group }, namespace, type, body),
  );
  readonly #options: ClientOptions;
  readonly #server: NacosServer;
  readonly #watcher: Watcher;
  readonly #signal: AbortSignal;
  readonly #goTo: (server: NacosServer) => void;
  readonly #abort: AbortController;
  readonly #api: HttpApi;
  readonly #catalog: Catalog;
  /** From which length on the server does not watch the list. */
  #tooLong = Number.POSITIVE_INFINITY;
  readonly #links = new Map<string, Promise<Link>>();
  /** The first connection, until a namespace needs it. */
  #free: Link | undefined;

  constructor(
    options: ClientOptions,
    server: NacosServer,
    watcher: Watcher,
    signal: AbortSignal,
    goTo: (server: NacosServer) => void,
  ) {
    const { config, context } = options;
    this.#options = options;
    this.#server = server;
    this.#watcher = watcher;
    this.#goTo = goTo;
    this.#abort = controllerWithin(signal);
    this.#signal = this.#abort.signal;
    // The server that is well over gRPC is asked first over HTTP, too.
    this.#api = new HttpApi({ ...config, servers: [server, ...config.servers.filter((other) => other !== server)] });
    this.#catalog = new Catalog({
      config,
      context,
      api: this.#api,
      servicesOfGroup: (namespace, group, pageNo, pageSize) =>
        this.#servicesOfGroup(namespace, group, pageNo, pageSize),
    });
  }

  async open(): Promise<void> {
    this.#free = await this.#link();
  }

  list(): Promise<ServiceName[]> {
    return this.#catalog.list(this.#signal);
  }

  /** The watch of Nacos 3: one pattern per part of the list. What it says is a reason to list again, and no more. */
  async watchList(): Promise<boolean> {
    const { scopes } = this.#catalog;
    const length = scopes?.reduce((sum, { services }) => sum + services.length, 0) ?? 0;
    if (scopes === undefined || length >= this.#tooLong) return false;
    try {
      await Promise.all(scopes.map((scope) => this.#watch(scope)));
      return true;
    } catch (error) {
      // A list that is too long for the server may become shorter; other refusals last.
      if (error instanceof NacosError) this.#tooLong = error.code === tooManyServices ? length : 0;
      this.#options.context.log.debug({ err: error }, 'the list of services cannot be watched');
      return false;
    }
  }

  async subscribe(service: ServiceName): Promise<unknown> {
    const link = await this.#linkOf(service.namespace);
    link.services.set(groupedName(service), service);
    return (await this.#request('SubscribeServiceRequest', { ...named(service), subscribe: true, clusters: '' }))
      .serviceInfo;
  }

  async unsubscribe(service: ServiceName): Promise<void> {
    const link = await this.#linkOf(service.namespace);
    link.services.delete(groupedName(service));
    await this.#request('SubscribeServiceRequest', { ...named(service), subscribe: false, clusters: '' });
  }

  async query(service: ServiceName): Promise<unknown> {
    const question = { ...named(service), cluster: '', healthyOnly: false, udpPort: 0 };
    return (await this.#request('ServiceQueryRequest', question)).serviceInfo;
  }

  async close(): Promise<void> {
    this.#abort.abort();
    await this.#api.close();
  }

  /** With what we know, the server tells only what differs from it. */
  async #watch({ namespace, group, services }: Scope): Promise<void> {
    await this.#request('NamingFuzzyWatchRequest', {
      namespace,
      groupName: group ?? '',
      serviceName: '',
      groupKeyPattern: [namespace, group ?? '*', '*'].join('>>'),
      watchType: 'WATCH',
      initializing: false,
      receivedGroupKeys: services.map((service) => `${namespace}@@${groupedName(service)}`),
    });
  }

  async #servicesOfGroup(
    namespace: string,
    groupName: string,
    pageNo: number,
    pageSize: number,
  ): Promise<Page<string>> {
    const question = { namespace, groupName, pageNo, pageSize, serviceName: '', selector: '' };
    const { count, serviceNames } = serviceList.parse(await this.#request('ServiceListRequest', question));
    return { total: count, items: (serviceNames ?? []).map(plainName) };
  }

  #request(type: string, question: Question) {
    const { namespace, groupName: group, serviceName: service } = question;
    return this.#prove({ module: 'naming', group, service }, namespace, type, question);
  }

  /** Asks on the connection of a namespace. */
  async #prove(resource: Resource, namespace: string, type: string, body: Readonly<Record<string, unknown>>) {
    const { connection } = await this.#linkOf(namespace);
    const { credentials } = this.#api;
    const asked = credentials.use(resource, this.#signal, isRefusal, ({ token, signature }) =>
      connection.request(
        type,
        { module: resource.module, ...body },
        { ...signature, ...(token === undefined ? {} : { accessToken: token }) },
      ),
    );
    return await asked.catch((error: Error) => {
      const { auth } = this.#options.config;
      if (isRefusal(error) && auth?.identity !== undefined && auth.username === undefined)
        error.message += ' (auth.identity is taken over HTTP only: set api: http, or add a user)';
      throw error;
    });
  }

  #linkOf(namespace: string): Promise<Link> {
    let link = this.#links.get(namespace);
    if (link === undefined) {
      link = this.#free === undefined ? this.#link() : Promise.resolve(this.#free);
      this.#free = undefined;
      this.#links.set(namespace, link);
      link.catch(() => this.#links.delete(namespace));
    }
    return link;
  }

  async #link(): Promise<Link> {
    const { config } = this.#options;
    const services = new Map<string, ServiceName>();
    const tls = config.tls?.only === 'http' ? undefined : config.tls;
    const onTold: ConnectionOptions['onTold'] = (type, body) => {
      if (type === 'NotifySubscriberRequest') this.#pushed(services, body.serviceInfo);
      const config = type === 'ConfigChangeNotifyRequest' ? toldConfig(body) : undefined;
      if (config !== undefined) this.#watcher.configured?.(config);
      if (type === 'NamingFuzzyWatchSyncRequest') this.#listed(body.contexts);
      if (type === 'NamingFuzzyWatchChangeNotifyRequest') this.#listed([body]);
    };
    const onAlive = () => this.#watcher.alive();
    const connection = await Connection.open({ server: this.#server, tls, onTold, onAlive }, this.#signal);
    connection.lost.catch((reason: Error) => {
      if (reason instanceof ConnectionReset && reason.server !== undefined) this.#goTo(reason.server);
      this.#watcher.lost(reason);
    });
    return { connection, services };
  }

  #pushed(services: Link['services'], info: unknown): void {
    const { data } = serviceName.safeParse(info);
    const service = data && services.get(groupedName({ group: data.groupName, name: plainName(data.name) }));
    if (service === undefined) this.#options.context.log.debug({ info }, 'a push for no service of ours');
    else void this.#watcher.changed(service, async () => info);
  }

  /** The services of which the watch says that they came or went. */
  #listed(changes: unknown): void {
    const { data } = watched.safeParse(changes ?? []);
    // What cannot be understood is a reason to look, too.
    if (data === undefined || data.some((service) => this.#catalog.isWanted(service))) this.#watcher.listed();
  }
}

function named({ namespace, group, name }: ServiceName) {
  return { namespace, groupName: group, serviceName: name };
}

function isRefusal(error: unknown): boolean {
  return error instanceof NacosError && error.code === 403;
}
