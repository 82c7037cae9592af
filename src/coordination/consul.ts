import { setTimeout as sleep } from 'node:timers/promises';
import { type Answer, ConsulClient, nextIndex, Servers } from '#adapters/consul/client.js';
import type { ConsulConfig } from '#adapters/consul/schema.js';
import type { Store, Version } from './store.js';
import type { Term } from './term.js';

/** ms, the least that Consul takes. A session without renewal is over after this long at the earliest, and after twice as long at the latest. */
const TTL_MS = 10_000;
/** ms for which nobody gets a lock whose session was ended by Consul. */
const LOCK_DELAY_MS = 5_000;
/** Parts of the TTL after which a leader renews its session. */
const RENEWALS = 4;
/** ms between two tries to get a lock that nobody has: Consul does not say when its delay is over. */
const RETRY_MS = 1_000;
/** ms that a replica that ends takes at most to give its lock up. */
const PARTING_MS = 1_500;

interface ConsulVersion extends Version {
  /** The entry's index; 0 while there is none. */
  readonly mark: number;
  /** To wait with. */
  readonly index: bigint;
}

interface Entry {
  readonly Value: string | null;
  readonly ModifyIndex: number;
  readonly Session?: string;
}

/** Documents as keys, written by their index; leaders by a lock on a key, with a session that has to be renewed. `<prefix>/documents/<name>`, `<prefix>/leaders/<role>`. */
export class ConsulStore implements Store {
  readonly #config: ConsulConfig;
  readonly #prefix: string;
  readonly #me: string;
  /** Of each role for which there is one. */
  readonly #sessions = new Map<string, string>();
  #opened: { readonly servers: Servers; readonly client: ConsulClient } | undefined;

  /** @param me who leads, for people */
  constructor(config: ConsulConfig, prefix: string, me: string) {
    this.#config = config;
    this.#prefix = prefix.split('/').map(encodeURIComponent).join('/');
    this.#me = me;
  }

  async read(name: string, signal: AbortSignal): Promise<ConsulVersion> {
    return versionOf(await this.#client.entry(this.#key('documents', name), { fresh: true }, signal));
  }

  async next(name: string, known: Version, signal: AbortSignal): Promise<ConsulVersion> {
    const { index } = known as ConsulVersion;
    const question = { fresh: true, index };
    const answer = await this.#client.entry(this.#key('documents', name), question, signal);
    return { ...versionOf(answer), index: nextIndex(answer.index, index) };
  }

  async write(name: string, text: string, known: Version, signal: AbortSignal): Promise<boolean> {
    const query = { cas: String(known.mark) };
    return (await this.#client.put(`/kv/${this.#key('documents', name)}`, query, text, signal)) === true;
  }

  async elect(role: string, term: Term, answered: () => void, signal: AbortSignal): Promise<void> {
    const key = this.#key('leaders', role);
    try {
      for (;;) {
        const session = this.#sessions.get(role);
        const askedAt = performance.now();
        if (session !== undefined && !(await this.#renew(session, signal))) {
          this.#sessions.delete(role);
          term.end();
          continue;
        }
        const lock = await this.#client.entry(key, { fresh: true }, signal);
        const { Session: holder } = entryOf(lock) ?? {};
        answered();
        if (holder !== undefined && holder === session) {
          term.renewed(askedAt, TTL_MS);
          await sleep(TTL_MS / RENEWALS, undefined, { signal });
          continue;
        }
        term.end();
        if (holder === undefined) await this.#acquire(role, key, signal);
        else {
          await this.#forget(role, signal);
          await this.#client.entry(key, { fresh: true, index: nextIndex(lock.index, 0n) }, signal);
        }
      }
    } finally {
      if (signal.aborted) {
        term.end();
        await this.#giveUp(role, key);
      }
    }
  }

  async close(): Promise<void> {
    this.#opened?.servers.close();
  }

  /** @throws Error of the file system if a certificate cannot be read */
  get #client(): ConsulClient {
    if (this.#opened === undefined) {
      const servers = new Servers(this.#config);
      this.#opened = { servers, client: new ConsulClient(servers, {}) };
    }
    return this.#opened.client;
  }

  /** @returns whether it was there to be renewed */
  async #renew(session: string, signal: AbortSignal): Promise<boolean> {
    return (await this.#client.put(`/session/renew/${session}`, {}, '', signal)) !== undefined;
  }

  async #acquire(role: string, key: string, signal: AbortSignal): Promise<void> {
    const session = this.#sessions.get(role) ?? (await this.#open(signal));
    this.#sessions.set(role, session);
    const isHeld = await this.#client.put(`/kv/${key}`, { acquire: session }, this.#me, signal);
    if (isHeld !== true) await sleep(RETRY_MS, undefined, { signal });
  }

  async #open(signal: AbortSignal): Promise<string> {
    const wanted = {
      Name: 'pontoon',
      TTL: `${TTL_MS}ms`,
      LockDelay: `${LOCK_DELAY_MS}ms`,
      Behavior: 'release',
      // It is this process that has to be alive, not the agent that it happened to ask.
      NodeChecks: [],
    };
    const made = (await this.#client.put('/session/create', {}, JSON.stringify(wanted), signal)) as { ID?: unknown };
    if (typeof made?.ID !== 'string') throw new Error('Consul made a session without an ID');
    return made.ID;
  }

  async #forget(role: string, signal: AbortSignal): Promise<void> {
    const session = this.#sessions.get(role);
    if (session === undefined) return;
    await this.#client.put(`/session/destroy/${session}`, {}, '', signal);
    this.#sessions.delete(role);
  }

  /** Others need not wait then: a lock that is released has no delay. */
  async #giveUp(role: string, key: string): Promise<void> {
    const session = this.#sessions.get(role);
    if (session === undefined) return;
    const ending = new AbortController();
    const timer = setTimeout(() => ending.abort(), PARTING_MS);
    try {
      await this.#client.put(`/kv/${key}`, { release: session }, '', ending.signal);
      await this.#forget(role, ending.signal);
    } catch {
      // It ends by itself, a little later.
    } finally {
      clearTimeout(timer);
    }
  }

  #key(folder: string, name: string): string {
    return `${this.#prefix}/${folder}/${name}`;
  }
}

function versionOf(answer: Answer): ConsulVersion {
  const entry = entryOf(answer);
  const index = nextIndex(answer.index, 0n);
  if (entry === undefined) return { text: undefined, mark: 0, index };
  return { text: Buffer.from(entry.Value ?? '', 'base64').toString(), mark: entry.ModifyIndex, index };
}

function entryOf({ body, server }: Answer): Entry | undefined {
  if (body === undefined) return undefined;
  const [entry] = Array.isArray(body) ? (body as Partial<Entry>[]) : [];
  if (typeof entry?.ModifyIndex !== 'number')
    throw new Error(`${server} answered with no entry of its key-value store`);
  return entry as Entry;
}
