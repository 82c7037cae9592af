import { rm } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import pLimit from 'p-limit';
import type { Logger } from 'pino';
import type { Names } from '#dns/names.js';
import type { Projection } from '#istio/projection.js';
import { type IstioResource, resourceId } from '#istio/resource.js';
import { reasonOf } from '#model/reason.js';
import type { ResourceFilter, Sink } from '../contract.js';
import { TakenHosts } from '../taken.js';
import { fileText, pathOf } from './content.js';
import { digestOf, isForeign, ownFiles, syncDirectory, writeWhole } from './disk.js';

/** istiod reads all files again after a change, 250 ms later: faster rounds are of no use to it. ms */
const pause = 250;
const firstRetry = 1_000;
const longestRetry = 60_000;
const writesAtATime = 8;
/** How many troubles a status names. */
const shownTroubles = 20;

export interface FilesSinkOptions {
  /** Made if it is not there. */
  readonly directory: string;
  readonly takes: ResourceFilter;
  /** Whether every registry has been read: before that, files that are unknown since the start are kept. */
  readonly isComplete: () => boolean;
  /** What stands in the zone and hosts files. */
  readonly names: Names;
  readonly log: Logger;
}

/** A file that could not be brought in line. */
export interface FileTrouble {
  /** Within the directory; `.` for the directory itself. */
  readonly path: string;
  readonly reason: string;
}

/** How the files are doing. */
export interface FilesStatus {
  readonly directory: string;
  /** Ours that are there. */
  readonly files: number;
  /** Still to be looked at. */
  readonly pending: number;
  /** Since the start. */
  readonly written: number;
  readonly removed: number;
  /** ms since 1970; undefined before the first write. */
  readonly lastWriteAt: number | undefined;
  /** Tried again by itself; the first 20 of them. */
  readonly errors: readonly FileTrouble[];
  readonly errorCount: number;
  /** Files of others where one of ours belongs: they stay as they are. The first 20 of them. */
  readonly conflicts: readonly FileTrouble[];
  readonly conflictCount: number;
}

class Foreign extends Error {}

/**
 * The projection as files: Istio YAML, one for each host, and under `dns` the zone and hosts files. A file is written when its content is another than
 * on disk, by a rename; files that are not ours are left alone. Changes during a write gather, and the newest wins.
 */
export class FilesSink implements Sink {
  readonly #options: FilesSinkOptions;
  readonly #projection: Projection;
  readonly #taken: TakenHosts;
  /** Our files on disk: path → digest. Undefined until they are known. */
  #ours: Map<string, string> | undefined;
  /** Which host's file is at a path. */
  readonly #hosts = new Map<string, string>();
  readonly #paths = new Map<string, string>();
  #dirty = new Set<string>();
  /** Files of an earlier process for which there is no host yet: it may still come. */
  #orphans = new Set<string>();
  #isDnsDirty = true;
  readonly #troubles = new Map<string, { readonly isConflict: boolean; readonly reason: string }>();
  #isReady = false;
  #isClosed = false;
  #timer: NodeJS.Timeout | undefined;
  #round: Promise<void> | undefined;
  /** ms */
  #retry = firstRetry;
  /** By `performance.now()`, as is the other. */
  #retryAt = 0;
  #endedAt = Number.NEGATIVE_INFINITY;
  #written = 0;
  #removed = 0;
  #lastWriteAt: number | undefined;

