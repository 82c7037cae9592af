import { randomUUID } from 'node:crypto';
import { readdirSync, readFileSync, renameSync, rmSync } from 'node:fs';
import { open, rename, rm } from 'node:fs/promises';
import { join } from 'node:path';
import type { Logger } from 'pino';
import { compareText } from '#model/mesh.js';
import { reasonOf } from '#model/reason.js';
import { decodeSnapshot, encodeSnapshot, SnapshotError, type SnapshotFault } from './format.js';
import type { Known } from './known.js';

/** Name of the file in `state.directory`. */
export const snapshotName = 'snapshot';

/** ms from a change to its writing, so that changes gather. */
const gather = 1_000;
/** ms from one write to the next, at least. */
const leastPause = 5_000;
/** A write is followed by so many times its own length without one: it costs 2 % of the time. */
const pauseRatio = 50;
/** The same for what shall be written soon. */
const soonRatio = 5;
/** ms after which it is written even if nothing changed, so that its age says how long Pontoon was away; and the longest pause. */
const longestPause = 300_000;
/** ms between attempts that fail. */
const longestBackoff = 60_000;
/** Damaged files that are kept, of each kind. */
const mostAside = 3;

export interface SnapshotFileOptions {
  /** Has to exist. */
  readonly directory: string;
  /** What is known now; undefined while that is not complete: then nothing is written. Holds references only. */
  readonly known: () => Known | undefined;
  readonly log: Logger;
}

/** How writing is doing. */
export interface SnapshotStatus {
  /** When what is on disk was saved: ms since 1970; undefined if nothing is there yet. */
  readonly at: number | undefined;
  readonly bytes: number | undefined;
  /** ms that encoding and writing took. */
  readonly ms: number | undefined;
  /** Why the last attempt failed; undefined if it did not. The file before it is still there. */
  readonly error: string | undefined;
}

/** The snapshot on disk. It is replaced as a whole or not at all: whenever a process is killed, the last good one is there. */
export class SnapshotFile {
  readonly #options: SnapshotFileOptions;
  readonly #path: string;
  /** Its own for each process: two that share the directory for a moment, as in an upgrade, do not write into one file. */
  readonly #temporary: string;
  #status: SnapshotStatus = { at: undefined, bytes: undefined, ms: undefined, error: undefined };
  #timer: NodeJS.Timeout | undefined;
  /** When the timer fires, and when a write may begin at the earliest, in general and if it is wanted soon: monotonic ms. */
  #due = Number.POSITIVE_INFINITY;
  #earliest = 0;
  #earliestSoon = 0;
  #failures = 0;
  #writing: Promise<void> | undefined;
  /** What was asked for during a write. */
  #wanted: 'changed' | 'now' | undefined;
  #isClosed = false;

  constructor(options: SnapshotFileOptions) {
    this.#options = options;
    this.#path = join(options.directory, snapshotName);
    this.#temporary = `${this.#path}.${randomUUID()}.tmp`;
  }

