import { randomUUID } from 'node:crypto';
import { type FSWatcher, watch } from 'node:fs';
import { link, mkdir, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { Bell } from '#sources/pace.js';
import { electByLease, type Lease, type LeaseStore, type LeaseVersion } from './lease.js';
import type { Store, Version } from './store.js';
import type { Term } from './term.js';

/** ms after which a document is read again, should the system not have told of a change. */
const REREAD_MS = 5_000;
const LEASE_MS = 8_000;

interface FileVersion extends Version {
  /** Its number; 0 while there is none. */
  readonly mark: number;
}

/**
 * Documents in a directory. Each version is a file of its own, `<name>.<number>.json`, the highest number counts, and the one before it stays. A version
 * comes by a hard link, which the system makes for one writer only: that is the compare and swap, and no lock is left behind by a process that is killed.
 */
export class FileStore implements Store {
  readonly #directory: string;
  readonly #me: string;
  readonly #bells = new Set<Bell>();
  #watcher: FSWatcher | undefined;
  #made = false;

  /** @param me unique among replicas */
  constructor(directory: string, me: string) {
    this.#directory = directory;
    this.#me = me;
  }

  async read(name: string, signal: AbortSignal): Promise<FileVersion> {
    for (;;) {
      signal.throwIfAborted();
      const mark = Math.max(0, ...(await this.#versions(name)));
      if (mark === 0) return { text: undefined, mark };
      try {
        return { text: await readFile(this.#path(name, mark), 'utf8'), mark };
      } catch (error) {
        // Two newer ones have come meanwhile.
        if (!isMissing(error)) throw error;
      }
    }
  }

  next(name: string, known: Version, signal: AbortSignal): Promise<FileVersion> {
    return this.#next(name, known, Number.POSITIVE_INFINITY, signal);
  }

  async write(name: string, text: string, known: Version, signal: AbortSignal): Promise<boolean> {
    signal.throwIfAborted();
    return (await this.#write(name, text, Number(known.mark), true)) !== undefined;
  }

  elect(role: string, term: Term, answered: () => void, signal: AbortSignal): Promise<void> {
    // No document has a dot in its name.
    return electByLease(this.#lease(`leader.${role}`), this.#me, LEASE_MS, term, answered, signal);
  }

  async close(): Promise<void> {
    this.#watcher?.close();
  }

  #lease(name: string): LeaseStore {
    return {
      read: async (signal) => leaseOf(await this.read(name, signal)),
      next: async ({ lease, mark }, ms, signal) => {
        const text = lease === undefined ? undefined : JSON.stringify(lease);
        return leaseOf(await this.#next(name, { text, mark }, ms, signal));
      },
      write: async (lease, { mark }, signal) => {
        signal.throwIfAborted();
        const written = await this.#write(name, JSON.stringify(lease), Number(mark), false);
        return written === undefined ? undefined : { lease, mark: written };
      },
    };
  }

  async #next(name: string, known: Version, ms: number, signal: AbortSignal): Promise<FileVersion> {
    const bell = new Bell();
    const end = performance.now() + ms;
    this.#bells.add(bell);
    try {
      for (;;) {
        this.#listen();
        const version = await this.read(name, signal);
        // A directory that was replaced may have another text under the same number.
        if (version.mark !== known.mark || version.text !== known.text) return version;
        const left = end - performance.now();
        if (left <= 0) return version;
        await bell.heard(Math.min(left, REREAD_MS), signal);
      }
    } finally {
      this.#bells.delete(bell);
    }
  }

  /**
   * Makes the version after `known`.
   * @param durable whether it has to outlive the machine's crash
   * @returns its number; undefined if another one was faster
   */
  async #write(name: string, text: string, known: number, durable: boolean): Promise<number | undefined> {
    const mark = known + 1;
    const temporary = join(this.#directory, `.${randomUUID()}.tmp`);
    try {
      await writeFile(temporary, text, { flush: durable });
      await link(temporary, this.#path(name, mark));
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === 'EEXIST') return undefined;
      throw error;
    } finally {
      await rm(temporary, { force: true });
    }
    const versions = await this.#versions(name);
    // Who was frozen for long may find the place free again that others have passed: then the version before it is gone, too.
    if (known === 0 ? versions.some((version) => version > mark) : !versions.includes(known)) {
      await rm(this.#path(name, mark), { force: true });
      return undefined;
    }
    // Oldest first: that is what the check above goes by.
    for (const version of versions.sort((a, b) => a - b))
      if (version < known) await rm(this.#path(name, version), { force: true });
    return mark;
  }

  /** In no order. */
  async #versions(name: string): Promise<number[]> {
    // Not again later: a directory that is away may be one that is not mounted.
    if (!this.#made) await mkdir(this.#directory, { recursive: true });
    const files = await readdir(this.#directory).catch((error: unknown) => {
      this.#watcher?.close();
      this.#watcher = undefined;
      throw error;
    });
    this.#made = true;
    return files.flatMap((file) => {
      const [, stem, digits] = /^(.+)\.(\d{1,15})\.json$/.exec(file) ?? [];
      return stem === name ? [Number(digits)] : [];
    });
  }

  #path(name: string, mark: number): string {
    return join(this.#directory, `${name}.${mark}.json`);
  }

  #listen(): void {
    if (this.#watcher !== undefined) return;
    try {
      this.#watcher = watch(this.#directory, () => {
        for (const bell of this.#bells) bell.ring();
      });
      this.#watcher.on('error', () => {
        this.#watcher?.close();
        this.#watcher = undefined;
      });
    } catch {
      // The system watches no more of them; it is read again in any case.
    }
  }
}

function leaseOf({ text, mark }: Version): LeaseVersion {
  return { lease: text === undefined ? undefined : (JSON.parse(text) as Lease), mark };
}

function isMissing(error: unknown): boolean {
  return (error as NodeJS.ErrnoException).code === 'ENOENT';
}