  constructor(projection: Projection, options: FilesSinkOptions) {
    this.#projection = projection;
    this.#options = options;
    this.#taken = new TakenHosts(options.takes);
    projection.on('change', (change) => {
      for (const host of this.#taken.apply(change)) this.#place(host);
      this.#changed();
    });
    options.names.on('change', () => {
      this.#isDnsDirty = true;
      this.#changed();
    });
  }

  ready(): void {
    this.#isReady = true;
    this.#schedule(0);
  }

  status(): FilesStatus {
    const troubles = [...this.#troubles].map(([path, trouble]) => ({ path, ...trouble }));
    const shown = (isConflict: boolean) =>
      troubles
        .filter((trouble) => trouble.isConflict === isConflict)
        .slice(0, shownTroubles)
        .map(({ path, reason }) => ({ path, reason }));
    const conflictCount = troubles.filter(({ isConflict }) => isConflict).length;
    return {
      directory: this.#options.directory,
      files: this.#ours?.size ?? 0,
      pending: this.#dirty.size,
      written: this.#written,
      removed: this.#removed,
      lastWriteAt: this.#lastWriteAt,
      errors: shown(false),
      errorCount: troubles.length - conflictCount,
      conflicts: shown(true),
      conflictCount,
    };
  }

  /** Ends after the files that are being written. */
  async close(): Promise<void> {
    this.#isClosed = true;
    clearTimeout(this.#timer);
    await this.#round;
  }

  /** Where the host's file belongs now, and where it was. */
  #place(host: string): void {
    const before = this.#paths.get(host);
    if (before !== undefined) {
      this.#dirty.add(before);
      this.#paths.delete(host);
      this.#hosts.delete(before);
    }
    const [first] = this.#taken.of(host)?.values() ?? [];
    if (first === undefined) return;
    const path = pathOf(first.name.slice(0, first.name.indexOf('/')), host);
    this.#paths.set(host, path);
    this.#hosts.set(path, host);
    this.#dirty.add(path);
  }

  /** The first change goes out at once, further ones gather. */
  #changed(): void {
    this.#schedule(Math.max(0, this.#endedAt + pause - performance.now()));
  }

  #schedule(delay: number): void {
    if (!this.#isReady || this.#isClosed || this.#round !== undefined) return;
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => {
      this.#round = this.#bring().finally(() => {
        this.#round = undefined;
        this.#endedAt = performance.now();
        this.#next();
      });
    }, delay);
  }

  #next(): void {
    const hasMore = this.#dirty.size > 0 || this.#isDnsDirty;
    if (hasMore && this.#ours !== undefined) this.#schedule(pause);
    else if (this.#troubles.size > 0) this.#schedule(Math.max(0, this.#retryAt - performance.now()));
    else this.#retry = firstRetry;
  }

  /** Brings the files that may differ in line with the projection. Never throws. */
  async #bring(): Promise<void> {
    const { directory, names, log } = this.#options;
    try {
      this.#ours ??= await this.#look();
      this.#cleared('.');
    } catch (error) {
      this.#failed('.', error);
      this.#retryAt = performance.now() + this.#retry;
      this.#retry = Math.min(2 * this.#retry, longestRetry);
      return;
    }
    if (this.#options.isComplete()) {
      for (const path of this.#orphans) this.#dirty.add(path);
      this.#orphans.clear();
    }
    if (performance.now() >= this.#retryAt) {
      for (const path of this.#troubles.keys()) this.#dirty.add(path);
      this.#retry = Math.min(2 * this.#retry, longestRetry);
      this.#retryAt = performance.now() + this.#retry;
    }
    if (this.#isDnsDirty) {
      this.#isDnsDirty = false;
      for (const path of [...names.files().keys(), ...[...this.#ours.keys()].filter(isDns)]) this.#dirty.add(path);
    }
    const dirty = this.#dirty;
    this.#dirty = new Set();
    const touched = new Set<string>();
    const limit = pLimit(writesAtATime);
    const work = [...dirty].map((path) =>
      limit(async () => {
        if (this.#isClosed) return;
        try {
          const text = isDns(path) ? names.files().get(path) : this.#text(path);
          if (await this.#write(path, text)) touched.add(dirname(path));
          this.#cleared(path);
        } catch (error) {
          this.#failed(path, error);
        }
      }),
    );
    await Promise.all(work);
    for (const folder of touched)
      await syncDirectory(join(directory, folder)).catch((error: unknown) =>
        log.warn({ folder, reason: reasonOf(error) }, 'directory could not be synced'),
      );
  }

  /** What is ours on disk; all of it is looked at once. */
  async #look(): Promise<Map<string, string>> {
    const ours = await ownFiles(this.#options.directory);
    for (const path of ours.keys())
      if (isDns(path) || this.#hosts.has(path)) this.#dirty.add(path);
      else this.#orphans.add(path);
    return ours;
  }

  #text(path: string): string | undefined {
    const host = this.#hosts.get(path);
    const taken = host === undefined ? undefined : this.#taken.of(host);
    if (taken === undefined) return undefined;
    const isTaken = ({ type, namespace, name }: IstioResource): boolean =>
      taken.has(resourceId({ type, name: `${namespace}/${name}` }));
    return fileText(this.#projection.resources(host).filter(isTaken));
  }

  /** @returns whether anything was done @throws Foreign if a file of others is there; Error if it cannot be done */
  async #write(path: string, text: string | undefined): Promise<boolean> {
    const ours = this.#ours as Map<string, string>;
    const digest = text === undefined ? undefined : digestOf(text);
    if (ours.get(path) === digest) return false;
    const whole = join(this.#options.directory, path);
    if (await isForeign(whole)) {
      ours.delete(path);
      if (text === undefined) return false;
      throw new Foreign('a file of this name is there, and not ours: move it away, or let Pontoon write elsewhere');
    }
    if (text === undefined || digest === undefined) {
      await rm(whole, { force: true });
      ours.delete(path);
      this.#removed++;
    } else {
      await writeWhole(whole, text);
      ours.set(path, digest);
      this.#written++;
      this.#lastWriteAt = Date.now();
    }
    return true;
  }

  #failed(path: string, error: unknown): void {
    const reason = reasonOf(error);
    if (this.#troubles.size === 0) this.#retryAt = performance.now() + this.#retry;
    // Once, not at every try.
    if (this.#troubles.get(path)?.reason !== reason) this.#options.log.warn({ path, reason }, 'file not written');
    this.#troubles.set(path, { isConflict: error instanceof Foreign, reason });
  }

  #cleared(path: string): void {
    if (this.#troubles.delete(path)) this.#options.log.info({ path }, 'file in line again');
  }
}

function isDns(path: string): boolean {
  return path.startsWith('dns/') && !path.endsWith('.yaml');
}
