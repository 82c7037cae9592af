import { isDeepStrictEqual } from 'node:util';
import pLimit from 'p-limit';
import { asError } from '#model/reason.js';
import { type RegistryService, type ServiceKey, serviceId } from '#model/service.js';
import { type Cause, cause, type SourceOutput } from '#sources/contract.js';
import type { ServiceName } from './api.js';
import type { NacosClient } from './client.js';

/** How many services are asked for at a time. */
const concurrency = 64;

/** What Nacos says of one service, as the model has it. @throws Error if it cannot be read */
export type Decode = (key: ServiceKey, info: unknown) => RegistryService;

/** One service that Nacos lists. */
interface Known {
  readonly name: ServiceName;
  readonly key: ServiceKey;
  /** What was last read; undefined until it could be. */
  content?: RegistryService;
  /** Why it cannot be read at the moment. */
  error?: Error | undefined;
  subscribed: boolean;
  /** Whether its content was given on. */
  told: boolean;
  /** Counts what is heard of it, so that a slow answer never overwrites a newer one. */
  turn: number;
}

/** From one connection to its loss. */
interface Session {
  readonly client: NacosClient;
  readonly signal: AbortSignal;
}

/**
 * The services of one registry as they were last read, over all sessions. All that is bad news is asked twice: a service that is not listed
 * any more, and one that has no instance left.
 */
export class Services {
  readonly #registry: string;
  readonly #out: SourceOutput;
  readonly #decode: Decode;
  readonly #known = new Map<string, Known>();
  readonly #limit = pLimit(concurrency);
  #session: Session | undefined;
  #committed = false;

  constructor(registry: string, out: SourceOutput, decode: Decode) {
    this.#registry = registry;
    this.#out = out;
    this.#decode = decode;
  }

  /** Whether a complete listing was ever given. */
  get committed(): boolean {
    return this.#committed;
  }

  /** Whether some service is listed and cannot be read. */
  get unread(): boolean {
    return [...this.#known.values()].some(({ error }) => error !== undefined);
  }

  /**
   * Begins a session: subscribes to all services, and gives a complete listing when each has been answered.
   * @param signal ends the session: what is still being asked then counts no more
   * @throws Error if the list, or all services, cannot be read; nothing is removed then
   */
  async sync(client: NacosClient, signal: AbortSignal): Promise<void> {
    const session = { client, signal };
    this.#session = session;
    for (const service of this.#known.values()) service.subscribed = false;
    await this.#follow(await this.#list(client), session);
    const services = [...this.#known.values()];
    const unread = services.filter(({ error }) => error !== undefined);
    if (unread.length > 0 && unread.length === services.length) throw unread[0]?.error;
    const listing = this.#out.listing();
    // Said after the listing began, so that it leaves their last known content alone.
    for (const { key, error } of unread) if (error !== undefined) this.#out.unreadable(key, error);
    listing.add(
      services.flatMap(({ content, error }) => (content === undefined || error !== undefined ? [] : [content])),
    );
    listing.commit(cause('listing'));
    this.#committed = true;
    for (const service of services) service.told = true;
  }

  /**
   * Looks for services that came or went, and tries again those that could not be read.
   * @throws Error if the list cannot be read
   */
  async poll(): Promise<void> {
    if (this.#session === undefined) return;
    const empty = [...this.#known.values()].filter(({ told, content }) => !told && content !== undefined);
    for (const service of empty) this.#tell(service, cause('listed without an instance'));
    const removed = await this.#follow(await this.#list(this.#session.client), this.#session);
    if (removed.length > 0) this.#out.update([], removed, cause('no longer listed'));
    this.#out.alive();
  }

  /** A subscribed service changed, or may have. @param ask gives what the server says of it */
  async changed(name: ServiceName, ask: () => Promise<unknown>): Promise<void> {
    const service = this.#known.get(serviceId(this.#key(name)));
    const session = this.#session;
    if (service === undefined || session === undefined) return;
    await this.#read(service, session, 'changed', ask);
  }

  /** All wanted services, with those that are only perhaps gone. */
  async #list(client: NacosClient): Promise<Map<string, ServiceName>> {
    const list = async () => new Map((await client.list()).map((name) => [serviceId(this.#key(name)), name]));
    let listed = await list();
    // At the start nothing is missing yet, and an empty list would be the first content.
    if (listed.size === 0 && !this.#committed) listed = await list();
    const missing = [...this.#known].filter(([id]) => !listed.has(id));
    if (missing.length === 0) return listed;
    const second = await list();
    const present = await Promise.all(
      missing.map(([id, { name, key }]) =>
        this.#limit(async () => second.has(id) || this.#decode(key, await client.query(name)).instances.length > 0),
      ),
    );
    missing.forEach(([id, { name }], index) => {
      if (present[index]) listed.set(id, name);
    });
    return listed;
  }

  /** Subscribes to what is not subscribed yet, and forgets what is not listed. @returns the keys of what is forgotten */
  async #follow(listed: Map<string, ServiceName>, session: Session): Promise<ServiceKey[]> {
    const gone = [...this.#known].filter(([id]) => !listed.has(id));
    for (const [id, service] of gone) {
      this.#known.delete(id);
      service.turn++;
      if (service.subscribed) session.client.unsubscribe(service.name).catch(() => {});
    }
    for (const [id, name] of listed)
      if (!this.#known.has(id))
        this.#known.set(id, { name, key: this.#key(name), subscribed: false, told: false, turn: 0 });
    const unsubscribed = [...this.#known.values()].filter(({ subscribed }) => !subscribed);
    await Promise.all(unsubscribed.map((service) => this.#subscribe(service, session)));
    session.signal.throwIfAborted();
    return gone.map(([, { key }]) => key);
  }

  async #subscribe(service: Known, session: Session): Promise<void> {
    await this.#read(service, session, 'subscribed', async () => {
      const info = await session.client.subscribe(service.name);
      service.subscribed = true;
      return info;
    });
  }

  /** Takes what a service's server says of it, unless something newer is heard meanwhile. */
  #read(service: Known, session: Session, what: string, ask: () => Promise<unknown>): Promise<void> {
    const turn = ++service.turn;
    const outdated = () => service.turn !== turn || session.signal.aborted;
    const heard = performance.now();
    return this.#limit(async () => {
      if (outdated()) return;
      try {
        let content = this.#decode(service.key, await ask());
        if (outdated()) return;
        if (content.instances.length === 0 && (service.content?.instances.length ?? 0) > 0) {
          content = this.#decode(service.key, await session.client.query(service.name));
          if (outdated()) return;
        }
        if (service.error === undefined && isDeepStrictEqual(content, service.content)) return;
        service.content = content;
        service.error = undefined;
        // A service is listed a moment before its first instance: an empty one that is new is told at the next look at the list.
        const isAwaited = !service.told && content.instances.length === 0;
        if (this.#committed && !isAwaited) this.#tell(service, { what, observedAt: heard });
      } catch (error) {
        if (outdated()) return;
        service.error = asError(error);
        service.subscribed = false;
        if (this.#committed) this.#out.unreadable(service.key, service.error);
      }
    });
  }

  #tell(service: Known, cause: Cause): void {
    if (service.content === undefined) return;
    service.told = true;
    this.#out.update([service.content], [], cause);
  }

  #key({ namespace, group, name }: ServiceName): ServiceKey {
    return { registry: this.#registry, namespace, group, name, version: '' };
  }
}
