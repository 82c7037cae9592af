import { randomUUID } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { open, rename, rm } from 'node:fs/promises';
import { join } from 'node:path';
import type { Logger } from 'pino';
import { z } from 'zod';
import { type Protocol, protocols } from '#model/protocol.js';
import { reasonOf } from '#model/reason.js';

/** Name of the file in `state.directory`. */
export const ledgerName = 'published.json';

/** ms from a change to its writing, so that changes gather; and from one attempt that failed to the next. */
const gather = 1_000;
const retryPause = 30_000;

/** What is remembered of one service that was written: enough to tell its instances, and to withdraw it when its publication is gone. */
export interface LedgerEntry {
  readonly publication: string;
  /** Of the mesh service. */
  readonly host: string;
  readonly protocol: Protocol;
  /** The target's block that it was written with. */
  readonly settings: unknown;
  /** As {@link placeOf} says them. */
  readonly places: readonly string[];
}

const schema = z.object({
  version: z.literal(1),
  owner: z.string(),
  services: z.record(
    z.string(),
    z.object({
      publication: z.string(),
      host: z.string(),
      protocol: z.enum(Object.keys(protocols) as [Protocol, ...Protocol[]]),
      settings: z.unknown(),
      places: z.array(z.string()),
    }),
  ),
});

/**
 * What this Pontoon wrote, by the ids of the services in their registries; on disk where there is a directory for it. Marks say the same, and a Pontoon that
 * lost it goes on by them.
 */
export class Ledger {
  readonly #owner: string;
  readonly #log: Logger;
  readonly #path: string | undefined;
  readonly #entries = new Map<string, LedgerEntry>();
  #timer: NodeJS.Timeout | undefined;
  #writing: Promise<void> | undefined;
  #isDirty = false;
  /** Why it cannot be written; undefined while it can. */
  error: string | undefined;

  /** @param directory exists; undefined keeps it in memory alone */
  constructor(owner: string, directory: string | undefined, log: Logger) {
    this.#owner = owner;
    this.#log = log;
    this.#path = directory === undefined ? undefined : join(directory, ledgerName);
    this.#load();
  }

  get(id: string): LedgerEntry | undefined {
    return this.#entries.get(id);
  }

  set(id: string, entry: LedgerEntry): void {
    this.#entries.set(id, entry);
    this.#changed();
  }

  delete(id: string): void {
    if (this.#entries.delete(id)) this.#changed();
  }

  /** Ids of services in a registry. */
  ids(registry: string): string[] {
    const prefix = `${encodeURIComponent(registry)}/`;
    return [...this.#entries.keys()].filter((id) => id.startsWith(prefix));
  }

  /** Writes what is not written yet. Does not throw. */
  async close(): Promise<void> {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    await this.#writing;
    if (this.#isDirty) await this.#write();
  }

  #load(): void {
    if (this.#path === undefined) return;
    try {
      const { owner, services } = schema.parse(JSON.parse(readFileSync(this.#path, 'utf8')));
      // Another owner's is not ours to touch.
      if (owner !== this.#owner) return;
      for (const [id, entry] of Object.entries(services)) this.#entries.set(id, entry);
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === 'ENOENT') return;
      this.#log.warn(
        { path: this.#path, reason: reasonOf(error) },
        'what was published cannot be read; the marks in the registries say it, too',
      );
    }
  }

  #changed(): void {
    if (this.#path === undefined) return;
    this.#isDirty = true;
    if (this.#writing === undefined) this.#schedule(gather);
  }

  #schedule(ms: number): void {
    this.#timer ??= setTimeout(() => {
      this.#timer = undefined;
      this.#writing = this.#write().finally(() => {
        this.#writing = undefined;
        if (this.#isDirty) this.#schedule(this.error === undefined ? gather : retryPause);
      });
    }, ms).unref();
  }

  async #write(): Promise<void> {
    const path = this.#path;
    if (path === undefined) return;
    this.#isDirty = false;
    const temporary = `${path}.${randomUUID()}.tmp`;
    const content = {
      version: 1,
      owner: this.#owner,
      services: Object.fromEntries(this.#entries),
    };
    try {
      const file = await open(temporary, 'wx', 0o600);
      try {
        await file.writeFile(JSON.stringify(content));
        await file.sync();
      } finally {
        await file.close();
      }
      await rename(temporary, path);
      this.error = undefined;
    } catch (error) {
      await rm(temporary, { force: true }).catch(() => undefined);
      this.#isDirty = true;
      const reason = reasonOf(error);
      if (this.error === undefined)
        this.#log.warn(
          { path, reason },
          'what is published cannot be written down; the marks in the registries say it, too',
        );
      this.error = reason;
    }
  }
}
