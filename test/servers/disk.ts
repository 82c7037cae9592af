import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Namespace } from './namespace.js';

/** A small disk (tmpfs) that can be filled and made read-only. It is mounted in a namespace of its own, seen through /proc: no right is needed for that. */
export class SmallDisk {
  /** Where its files are for all processes of this user. */
  readonly path: string;
  readonly #folder: string;
  readonly #namespace = new Namespace('mount');

  private constructor(folder: string) {
    this.#folder = folder;
    this.path = `/proc/${this.#namespace.pid}/root${folder}`;
  }

  /** @throws Error with what `unshare` or `mount` says if there can be none */
  static async mount(bytes: number): Promise<SmallDisk> {
    const folder = mkdtempSync(join(tmpdir(), 'pontoon-disk-'));
    const disk = new SmallDisk(folder);
    await disk.#namespace.run(`mount -t tmpfs -o size=${bytes} tmpfs '${folder}'`);
    return disk;
  }

  /** Leaves no byte free. */
  fill(): void {
    try {
      for (let part = 0; ; part++) writeFileSync(join(this.path, `filler-${part}`), Buffer.alloc(4_096));
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'ENOSPC') throw error;
    }
  }

  async empty(): Promise<void> {
    await this.#namespace.run(`rm '${this.#folder}'/filler-*`);
  }

  async setReadOnly(isReadOnly: boolean): Promise<void> {
    await this.#namespace.run(`mount -o remount,${isReadOnly ? 'ro' : 'rw'} '${this.#folder}'`);
  }

  async close(): Promise<void> {
    await this.#namespace.close();
    rmSync(this.#folder, { recursive: true });
  }
}
