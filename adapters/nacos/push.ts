import type { EventEmitter } from 'node:events';
import { format } from 'node:util';
import type { NacosNamingClient } from 'nacos';
import pLimit from 'p-limit';
import type { Logger } from 'pino';
import { z } from 'zod';
import { idOf, type PushAddress, type ServiceName } from './api.js';

export interface PushesOptions {
  /** Asks about a service in all clusters, and for pushes to this address in the 10 s to come. */
  readonly ask: (service: ServiceName, pushTo: PushAddress) => Promise<unknown>;
  /** A subscribed service changed, or may have. */
  readonly changed: (service: ServiceName) => void;
  readonly log: Logger;
}

/** What the package gives to its HTTP client, of which it needs `request` alone. `clientIP` is undefined where there is no network. */
interface PackageRequest {
  readonly data: {
    readonly namespaceId: string;
    readonly serviceName: string;
    readonly udpPort: string;
    readonly clientIP: string | undefined;
  };
}

/** The package's client with what its types leave out. Its parts print their errors to the console unless somebody listens. */
type Naming = NacosNamingClient & {
  close(): Promise<void>;
  readonly _hostReactor: EventEmitter & {
    readonly _pushReceiver: EventEmitter;
    /** Takes an answer, and also a push. */
    processServiceJSON(json: string): unknown;
  };
};

/** Questions at a time that only renew subscriptions: others are not to wait behind them. */
const questions = 4;

/** ms between two renewals of a subscription, which a server forgets after 10 s. */
const renewal = 8_000;

const content = z.object({ name: z.string() });

/**
 * Pushes of Nacos 1 over UDP, by the npm package `nacos`: it opens the port, confirms pushes, and renews the subscriptions. A push is
 * only taken as news: anybody could send one. The package itself would drop one without instances, and hear of those clusters alone
 * that it names; so its questions are asked for all clusters, and pushes are taken before it looks at them.
 */
export class Pushes {
  readonly #options: PushesOptions;
  readonly #limit = pLimit(questions);
  readonly #subscribed = new Map<string, ServiceName>();
  /** One for each namespace, as the package has it. */
  readonly #clients = new Map<string, Promise<Naming>>();
  #closed = false;

  constructor(options: PushesOptions) {
    this.#options = options;
  }

  /** Never rejects: without pushes a change is seen later. */
  async subscribe(service: ServiceName): Promise<void> {
    if (this.#closed || this.#subscribed.has(idOf(service))) return;
    this.#subscribed.set(idOf(service), service);
    try {
      const client = await this.#client(service.namespace);
      await client.ready();
      if (!this.#closed && this.#subscribed.has(idOf(service))) client.subscribe(named(service), ignore);
    } catch (err) {
      this.#options.log.warn({ err }, 'no pushes: a change is seen at the next look');
    }
  }

  /** The package goes on asking; it gets no answers any more, and nobody else is asked. */
  unsubscribe(service: ServiceName): void {
    if (!this.#subscribed.delete(idOf(service))) return;
    this.#clients
      .get(service.namespace)
      ?.then((client) => client.unSubscribe(named(service), ignore))
      .catch(ignore);
  }

  /** Ends all questions, and closes the ports. */
  async close(): Promise<void> {
    this.#closed = true;
    const clients = await Promise.allSettled(this.#clients.values());
    await Promise.all(clients.map((client) => (client.status === 'fulfilled' ? client.value.close() : undefined)));
  }

  #client(namespace: string): Promise<Naming> {
    const client = this.#clients.get(namespace) ?? this.#open(namespace);
    this.#clients.set(namespace, client);
    return client;
  }

  async #open(namespace: string): Promise<Naming> {
    const { log, changed } = this.#options;
    // Loaded here, since few need it.
    const { NacosNamingClient } = await import('nacos');
    const options = {
      namespace,
      logger: packageLogger(log),
      // Which server is asked, how and with which token is decided by our own HTTP client.
      serverList: ['nacos'],
      // Without keys it would look for some in the environment, and ask there.
      ak: 'none',
      sk: 'none',
      httpclient: { request: (_url: string, { data }: PackageRequest) => this.#answer(data) },
    };
    const client = new NacosNamingClient(options) as Naming;
    const reactor = client._hostReactor;
    for (const part of [client as unknown as EventEmitter, reactor, reactor._pushReceiver])
      part.on('error', (err: Error) => log.debug({ err }, 'nacos package'));
    const process = reactor.processServiceJSON.bind(reactor);
    reactor.processServiceJSON = (json) => {
      const name = content.safeParse(JSON.parse(json)).data?.name ?? '';
      const service = this.#subscribed.get(`${namespace}@@${name}`);
      if (service === undefined) return;
      if (json === renewed(name)) process(json);
      else changed(service);
    };
    return client;
  }

  /** Answers the package's question; "not modified" for what is no longer subscribed, or cannot be had now. */
  async #answer(query: PackageRequest['data']): Promise<{ status: number; data: string }> {
    const { namespaceId, serviceName, udpPort, clientIP = '127.0.0.1' } = query;
    const service = this.#subscribed.get(`${namespaceId}@@${serviceName}`);
    const isRenewed =
      service !== undefined &&
      (await this.#limit(() => this.#options.ask(service, { udpPort, clientIP })).then(
        () => true,
        () => false,
      ));
    // A closed client that gets an answer goes on asking.
    if (this.#closed) return await new Promise(() => {});
    return isRenewed ? { status: 200, data: renewed(serviceName) } : { status: 304, data: '' };
  }
}

function named({ group, name }: ServiceName) {
  return { serviceName: name, groupName: group };
}

/** An answer as the package needs it to go on: it takes one without instances for none. */
function renewed(name: string): string {
  return JSON.stringify({ name, clusters: 'DEFAULT', hosts: [{}], cacheMillis: renewal });
}

function ignore(): void {}

/** The package logs each push and each failed question: news for nobody but its developers. */
function packageLogger(log: Logger): typeof console {
  const write = (message: unknown, ...rest: unknown[]) => {
    if (log.isLevelEnabled('debug')) log.debug(`nacos package: ${format(message, ...rest)}`);
  };
  return { ...console, debug: write, info: write, warn: write, error: write, log: write };
}
