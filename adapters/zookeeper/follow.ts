import zookeeper from 'node-zookeeper-client';
import { type Cause, cause } from '#sources/contract.js';
import type { ZooKeeper } from './client.js';
import { type Watcher, ZooKeeperError } from './session.js';

/** What is known of a znode's children or data. */
export type Content<T> =
  | { readonly kind: 'present'; readonly value: T }
  | { readonly kind: 'absent' }
  /** It is there and cannot be read. It is asked again by timer, since what cannot be read tells nothing either. */
  | { readonly kind: 'unreadable'; readonly error: Error };

/** Which bad news of the very first reading is asked for a second time. Later on, everything that is gone is. */
export type Doubt = 'nothing' | 'emptiness' | 'everything';

/** How one kind of content is read, and how much of it can be lost. */
interface Reading<T> {
  ask(path: string, watcher?: Watcher): Promise<T>;
  isEmpty(value: T): boolean;
  /** What counts where two readings differ: nothing that either has is lost. Is `first` itself if `second` adds nothing of `before`. */
  keep(before: T | undefined, first: T | undefined, second: T): T | undefined;
  /** Whether something of `before` is no longer there. */
  hasLost(before: T, now: T | undefined): boolean;
  /** Whether nothing has changed, as far as that is easily seen. */
  isSame(before: T, now: T): boolean;
}

/** ms until two readings that differ are followed by a third. */
const differenceRetry = 200;

/** First readings that go on at a time: the others do not even wait for their answers yet, which costs time all at once. */
const firstReadings = 256;

/** Follows one znode: reads it, watches it, and reads it again whenever it changes. */
export class Followed<T> {
  readonly #client: ZooKeeper;
  readonly #path: string;
  readonly #reading: Reading<T>;
  readonly #doubt: Doubt;
  readonly #changed: (cause: Cause) => void;
  readonly #loaded: () => void;
  readonly #unreadableRetry: number;
  readonly #why: Cause;
  #content: Content<T> | undefined;
  #last: T | undefined;
  #busy = false;
  #again: Cause | undefined;
  #timer: NodeJS.Timeout | undefined;
  #stopped = false;

  /**
   * @param why it is followed from now on: the cause of the first reading
   * @param changed is called after the first reading, and after each that has found something else
   * @param unreadableRetry ms until it is asked again when it could not be read
   * @param loaded is called when the first reading is done with, or is no longer wanted; more than once, perhaps
   */
  constructor(
    client: ZooKeeper,
    path: string,
    reading: Reading<T>,
    doubt: Doubt,
    why: Cause,
    changed: (cause: Cause) => void,
    unreadableRetry: number,
    loaded: () => void,
  ) {
    this.#client = client;
    this.#path = path;
    this.#reading = reading;
    this.#doubt = doubt;
    this.#changed = changed;
    this.#loaded = loaded;
    this.#unreadableRetry = unreadableRetry;
    this.#why = why;
  }

  /** Begins with the first reading. */
  start(): void {
    void this.#read(this.#why);
  }

  /** Undefined until it was read for the first time. */
  get content(): Content<T> | undefined {
    return this.#content;
  }

  /** The last content that could be read; undefined if the znode is absent. */
  get last(): T | undefined {
    return this.#last;
  }

