import { z } from 'zod';
import { reasonOf } from '#model/reason.js';
import { HttpApi, type Page, plainName, type ServiceName } from './api.js';
import { Catalog } from './catalog.js';
import type { ClientOptions, Connect, NacosClient, Watcher } from './client.js';
import { Connection, NacosError } from './connection.js';
import type { NacosServer } from './schema.js';

/**
 * Reads Nacos 2 and 3 over gRPC: subscriptions and pushes. Connects to one of the servers: to the next one each time, since a client is made
 * anew when its server was lost or wanted that.
 */
export function connectGrpc(options: ClientOptions): Connect {
  const { servers } = options.config;
  let attempts = 0;
  return async (watcher, signal) => {
    const first = attempts % servers.length;
    const failures: string[] = [];
    for (const server of [...servers.slice(first), ...servers.slice(0, first)]) {
      attempts++;
      const client = new GrpcClient(options, server, watcher, signal);
      try {
        await client.open();
        return client;
      } catch (error) {
        await client.close();
        signal.throwIfAborted();
        failures.push(reasonOf(error));
      }
    }
    throw new Error(failures.join('; '));
  };
}

/** A connection and what is subscribed on it. */
interface Link {
  readonly connection: Connection;
  /** By `group@@name`: pushes do not name the namespace. */
  readonly services: Map<string, ServiceName>;
}

const serviceList = z.object({ count: z.number(), serviceNames: z.array(z.string().min(1)).nullish() });
const serviceName = z.object({ groupName: z.string(), name: z.string() });

class GrpcClient implements NacosClient {
  readonly #options: ClientOptions;
  readonly #server: NacosServer;
  readonly #watcher: Watcher;
  readonly #signal: AbortSignal;
  readonly #abort = new AbortController();
  readonly #api: HttpApi;
  readonly #catalog: Catalog;
  readonly #links = new Map<string, Promise<Link>>();
  /** The first connection, until a namespace needs it. */
  #free: Link | undefined;

  constructor(options: ClientOptions, server: NacosServer, watcher: Watcher, signal: AbortSignal) {
    const { config, context } = options;
    this.#options = options;
    this.#server = server;
    this.#watcher = watcher;
    this.#signal = AbortSignal.any([signal, this.#abort.signal]);
    // The server that is well over gRPC is asked first over HTTP, too.
    this.#api = new HttpApi({ ...config, servers: [server, ...config.servers.filter((other) => other !== server)] });
    this.#catalog = new Catalog({
      config,
      includes: context.includes,
      log: context.log,
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

  async subscribe(service: ServiceName): Promise<unknown> {
    const link = await this.#linkOf(service.namespace);
    link.services.set(groupedName(service.group, service.name), service);
    return (await this.#request('SubscribeServiceRequest', { ...named(service), subscribe: true, clusters: '' }))
      .serviceInfo;
  }

  async unsubscribe(service: ServiceName): Promise<void> {
    const link = await this.#linkOf(service.namespace);
    link.services.delete(groupedName(service.group, service.name));
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

  /** Asks on the connection of the question's namespace. */
  async #request(type: string, question: Readonly<Record<string, unknown>> & { readonly namespace: string }) {
    const { connection } = await this.#linkOf(question.namespace);
    return await this.#api.login.use(this.#signal, isRefusal, (token) =>
      connection.request(type, { module: 'naming', ...question }, token),
    );
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
    const { config, context } = this.#options;
    const services = new Map<string, ServiceName>();
    const onPush = (info: unknown) => {
      const { data } = serviceName.safeParse(info);
      const service = data && services.get(groupedName(data.groupName, plainName(data.name)));
      if (service === undefined) context.log.debug({ info }, 'a push for no service of ours');
      else void this.#watcher.changed(service, async () => info);
    };
    const onAlive = () => this.#watcher.alive();
    const connection = await Connection.open({ server: this.#server, tls: config.tls, onPush, onAlive }, this.#signal);
    connection.lost.catch((reason: Error) => this.#watcher.lost(reason));
    return { connection, services };
  }
}

function named({ namespace, group, name }: ServiceName) {
  return { namespace, groupName: group, serviceName: name };
}

function groupedName(group: string, name: string): string {
  return `${group}@@${name}`;
}

function isRefusal(error: unknown): boolean {
  return error instanceof NacosError && error.code === 403;
}
