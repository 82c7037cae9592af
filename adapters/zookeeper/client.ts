import zookeeper from 'node-zookeeper-client';
import pLimit from 'p-limit';
import { Session, type SessionListener, type SessionOptions, type Watcher, ZooKeeperError } from './session.js';

/** Requests in flight, over all sessions. */
const concurrency = 64;

/**
 * Bytes of watched paths per session. After a reconnect node-zookeeper-client sets all watches of a session in one packet, and a server
 * throws out a client whose packet is longer than its jute.maxbuffer: 1 MB unless configured, so this leaves room for long paths.
 */
const maxWatchBytes = 300_000;

interface Watch {
  readonly session: Session;
  watcher: Watcher;
}

type Read<T> = (session: Session, watcher?: Watcher) => Promise<T>;

/**
 * A ZooKeeper ensemble: reads znodes, and tells of their next change. It opens as many sessions as the watches need, and repeats a
 * request whose connection was lost. When one session ends, all of it ends: what its watches would have told is lost.
 */
export class ZooKeeper {
  readonly #options: SessionOptions;
  readonly #listener: SessionListener;
  readonly #sessions: Session[] = [];
  readonly #lost = new Set<Session>();
  readonly #watches = new Map<string, Watch>();
  readonly #limit = pLimit(concurrency);
  #opening: Promise<void> | undefined;
  #closed = false;

  /** @param listener is told of all sessions as of one: lost when the first is, back when the last is */
  constructor(options: SessionOptions, listener: SessionListener) {
    this.#options = options;
    this.#listener = listener;
  }

  /** Opens the first session. @throws Error that says why no server can be used */
  async open(): Promise<void> {
    await this.#open();
  }

  /** Names of a znode's children, in order. A watcher hears of the list's next change. @throws ZooKeeperError */
  async children(path: string, watcher?: Watcher): Promise<string[]> {
    const names = await this.#read('children', path, watcher, (session, told) => session.children(path, told));
    return names.sort();
  }

  /** A znode's data as UTF-8. A watcher hears of its next change. @throws ZooKeeperError */
  data(path: string, watcher?: Watcher): Promise<string> {
    return this.#read('data', path, watcher, (session, told) => session.data(path, told));
  }

  /** Whether a znode is there. A watcher hears of its coming. @throws ZooKeeperError */
  exists(path: string, watcher?: Watcher): Promise<boolean> {
    return this.#read('exists', path, watcher, (session, told) => session.exists(path, told));
  }

  /** Whether a znode outlives the session that wrote it; not one that is gone. @throws ZooKeeperError */
  isPersistent(path: string): Promise<boolean> {
    return this.#read('persistent', path, undefined, (session) => session.isPersistent(path));
  }

  /** Closes all sessions within a second. Every waiting request fails. */
  async close(): Promise<void> {
    this.#closed = true;
    await Promise.all(this.#sessions.map((session) => session.close()));
  }

  #read<T>(kind: string, path: string, watcher: Watcher | undefined, read: Read<T>): Promise<T> {
    return this.#limit(() => {
      if (watcher === undefined) return this.#repeat(this.#other(), read);
      // One watch per znode is enough, whoever set it: a second one on another session would be told and sent again for nothing.
      const key = `${kind} ${path}`;
      const watch = this.#watches.get(key);
      if (watch === undefined) return this.#watch(key, path, watcher, read);
      watch.watcher = watcher;
      return this.#repeat(watch.session, read);
    });
  }

  async #watch<T>(key: string, path: string, watcher: Watcher, read: Read<T>): Promise<T> {
    const bytes = Buffer.byteLength(path) + 4;
    const session = await this.#reserve(bytes);
    const watch = { session, watcher };
    let fired = false;
    const told = (what: string) => {
      fired = true;
      session.watchBytes -= bytes;
      this.#watches.delete(key);
      this.#listener.alive();
      watch.watcher(what);
    };
    try {
      const found = await this.#repeat(session, (one) => read(one, told));
      // The event may have come in one breath with the answer.
      if (!fired) this.#watches.set(key, watch);
      return found;
    } catch (error) {
      session.watchBytes -= bytes;
      throw error;
    }
  }

  /** Repeats what a lost connection has cut off; the watch was lost with it. */
  async #repeat<T>(session: Session, read: Read<T>): Promise<T> {
    for (;;) {
      await session.connected();
      try {
        return await read(session);
      } catch (error) {
        if (!(error instanceof ZooKeeperError && error.code === zookeeper.Exception.CONNECTION_LOSS)) throw error;
      }
    }
  }

  async #reserve(bytes: number): Promise<Session> {
    for (;;) {
      const session = this.#sessions.find((one) => one.watchBytes + bytes <= maxWatchBytes);
      if (session !== undefined) {
        session.watchBytes += bytes;
        return session;
      }
      this.#opening ??= this.#open().finally(() => {
        this.#opening = undefined;
      });
      await this.#opening;
    }
  }

  /** A plain question goes to the last session, which may be with another server than the one whose watch has told. */
  #other(): Session {
    const session = this.#sessions.at(-1);
    if (session === undefined) throw new Error('not open');
    return session;
  }

  async #open(): Promise<void> {
    const listener: SessionListener = {
      lost: (error) => {
        this.#lost.add(session);
        if (this.#lost.size === 1) this.#listener.lost(error);
      },
      back: () => {
        if (this.#lost.delete(session) && this.#lost.size === 0) this.#listener.back();
      },
      ended: (error) => {
        if (this.#closed) return;
        void this.close();
        this.#listener.ended(error);
      },
      alive: () => this.#listener.alive(),
    };
    const session = new Session(this.#options, listener);
    this.#sessions.push(session);
    await session.connected();
  }
}
