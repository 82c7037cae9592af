import type { Logger } from 'pino';
import { Backoff } from '#sources/pace.js';
import type { Candidacy, Coordination, Json } from './contract.js';
import { Document } from './document.js';
import { Health } from './health.js';
import { checkName } from './name.js';
import type { Store } from './store.js';
import { Term } from './term.js';

/** Coordination by a store that other replicas see, too. */
export class SharedCoordination implements Coordination {
  readonly #store: Store;
  readonly #health: Health;
  readonly #closing = new AbortController();
  readonly #documents = new Map<string, Document>();
  readonly #work = new Set<Promise<void>>();

  constructor(open: (health: Health) => Store, log: Logger) {
    this.#health = new Health(log);
    this.#store = open(this.#health);
  }

  get error(): string | undefined {
    return this.#health.error;
  }

  watch(name: string, heard: (content: Json | undefined) => void): void {
    this.#spawn(this.#document(name).watch(heard));
  }

  update(name: string, change: (content: Json | undefined) => Json): Promise<void> {
    const document = this.#document(name);
    return new Promise((done, failed) => {
      if (this.#closing.signal.aborted) throw new Error('coordination is closed');
      this.#spawn(document.update({ change, done, failed }));
    });
  }

  campaign(role: string, leads: (isLeader: boolean) => void): Candidacy {
    const term = new Term(leads);
    this.#spawn(this.#campaign(checkName(role), term));
    return term;
  }

  async close(): Promise<void> {
    this.#closing.abort();
    for (const document of this.#documents.values()) document.close();
    await Promise.all(this.#work);
    await this.#store.close();
  }

  #document(name: string): Document {
    const known = this.#documents.get(checkName(name));
    if (known !== undefined) return known;
    const document = new Document(name, this.#store, this.#health, this.#closing.signal);
    this.#documents.set(name, document);
    return document;
  }

  async #campaign(role: string, term: Term): Promise<void> {
    const { signal } = this.#closing;
    const part = `election ${role}`;
    const backoff = new Backoff();
    const answered = () => {
      this.#health.well(part);
      backoff.reset();
    };
    while (!signal.aborted) {
      try {
        await this.#store.elect(role, term, answered, signal);
      } catch (error) {
        if (!signal.aborted) this.#health.failed(part, error);
      }
      await backoff.pause(signal).catch(() => undefined);
    }
    term.end();
  }

  #spawn(work: Promise<void> | undefined): void {
    if (work === undefined) return;
    this.#work.add(work);
    void work.finally(() => this.#work.delete(work));
  }
}
