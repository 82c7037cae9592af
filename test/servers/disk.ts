import { type ChildProcess, spawn } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { endWithThisProcess } from './lifetime.js';

/** A small disk (tmpfs) that can be filled and made read-only. It is mounted in a namespace of its own, seen through /proc: no right is needed for that. */
export class SmallDisk {
  /** Where its files are for all processes of this user. */
  readonly path: string;
  readonly #folder: string;
  readonly #shell: ChildProcess;

  private constructor(folder: string, shell: ChildProcess) {
    this.#folder = folder;
    this.#shell = shell;
    this.path = `/proc/${shell.pid}/root${folder}`;
  }

  /** @throws Error with what `unshare` or `mount` says if there can be none */
  static async mount(bytes: number): Promise<SmallDisk> {
    const folder = mkdtempSync(join(tmpdir(), 'pontoon-disk-'));
    const shell = spawn('unshare', ['--user', '--map-root-user', '--mount', 'sh'], { stdio: 'pipe' });
    endWithThisProcess(shell, 'SIGKILL');
    const disk = new SmallDisk(folder, shell);
    await disk.#run(`mount -t tmpfs -o size=${bytes} tmpfs '${folder}'`);
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
    await this.#run(`rm '${this.#folder}'/filler-*`);
  }

  async setReadOnly(isReadOnly: boolean): Promise<void> {
    await this.#run(`mount -o remount,${isReadOnly ? 'ro' : 'rw'} '${this.#folder}'`);
  }

  async close(): Promise<void> {
    const closed = new Promise((resolve) => this.#shell.once('close', resolve));
    this.#shell.stdin?.end();
    await closed;
    rmSync(this.#folder, { recursive: true });
  }

  /** Runs a command in the namespace. */
  async #run(command: string): Promise<void> {
    const { stdin, stdout } = this.#shell;
    if (stdin === null || stdout === null) throw new Error('no shell');
    const lines = createInterface(stdout);
    const answer = new Promise<string>((resolve) => {
      let last = '';
      lines.on('line', (line) => {
        if (line === 'done') resolve('');
        else if (line === 'failed') resolve(last || 'failed');
        else last = line;
      });
      this.#shell.once('close', () => resolve('unshare ended: may this user make namespaces?'));
    });
    stdin.write(`{ ${command}; } 2>&1 && echo done || echo failed\n`);
    const failure = await answer;
    lines.close();
    if (failure !== '') throw new Error(`${command}: ${failure}`);
  }
}
