import { randomUUID } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import zookeeper from 'node-zookeeper-client';
import { Session, type SessionListener, type SessionOptions, ZooKeeperError } from '#adapters/zookeeper/session.js';
import { Bell } from '#sources/pace.js';
import type { Health } from './health.js';
import type { Store, Version } from './store.js';
import type { Term } from './term.js';

const { CreateMode, Exception } = zookeeper;

/** ms after which what is waited for is looked at again, though its changes are told. */
const LOOK_MS = 60_000;
/** Parts of the session's timeout after which a leader asks whether its znode is still there. */
const RENEWALS = 4;

/** One session, and what waits for its events. */
interface Link {
  readonly session: Session;
  /** Of the znodes that candidates make in this session: those of an earlier one may be about to vanish. */
  readonly mark: string;
  /** Of the documents whose watch is set. */
  readonly watched: Set<string>;
  ended: Error | undefined;
  closed: Promise<void> | undefined;
}

/**
 * Documents as znodes, written by their version; leaders by ephemeral sequential znodes: the first one leads, each other one watches the one before it.
 * `<path>/documents/<name>`, `<path>/leaders/<role>/<mark>-<number>`.
 */
export class ZooKeeperStore implements Store {
  readonly #options: () => SessionOptions;
  readonly #path: string;
  readonly #health: Health;
  /** Of those who wait, each with the znode that it waits for. */
  readonly #bells = new Map<Bell, string>();
  #link: Link | undefined;

  /** @param options reads certificates, and may throw */
  constructor(options: () => SessionOptions, path: string, health: Health) {
    this.#options = options;
    this.#path = path;
    this.#health = health;
  }

  async read(name: string, signal: AbortSignal): Promise<Version> {
    return this.#read(await this.#connected(signal), this.#documentPath(name));
  }

