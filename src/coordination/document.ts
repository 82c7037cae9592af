import { setTimeout as sleep } from 'node:timers/promises';
import { isDeepStrictEqual } from 'node:util';
import { asError, reasonOf } from '#model/reason.js';
import { Backoff } from '#sources/pace.js';
import type { Json } from './contract.js';
import type { Health } from './health.js';
import type { Store, Version } from './store.js';

/** Bytes of a document's text. Consul takes half a megabyte, the others one. */
const LONGEST = 400_000;
/** ms between two looks at a document that changes all the time. */
const PACE_MS = 200;
/** ms that a replica waits at most before it tries again to change a document, when another one was faster. */
const YIELD_MS = 20;

interface Update {
  readonly change: (content: Json | undefined) => Json;
  readonly done: () => void;
  readonly failed: (error: Error) => void;
}

/** One document of a store: follows it, and changes it. */
export class Document {
  readonly #name: string;
  readonly #store: Store;
  readonly #health: Health;
  readonly #signal: AbortSignal;
  readonly #listeners: ((content: Json | undefined) => void)[] = [];
  /** The content that was told last. */
  #told: { readonly content: Json | undefined } | undefined;
  #updates: Update[] = [];

  /** @param signal ends all that it does */
  constructor(name: string, store: Store, health: Health, signal: AbortSignal) {
    this.#name = name;
    this.#store = store;
    this.#health = health;
    this.#signal = signal;
  }

  /** Adds a listener. @returns what has to run for it, if it is the first one */
  watch(heard: (content: Json | undefined) => void): Promise<void> | undefined {
    this.#listeners.push(heard);
    const told = this.#told;
    if (told !== undefined) queueMicrotask(() => heard(told.content));
    return this.#listeners.length === 1 ? this.#follow() : undefined;
  }

  /** Queues a change. @returns what has to run for it, if nothing runs yet */
  update(update: Update): Promise<void> | undefined {
    this.#updates.push(update);
    return this.#updates.length === 1 ? this.#write() : undefined;
  }

  /** Rejects what is not written yet. */
  close(): void {
    for (const { failed } of this.#updates) failed(new Error(`${this.#name} is not written: coordination is closed`));
    this.#updates = [];
  }

  async #follow(): Promise<void> {
    let known: Version | undefined;
    await this.#keepTrying('watch', async (answered) => {
      for (;;) {
        const before = known;
        // After a failure at once, not when something changes.
        known = undefined;
        known = await (before === undefined
          ? this.#store.read(this.#name, this.#signal)
          : this.#store.next(this.#name, before, this.#signal));
        this.#tell(this.#parse(known));
        answered();
        await sleep(PACE_MS, undefined, { signal: this.#signal });
      }
    });
  }

  async #write(): Promise<void> {
    await this.#keepTrying('update', async (answered) => {
      while (this.#updates.length > 0) {
        // All that wait, in one write.
        const updates = [...this.#updates];
        const refused = await this.#writeOnce(updates);
        answered();
        if (refused === undefined) {
          await sleep(Math.random() * YIELD_MS, undefined, { signal: this.#signal });
          continue;
        }
        this.#updates = this.#updates.slice(updates.length);
        for (const update of updates) {
          const error = refused.get(update);
          if (error === undefined) update.done();
          else update.failed(error);
        }
      }
    });
  }

  /** @returns the changes that cannot be made; undefined if another replica was faster */
  async #writeOnce(updates: readonly Update[]): Promise<Map<Update, Error> | undefined> {
    const known = await this.#store.read(this.#name, this.#signal);
    const content = this.#parse(known);
    const { changed, refused } = applied(updates, content);
    if (isDeepStrictEqual(changed, content)) return refused;
    const isWritten = await this.#store.write(this.#name, JSON.stringify(changed), known, this.#signal);
    return isWritten ? refused : undefined;
  }

  /** Does some work again and again until it returns, or the signal aborts. */
  async #keepTrying(what: string, work: (answered: () => void) => Promise<void>): Promise<void> {
    const part = `${what} ${this.#name}`;
    const backoff = new Backoff();
    const answered = () => {
      this.#health.well(part);
      backoff.reset();
    };
    while (!this.#signal.aborted) {
      try {
        return await work(answered);
      } catch (error) {
        if (this.#signal.aborted) return;
        this.#health.failed(part, error);
        await backoff.pause(this.#signal).catch(() => undefined);
      }
    }
  }

  #parse({ text }: Version): Json | undefined {
    if (text === undefined) return undefined;
    try {
      return JSON.parse(text) as Json;
    } catch (error) {
      throw new Error(`document ${this.#name} is not JSON: ${reasonOf(error)}; delete or mend it`);
    }
  }

  #tell(content: Json | undefined): void {
    if (this.#told !== undefined && isDeepStrictEqual(this.#told.content, content)) return;
    this.#told = { content };
    for (const heard of this.#listeners) heard(content);
  }
}

function applied(updates: readonly Update[], content: Json | undefined) {
  let changed = content;
  const refused = new Map<Update, Error>();
  for (const update of updates) {
    try {
      const next = update.change(changed);
      const bytes = Buffer.byteLength(JSON.stringify(next));
      if (bytes > LONGEST)
        throw new RangeError(`the document would have ${bytes} bytes, at most ${LONGEST} are possible`);
      changed = next;
    } catch (error) {
      refused.set(update, asError(error));
    }
  }
  return { changed, refused };
}
