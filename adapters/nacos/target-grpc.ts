import { setTimeout as sleep } from 'node:timers/promises';
import { isDeepStrictEqual } from 'node:util';
import { ExponentialBackoff } from 'cockatiel';
import pLimit from 'p-limit';
import type { Logger } from 'pino';
import { reasonOf } from '#model/reason.js';
import { groupedName, idOf, type ServiceName } from './api.js';
import { Configs } from './config.js';
import { Connection, ConnectionReset, NacosError } from './connection.js';
import type { Credentials } from './credentials.js';
import type { NacosConfig, NacosServer } from './schema.js';
import type { Resource } from './signature.js';
import { Refused, refusalOf, type WrittenInstance } from './target-http.js';

/** ms between two attempts to connect again, jittered: the first and the most. */
const retry = { initialDelay: 200, maxDelay: 15_000 };
/** Services that are registered again at a time. */
const concurrency = 8;
/** The error's code for a request that is not allowed. */
const forbidden = 403;
/** What a server says against the instances themselves. */
const refusals = /illegal|invalid|is (ephemeral|persistent) service/i;

interface Batch {
  readonly service: ServiceName;
  readonly instances: readonly WrittenInstance[];
}

/**
 * Registers all instances of a service in one request, on a connection that keeps them: they go the moment that it does. So they are registered again, by
 * themselves, as soon as there is another one.
 */
export class Batches {
  /** The config centre, over the same connection. */
  readonly configs = new Configs(async (type, { namespace, group }, body) =>
    this.#prove(
      await this.#connected(),
      { module: 'config', tenant: namespace === 'public' ? '' : namespace, group },
      type,
      body,
    ),
  );
  readonly #config: NacosConfig;
  readonly #credentials: Credentials;
  readonly #log: Logger;
  readonly #ending = new AbortController();
  /** What the connection keeps, by the service's id. */
  readonly #held = new Map<string, Batch>();
  /** Comes when all that is held is registered on it. */
  #connection: Promise<Connection> | undefined;
  /** The server that is tried first. */
  #next = 0;

  constructor(config: NacosConfig, credentials: Credentials, log: Logger) {
    this.#config = config;
    this.#credentials = credentials;
    this.#log = log;
  }

  /** What is kept of a service. */
  held(service: ServiceName): readonly WrittenInstance[] {
    return this.#held.get(idOf(service))?.instances ?? [];
  }

  /**
   * Makes these the ones that are kept of a service; none of it is sent if they are already.
   * @param turn waits until a request may be sent
   * @throws Refused or OtherKind if the server does not take them, Error if none can be asked
   */
  async put(service: ServiceName, instances: readonly WrittenInstance[], turn: () => Promise<void>): Promise<void> {
    const held = this.held(service);
    const [last] = held;
    if (isDeepStrictEqual(instances, held)) return;
    const connection = await this.#connected();
    await turn();
    if (instances.length > 0) await this.#register(connection, { service, instances });
    else if (last !== undefined)
      await this.#ask(connection, service, 'InstanceRequest', { type: 'deregisterInstance', instance: wire(last) });
    if (instances.length > 0) this.#held.set(idOf(service), { service, instances });
    else this.#held.delete(idOf(service));
  }

  /** Ends the connection, and with it all that it keeps. */
  close(): void {
    this.#ending.abort(new Error('closed'));
  }

  #connected(): Promise<Connection> {
    if (this.#connection === undefined) {
      const opened = this.#open();
      this.#connection = opened;
      opened.catch(() => {
        if (this.#connection === opened) this.#connection = undefined;
      });
    }
    return this.#connection;
  }

  async #open(): Promise<Connection> {
    const connection = await this.#connect();
    const limit = pLimit(concurrency);
    try {
      await Promise.all([...this.#held.values()].map((batch) => limit(() => this.#again(connection, batch))));
    } catch (error) {
      limit.clearQueue();
      connection.close();
      throw error;
    }
    connection.lost.catch((reason: Error) => {
      if (reason instanceof ConnectionReset && reason.server !== undefined) this.#goTo(reason.server);
      this.#connection = undefined;
      void this.#restore(reason);
    });
    return connection;
  }

  /** To the next server each time, since it is called when one was lost. */
  async #connect(): Promise<Connection> {
    const { servers, tls } = this.#config;
    const failures: string[] = [];
    for (const _ of servers) {
      const server = servers[this.#next] as NacosServer;
      this.#next = (this.#next + 1) % servers.length;
      const options = { server, tls: tls?.only === 'http' ? undefined : tls, onTold: () => {}, onAlive: () => {} };
      try {
        return await Connection.open(options, this.#ending.signal);
      } catch (error) {
        this.#ending.signal.throwIfAborted();
        failures.push(reasonOf(error));
      }
    }
    throw new Error(failures.sort().join('; '));
  }

  async #restore(reason: Error): Promise<void> {
    const { signal } = this.#ending;
    if (this.#held.size > 0 && !signal.aborted)
      this.#log.warn(
        { err: reason, services: this.#held.size },
        'the connection that keeps instances is lost: registering them again',
      );
    let pause = new ExponentialBackoff(retry).next();
    while (this.#held.size > 0 && !signal.aborted) {
      try {
        await this.#connected();
        return;
      } catch (error) {
        this.#log.debug({ err: error }, 'not yet');
      }
      await sleep(pause.duration, undefined, { signal }).catch(() => {});
      pause = pause.next(undefined);
    }
  }

  /** What a server takes no longer is kept no longer: the next renewal shows it. */
  async #again(connection: Connection, batch: Batch): Promise<void> {
    await this.#register(connection, batch).catch((error: unknown) => {
      if (!(error instanceof Refused)) throw error;
      this.#held.delete(idOf(batch.service));
    });
  }

  async #register(connection: Connection, { service, instances }: Batch): Promise<void> {
    const body = { type: 'batchRegisterInstance', instances: instances.map(wire) };
    await this.#ask(connection, service, 'BatchInstanceRequest', body);
  }

  async #ask(connection: Connection, service: ServiceName, type: string, body: Readonly<Record<string, unknown>>) {
    const { namespace, group, name } = service;
    const question = { namespace, groupName: group, serviceName: name, ...body };
    try {
      await this.#prove(connection, { module: 'naming', group, service: name }, type, question);
    } catch (error) {
      if (error instanceof NacosError && refusals.test(error.message)) throw refusalOf(error.message);
      throw error;
    }
  }

  #prove(connection: Connection, resource: Resource, type: string, body: Readonly<Record<string, unknown>>) {
    const isRefusal = (error: unknown) => error instanceof NacosError && error.code === forbidden;
    const question = { module: resource.module, ...body };
    return this.#credentials.use(resource, this.#ending.signal, isRefusal, ({ token, signature }) =>
      connection.request(type, question, { ...signature, ...(token === undefined ? {} : { accessToken: token }) }),
    );
  }

  #goTo({ host, port }: NacosServer): void {
    const index = this.#config.servers.findIndex((server) => server.host === host && server.port === port);
    if (index !== -1) this.#next = index;
  }
}

function wire({ service, cluster, ip, port, weight, metadata }: WrittenInstance) {
  return {
    instanceId: `${ip}#${port}#${cluster}#${groupedName(service)}`,
    clusterName: cluster,
    ip,
    port,
    weight,
    enabled: true,
    healthy: true,
    ephemeral: true,
    metadata,
  };
}