  /** From now on nothing is told. */
  stop(): void {
    this.#stopped = true;
    clearTimeout(this.#timer);
    this.#loaded();
  }

  /** Never throws: what ends the client ends the reading silently. */
  async #read(why: Cause): Promise<void> {
    if (this.#stopped) return;
    this.#again ??= why;
    if (this.#busy) return;
    this.#busy = true;
    clearTimeout(this.#timer);
    try {
      while (this.#again !== undefined) {
        const cause = this.#again;
        this.#again = undefined;
        const content = await this.#confirmed();
        if (this.#stopped) return;
        const before = this.#content;
        this.#content = content;
        if (content.kind !== 'unreadable') this.#last = content.kind === 'present' ? content.value : undefined;
        if (before === undefined || !this.#isSame(before, content)) this.#changed(cause);
        this.#loaded();
      }
    } catch {
      this.#stopped = true;
    } finally {
      this.#busy = false;
    }
  }

  async #confirmed(): Promise<Content<T>> {
    const found = await this.#ask();
    if (found.kind === 'unreadable') return this.#later(found, this.#unreadableRetry);
    const first = found.kind === 'present' ? found.value : undefined;
    if (!this.#isDoubtful(first)) return found;
    const plain = await this.#plain();
    if (plain.kind === 'unreadable') return this.#later(plain, this.#unreadableRetry);
    if (plain.kind === 'absent') return found;
    const kept = this.#reading.keep(this.#last, first, plain.value);
    if (kept === first || kept === undefined) return found;
    return this.#later({ kind: 'present', value: kept }, differenceRetry);
  }

  #isSame(before: Content<T>, now: Content<T>): boolean {
    if (before.kind === 'present' && now.kind === 'present') return this.#reading.isSame(before.value, now.value);
    if (before.kind === 'unreadable' && now.kind === 'unreadable') return before.error.message === now.error.message;
    return before.kind === now.kind;
  }

  #isDoubtful(found: T | undefined): boolean {
    const { isEmpty, hasLost } = this.#reading;
    if (this.#last !== undefined) return hasLost(this.#last, found);
    if (this.#content !== undefined || this.#doubt === 'nothing') return false;
    return this.#doubt === 'everything' || found === undefined || isEmpty(found);
  }

  #later(content: Content<T>, after: number): Content<T> {
    this.#timer = setTimeout(() => void this.#read(cause('asked again')), after);
    return content;
  }

  async #ask(): Promise<Content<T>> {
    const watcher: Watcher = (what) => void this.#read(cause(what));
    for (;;) {
      const found = await attempt(() => this.#reading.ask(this.#path, watcher));
      if (found.kind !== 'absent') return found;
      // An absent znode can be watched for its coming only.
      const exists = await attempt(() => this.#client.exists(this.#path, watcher));
      if (exists.kind === 'unreadable') return exists;
      if (exists.kind === 'present' && !exists.value) return found;
    }
  }

  #plain(): Promise<Content<T>> {
    return attempt(() => this.#reading.ask(this.#path));
  }
}

/** Follows any number of znodes of one ensemble. */
export class Following {
  readonly #client: ZooKeeper;
  readonly #unreadableRetry: number;
  readonly #loading = new Set<object>();
  readonly #queue: (() => void)[] = [];
  #running = 0;
  #waiting: (() => void)[] = [];

  /** @param unreadableRetry ms until a znode that could not be read is asked again */
  constructor(client: ZooKeeper, unreadableRetry: number) {
    this.#client = client;
    this.#unreadableRetry = unreadableRetry;
  }

  /** Resolves when all that is followed has been read at least once; never, if the client ends before. */
  async loaded(): Promise<void> {
    if (this.#loading.size > 0) await new Promise<void>((resolve) => this.#waiting.push(resolve));
  }

  /** Something else that has to be over before all is loaded. */
  await(promise: Promise<unknown>): void {
    this.#loading.add(promise);
    const over = () => {
      this.#loading.delete(promise);
      this.#tellLoaded();
    };
    promise.then(over, over);
  }

  /** Follows the names of a znode's children, in order. */
  children(path: string, doubt: Doubt, why: Cause, changed: (cause: Cause) => void): Followed<readonly string[]> {
    const reading: Reading<readonly string[]> = {
      ask: (path, watcher) => this.#client.children(path, watcher),
      isEmpty: (names) => names.length === 0,
      hasLost: (before, now) => {
        const names = new Set(now);
        return before.some((name) => !names.has(name));
      },
      keep: (before, first, second) => {
        const names = new Set(first);
        const known = before === undefined ? undefined : new Set(before);
        const more = second.filter((name) => !names.has(name) && (known === undefined || known.has(name)));
        return more.length === 0 ? first : [...names, ...more].sort();
      },
      isSame: (before, now) => before.length === now.length && before.every((name, index) => name === now[index]),
    };
    return this.#follow(path, reading, doubt, why, changed);
  }

  /** Follows a znode's data. @param parse reads its text; never throws */
  data<T>(path: string, parse: (text: string) => T, why: Cause, changed: (cause: Cause) => void): Followed<T> {
    const reading: Reading<T> = {
      ask: async (path, watcher) => parse(await this.#client.data(path, watcher)),
      isEmpty: () => false,
      hasLost: (_, now) => now === undefined,
      keep: (_, first, second) => first ?? second,
      isSame: () => false,
    };
    return this.#follow(path, reading, 'nothing', why, changed);
  }

  #follow<T>(
    path: string,
    reading: Reading<T>,
    doubt: Doubt,
    why: Cause,
    changed: (cause: Cause) => void,
  ): Followed<T> {
    let isStarted = false;
    const loaded = () => {
      if (!this.#loading.delete(followed)) return;
      if (isStarted) this.#running--;
      this.#startNext();
      this.#tellLoaded();
    };
    const followed = new Followed(this.#client, path, reading, doubt, why, changed, this.#unreadableRetry, loaded);
    const start = () => {
      if (!this.#loading.has(followed)) return;
      isStarted = true;
      this.#running++;
      followed.start();
    };
    this.#loading.add(followed);
    this.#queue.push(start);
    this.#startNext();
    return followed;
  }

  #tellLoaded(): void {
    if (this.#loading.size > 0) return;
    for (const resolve of this.#waiting) resolve();
    this.#waiting = [];
  }

  #startNext(): void {
    while (this.#running < firstReadings) {
      const next = this.#queue.pop();
      if (next === undefined) return;
      next();
    }
  }
}

/** @throws what ends the client */
async function attempt<T>(ask: () => Promise<T>): Promise<Content<T>> {
  try {
    return { kind: 'present', value: await ask() };
  } catch (error) {
    if (!(error instanceof ZooKeeperError)) throw error;
    const { NO_NODE } = zookeeper.Exception;
    return error.code === NO_NODE ? { kind: 'absent' } : { kind: 'unreadable', error };
  }
}