  /**
   * Reads what was saved last; undefined if there is nothing. A file that cannot be used is put aside with an error in the log, and what a killed process left half
   * written is removed.
   */
  load(): Known | undefined {
    const { log } = this.#options;
    this.#removeLeftovers();
    try {
      const bytes = readFileSync(this.#path);
      const { known } = decodeSnapshot(bytes, this.#path);
      this.#status = { ...this.#status, at: known.savedAt, bytes: bytes.length };
      return known;
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
      const reason = reasonOf(error);
      const aside = this.#setAside(error instanceof SnapshotError ? error.code : 'unreadable');
      log.error({ reason, aside }, 'the snapshot cannot be used: started as if there were none');
      return undefined;
    }
  }

  /** Something changed that shall be on disk before long. */
  changed(): void {
    if (this.#writing !== undefined) this.#wanted ??= 'changed';
    else this.#schedule(Math.max(performance.now() + gather, this.#earliest));
  }

  /** Something changed that must not be lost, such as a hold. */
  now(): void {
    if (this.#writing !== undefined) this.#wanted = 'now';
    else this.#schedule(Math.max(performance.now(), this.#earliestSoon));
  }

  status(): SnapshotStatus {
    return this.#status;
  }

  /** Writes a last time. Does not throw. */
  async close(): Promise<void> {
    this.#isClosed = true;
    clearTimeout(this.#timer);
    await this.#writing;
    await this.#write();
  }

  #schedule(at: number): void {
    if (this.#isClosed || at >= this.#due) return;
    clearTimeout(this.#timer);
    this.#due = at;
    this.#timer = setTimeout(() => this.#begin(), Math.max(0, at - performance.now())).unref();
  }

  #begin(): void {
    this.#due = Number.POSITIVE_INFINITY;
    this.#writing = this.#write().finally(() => {
      const wanted = this.#wanted;
      this.#writing = undefined;
      this.#wanted = undefined;
      if (wanted !== undefined) this[wanted]();
      else if (this.#failures > 0) this.changed();
      else this.#schedule(performance.now() + longestPause);
    });
  }

  async #write(): Promise<void> {
    const { log } = this.#options;
    const known = this.#options.known();
    if (known === undefined) return;
    const begun = performance.now();
    try {
      const bytes = await encodeSnapshot(known);
      await this.#replace(bytes);
      const ms = performance.now() - begun;
      if (this.#failures > 0) log.info({ path: this.#path }, 'the snapshot is written again');
      this.#failures = 0;
      this.#status = { at: known.savedAt, bytes: bytes.length, ms, error: undefined };
    } catch (error) {
      const reason = reasonOf(error);
      const { at } = this.#status;
      if (reason !== this.#status.error)
        log.warn(
          { reason, lastSaved: at === undefined ? 'never' : new Date(at).toISOString() },
          'the snapshot cannot be written: a restart would begin with the last one; it is tried again',
        );
      this.#failures++;
      this.#status = { ...this.#status, error: reason };
    }
    this.#pause(performance.now() - begun);
  }

  /** @param ms that the write took */
  #pause(ms: number): void {
    const now = performance.now();
    const backoff = this.#failures === 0 ? 0 : Math.min(longestBackoff, leastPause * 2 ** (this.#failures - 1));
    this.#earliest = now + Math.min(longestPause, Math.max(leastPause, backoff, pauseRatio * ms));
    this.#earliestSoon = now + Math.max(gather, backoff, soonRatio * ms);
  }

  async #replace(bytes: Buffer): Promise<void> {
    try {
      const file = await open(this.#temporary, 'wx', 0o600);
      try {
        await file.writeFile(bytes);
        await file.sync();
      } finally {
        await file.close();
      }
      await rename(this.#temporary, this.#path);
    } catch (error) {
      await rm(this.#temporary, { force: true }).catch(() => undefined);
      throw error;
    }
    await syncDirectory(this.#options.directory);
  }

  #removeLeftovers(): void {
    for (const name of this.#names(/\.tmp$/))
      try {
        rmSync(join(this.#options.directory, name), { force: true });
      } catch (error) {
        this.#options.log.warn({ reason: reasonOf(error) }, 'what was left half written cannot be removed');
      }
  }

  /** @returns the file's new name; undefined if it stays where it is */
  #setAside(why: SnapshotFault | 'unreadable'): string | undefined {
    const { directory, log } = this.#options;
    const time = new Date().toISOString().replace(/[-:]/g, '');
    const aside = `${this.#path}.${why}-${time}`;
    try {
      renameSync(this.#path, aside);
      // One of a newer version is good there: whoever goes back to that version may want it.
      const others = this.#names(/\.(foreign|truncated|corrupt|unreadable)-/).sort((a, b) =>
        compareText(timeOf(b), timeOf(a)),
      );
      for (const name of others.slice(mostAside)) rmSync(join(directory, name), { recursive: true });
      return aside;
    } catch (error) {
      log.error({ reason: reasonOf(error) }, 'the snapshot cannot be put aside');
      return undefined;
    }
  }

  /** Of files beside the snapshot whose names go on so. */
  #names(rest: RegExp): string[] {
    try {
      const names = readdirSync(this.#options.directory);
      return names.filter((name) => name.startsWith(`${snapshotName}.`) && rest.test(name));
    } catch {
      return [];
    }
  }
}

/** A rename is on disk only when its directory is. Some network file systems cannot do that; the file is there nevertheless. */
async function syncDirectory(path: string): Promise<void> {
  const directory = await open(path, 'r').catch(() => undefined);
  await directory?.sync().catch(() => undefined);
  await directory?.close();
}

function timeOf(name: string): string {
  return name.slice(name.lastIndexOf('-') + 1);
}