  async next(name: string, known: Version, signal: AbortSignal): Promise<Version> {
    const path = this.#documentPath(name);
    return this.#wait(path, signal, async (bell) => {
      for (;;) {
        const link = await this.#connected(signal);
        const version = await this.#watch(link, path);
        // A znode that was deleted and made anew counts from 0 again.
        if (version.mark !== known.mark || version.text !== known.text) return version;
        await this.#heard(bell, link, signal);
      }
    });
  }

  async write(name: string, text: string, known: Version, signal: AbortSignal): Promise<boolean> {
    const { session } = await this.#connected(signal);
    const path = this.#documentPath(name);
    try {
      if (known.text !== undefined) await session.write(path, text, Number(known.mark));
      else await this.#create(session, path, text, CreateMode.PERSISTENT);
      return true;
    } catch (error) {
      if (isCode(error, Exception.BAD_VERSION, Exception.NO_NODE, Exception.NODE_EXISTS)) return false;
      throw error;
    }
  }

  async elect(role: string, term: Term, answered: () => void, signal: AbortSignal): Promise<void> {
    const folder = `${this.#path}/leaders/${role}`;
    try {
      await this.#wait(folder, signal, async (bell) => {
        // One for all watches: the client keeps each that it has not seen.
        const ring = (): void => bell.ring();
        for (;;) {
          const link = await this.#connected(signal);
          const { session } = link;
          const { mine, before } = await this.#place(link, folder);
          answered();
          if (before !== undefined) {
            term.end();
            if (await session.exists(before, ring)) await this.#heard(bell, link, signal);
            continue;
          }
          // Whoever comes gets a higher number: once first, it is so until its znode is gone.
          for (;;) {
            const askedAt = performance.now();
            // By a write, because all of the ensemble has to know of the session, and not only the server that is asked.
            await session.write(mine, '', -1);
            term.renewed(askedAt, session.timeout);
            answered();
            await sleep(session.timeout / RENEWALS, undefined, { signal });
          }
        }
      });
    } catch (error) {
      if (isCode(error, Exception.NO_NODE)) term.end();
      throw error;
    } finally {
      // Its znode goes with the session.
      if (signal.aborted) term.end();
    }
  }

  async close(): Promise<void> {
    await this.#link?.closed;
  }

  /** The candidate's znode, made if it is not there yet, and the one before it. */
  async #place({ session, mark }: Link, folder: string): Promise<{ mine: string; before: string | undefined }> {
    const candidates = async () => {
      const children = await session.children(folder).catch((error: unknown) => {
        if (isCode(error, Exception.NO_NODE)) return [];
        throw error;
      });
      return children.filter((child) => /-\d+$/.test(child)).sort((a, b) => numberOf(a) - numberOf(b));
    };
    const isMine = (child: string) => child.startsWith(mark);
    let children = await candidates();
    if (!children.some(isMine)) {
      await this.#create(session, `${folder}/${mark}-`, '', CreateMode.EPHEMERAL_SEQUENTIAL);
      children = await candidates();
    }
    const index = children.findIndex(isMine);
    if (index < 0) throw new Error(`${folder} does not hold the candidate that was put there`);
    const before = children[index - 1];
    return { mine: `${folder}/${children[index]}`, before: before === undefined ? undefined : `${folder}/${before}` };
  }

  /** Creates a znode, and what is missing above it. */
  async #create(session: Session, path: string, data: string, mode: number): Promise<void> {
    try {
      await session.create(path, data, mode);
    } catch (error) {
      if (!isCode(error, Exception.NO_NODE)) throw error;
      await this.#create(session, path.slice(0, path.lastIndexOf('/')), '', CreateMode.PERSISTENT).catch((above) => {
        if (!isCode(above, Exception.NODE_EXISTS)) throw above;
      });
      await this.#create(session, path, data, mode);
    }
  }

  async #read({ session }: Link, path: string, watcher?: () => void): Promise<Version> {
    try {
      const { data, version } = await session.read(path, watcher);
      return { text: data, mark: version };
    } catch (error) {
      if (isCode(error, Exception.NO_NODE)) return { text: undefined, mark: undefined };
      throw error;
    }
  }

  /** Reads with a watch, unless one is set already. */
  async #watch(link: Link, path: string): Promise<Version> {
    if (link.watched.has(path)) return this.#read(link, path);
    link.watched.add(path);
    const fired = () => {
      link.watched.delete(path);
      this.#ring((waiting) => waiting === path);
    };
    try {
      for (;;) {
        const version = await this.#read(link, path, fired);
        // What is not there is watched in another way.
        if (version.text !== undefined || !(await link.session.exists(path, fired))) return version;
      }
    } catch (error) {
      link.watched.delete(path);
      throw error;
    }
  }

  #ring(isMeant: (path: string) => boolean): void {
    for (const [bell, path] of this.#bells) if (isMeant(path)) bell.ring();
  }

  async #wait<T>(path: string, signal: AbortSignal, work: (bell: Bell) => Promise<T>): Promise<T> {
    const bell = new Bell();
    this.#bells.set(bell, path);
    try {
      signal.throwIfAborted();
      return await work(bell);
    } finally {
      this.#bells.delete(bell);
    }
  }

  /** Waits for an event. @throws what has ended the session, if it is over */
  async #heard(bell: Bell, link: Link, signal: AbortSignal): Promise<void> {
    if (link.ended === undefined) await bell.heard(LOOK_MS, signal);
    if (link.ended !== undefined) throw link.ended;
  }

  /** The session once it is connected; a new one if the last one has ended. @throws the reason of its end */
  async #connected(signal: AbortSignal): Promise<Link> {
    signal.throwIfAborted();
    this.#link ??= this.#open(signal);
    const link = this.#link;
    await link.session.connected();
    signal.throwIfAborted();
    return link;
  }

  /** @param signal closes it: who waits for it has no other way to end */
  #open(signal: AbortSignal): Link {
    const part = 'session';
    const close = () => {
      link.closed = session.close();
    };
    const listener: SessionListener = {
      lost: (error) => this.#health.failed(part, error),
      back: () => this.#health.well(part),
      ended: (error) => {
        link.ended = error;
        signal.removeEventListener('abort', close);
        if (this.#link === link) this.#link = undefined;
        // Who waits says it from now on.
        this.#health.well(part);
        this.#ring(() => true);
      },
      alive: () => undefined,
    };
    const session = new Session(this.#options(), listener);
    const link: Link = { session, mark: randomUUID(), watched: new Set(), ended: undefined, closed: undefined };
    signal.addEventListener('abort', close, { once: true });
    return link;
  }

  #documentPath(name: string): string {
    return `${this.#path}/documents/${name}`;
  }
}

function isCode(error: unknown, ...codes: readonly number[]): boolean {
  return error instanceof ZooKeeperError && codes.includes(error.code);
}

function numberOf(child: string): number {
  return Number(child.slice(child.lastIndexOf('-') + 1));
}
