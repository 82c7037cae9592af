import zookeeper from 'node-zookeeper-client';
import pLimit from 'p-limit';
import type { Lease } from './lease.js';
import { type Change, type Session, ZooKeeperError } from './session.js';

/** Requests in flight. */
const concurrency = 64;
/** Bytes of paths and data in one request: a server takes 1 MB unless configured. */
const maxBytes = 200_000;
const { CreateMode, Exception } = zookeeper;

/** A znode that is to stand as long as the session does. */
export interface Held {
  readonly path: string;
  readonly data: string;
}

/** Writes znodes, and knows which of them the present session keeps. */
export class Holdings {
  readonly #lease: Lease;
  readonly #limit = pLimit(concurrency);
  readonly #held = new Map<string, string>();
  /** Persistent znodes that are known to be there. */
  readonly #folders = new Set<string>();
  #sessionId = '';

  constructor(lease: Lease) {
    this.#lease = lease;
  }

  /** Data of a znode that the session keeps; undefined if it does not. */
  held(path: string): string | undefined {
    return this.#held.get(path);
  }

  /** All that the session keeps, and keeps no more: for another one to keep. */
  take(): Held[] {
    const all = [...this.#held].map(([path, data]) => ({ path, data }));
    this.#held.clear();
    this.#folders.clear();
    return all;
  }

  /** What only a server can tell: names of a znode's children, in order; none if there is no such znode. */
  async children(path: string): Promise<string[]> {
    const names = await this.ask((session) => session.children(path).catch(absent<string[]>([])));
    return names.sort();
  }

  /** A znode's data and its version; undefined if there is none. */
  read(path: string): Promise<{ readonly data: string; readonly version: number } | undefined> {
    return this.ask((session) => session.read(path).catch(absent(undefined)));
  }

  /** Whether a znode is the present session's. */
  async isHeld(path: string, data: string): Promise<boolean> {
    if (this.#held.has(path)) return true;
    const isOurs = (await this.ask((session) => session.owner(path))) === this.#sessionId;
    if (isOurs) this.#held.set(path, data);
    return isOurs;
  }

  /** Creates a persistent znode, and those above it, unless it is there. @param turn waits until a request that writes may be sent */
  async ensure(path: string, turn: () => Promise<void>, data = ''): Promise<void> {
    if (path === '' || this.#folders.has(path)) return;
    const isThere = (await this.ask((session) => session.owner(path))) !== undefined;
    if (!isThere) {
      await this.ensure(path.slice(0, path.lastIndexOf('/')), turn);
      await turn();
      await this.ask((session) =>
        session.create(path, data, CreateMode.PERSISTENT).catch(unless(Exception.NODE_EXISTS)),
      );
    }
    this.#folders.add(path);
  }

  /** A persistent znode may be gone. */
  forget(path: string): void {
    this.#folders.delete(path);
  }

  /**
   * Makes changes of znodes that the session keeps, each part of them at once.
   * @param parts each stays together: where one znode takes the place of another, nobody sees neither
   * @throws ZooKeeperError if something stands otherwise than it did
   */
  async change(parts: readonly (readonly Change[])[], turn: () => Promise<void>): Promise<void> {
    for (const changes of batches(parts)) {
      await turn();
      await this.ask((session) => session.change(changes));
      for (const change of changes)
        if (change.what === 'remove') this.#held.delete(change.path);
        else this.#held.set(change.path, change.data);
    }
  }

  /** Asks the session, as soon as there is room. */
  ask<T>(question: (session: Session) => Promise<T>): Promise<T> {
    return this.#limit(async () => {
      const session = await this.#lease.session();
      this.#sessionId = session.name.id;
      return await question(session);
    });
  }
}

/** The changes that create an ephemeral znode, in the place of what another session left there. */
export function keep({ path, data }: Held, isThere: boolean): Change[] {
  const create: Change = { what: 'create', path, data, mode: CreateMode.EPHEMERAL };
  return isThere ? [{ what: 'remove', path }, create] : [create];
}

export function isCode(error: unknown, ...codes: readonly number[]): boolean {
  return error instanceof ZooKeeperError && codes.includes(error.code);
}

function absent<T>(value: T): (error: unknown) => T {
  return (error) => {
    if (!isCode(error, Exception.NO_NODE)) throw error;
    return value;
  };
}

function unless(code: number): (error: unknown) => void {
  return (error) => {
    if (!isCode(error, code)) throw error;
  };
}

function* batches(parts: readonly (readonly Change[])[]): Iterable<Change[]> {
  let batch: Change[] = [];
  let bytes = 0;
  for (const part of parts) {
    const size = part.reduce(
      (sum, one) => sum + one.path.length + ('data' in one ? Buffer.byteLength(one.data) : 0) + 64,
      0,
    );
    if (batch.length > 0 && bytes + size > maxBytes) {
      yield batch;
      batch = [];
      bytes = 0;
    }
    batch.push(...part);
    bytes += size;
  }
  if (batch.length > 0) yield batch;
}
