import { type ChildProcess, spawn } from 'node:child_process';
import { createInterface } from 'node:readline';
import { endWithThisProcess } from './lifetime.js';

/** Namespaces of Linux that a shell holds, with the rights of root within them: no right is needed outside for that. */
export class Namespace {
  readonly #shell: ChildProcess;
  readonly #flags: readonly string[];

  /** @param kinds beside that of users, such as `net` and `mount` */
  constructor(...kinds: readonly ('net' | 'mount')[]) {
    this.#flags = ['user', ...kinds].map((kind) => `--${kind}`);
    this.#shell = spawn('unshare', [...this.#flags, '--map-root-user', 'sh'], { stdio: 'pipe' });
    endWithThisProcess(this.#shell, 'SIGKILL');
  }

  get pid(): number | undefined {
    return this.#shell.pid;
  }

  /** A command with its arguments, as it is to be started from outside to run within. */
  within(command: string, ...args: readonly string[]): [string, ...string[]] {
    return ['nsenter', '--target', String(this.pid), ...this.#flags, '--preserve-credentials', '--', command, ...args];
  }

  /** Runs a line of shell, one at a time. @throws Error with what it said last if it failed */
  async run(command: string): Promise<void> {
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

  async close(): Promise<void> {
    const closed = new Promise((resolve) => this.#shell.once('close', resolve));
    this.#shell.stdin?.end();
    await closed;
  }
}
