import { existsSync, readFileSync, renameSync, statSync } from 'node:fs';
import { appendFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { Logger } from 'pino';
import { reasonOf } from '#model/reason.js';
import type { Entry } from './entry.js';

/** Bytes after which a file is put aside, and the one before it is gone. */
const largest = 32 * 1024 * 1024;
/** ms between writes. */
const pause = 1_000;

/** The journal on disk: one entry a line, as JSON; two files of a bounded size. What cannot be written is missing on disk only. */
export class JournalFile {
  readonly #path: string;
  readonly #log: Logger;
  #waiting: string[] = [];
  #timer: NodeJS.Timeout | undefined;
  #writing: Promise<void> = Promise.resolve();
  #size: number;
  #failed = false;
  #appended = false;

  constructor(directory: string, log: Logger) {
    this.#path = join(directory, 'journal.jsonl');
    this.#log = log;
    this.#size = existsSync(this.#path) ? statSync(this.#path).size : 0;
  }

  /** The last entries, oldest first. A line that is none, such as one that was cut off, is left out. */
  load(count: number): Entry[] {
    const entries: Entry[] = [];
    for (const path of [`${this.#path}.1`, this.#path]) {
      if (!existsSync(path)) continue;
      for (const line of readFileSync(path, 'utf8').split('\n')) {
        const entry = line === '' ? undefined : parse(line);
        if (entry !== undefined) entries.push(entry);
      }
    }
    return entries.slice(-count);
  }

  append(entry: Entry): void {
    // The last line may have been cut off.
    if (this.#size > 0 && this.#waiting.length === 0 && !this.#appended) this.#waiting.push('\n');
    this.#appended = true;
    this.#waiting.push(`${JSON.stringify(entry)}\n`);
    this.#timer ??= setTimeout(() => this.#flush(), pause).unref();
  }

  /** Writes what is waiting. */
  async close(): Promise<void> {
    clearTimeout(this.#timer);
    this.#flush();
    await this.#writing;
  }

  #flush(): void {
    this.#timer = undefined;
    const text = this.#waiting.join('');
    this.#waiting = [];
    if (text !== '') this.#writing = this.#writing.then(() => this.#write(text));
  }

  async #write(text: string): Promise<void> {
    try {
      if (this.#size > largest) {
        renameSync(this.#path, `${this.#path}.1`);
        this.#size = 0;
      }
      await appendFile(this.#path, text);
      this.#size += Buffer.byteLength(text);
      this.#failed = false;
    } catch (error) {
      if (!this.#failed)
        this.#log.warn({ reason: reasonOf(error) }, 'the journal cannot be written; it goes on in memory');
      this.#failed = true;
    }
  }
}

function parse(line: string): Entry | undefined {
  try {
    const entry = JSON.parse(line) as Entry;
    return typeof entry.at === 'number' && Array.isArray(entry.endpoints) ? entry : undefined;
  } catch {
    return undefined;
  }
}
