import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { closeSync, mkdirSync, mkdtempSync, openSync, readFileSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { beforeThisProcessEnds, endWithThisProcess } from '#test/servers/lifetime.js';
import { until } from '#test/servers/probes.js';

const LOG_TAIL_LINES = 40;

/** How to start a server and how to see that it is ready. */
export interface ServerSpec {
  /** Names the server in errors. */
  readonly name: string;
  readonly command: string;
  readonly args: readonly string[];
  /** Added to this process's environment. */
  readonly env?: Readonly<Record<string, string>>;
  /** The server's folder, also its working directory: see {@link serverFolder}. */
  readonly folder: string;
  /** Whether the server can be used; asked until it says so. An error thrown counts as no. */
  readonly ready: (server: Server) => boolean | Promise<boolean>;
  /** How long the server may take to become ready, in milliseconds; 60 s if not given. */
  readonly readyTimeoutMs?: number;
}

/**
 * A real server as a child process: what it prints goes to a log file in its folder, it can be
 * stopped, killed, frozen and started again with the same ports and data, and it ends with this
 * process, however that ends.
 */
export class Server {
  /** Where what the server prints goes, over all its starts. */
  readonly logFile: string;
  readonly #spec: ServerSpec;
  #child: ChildProcess | undefined;
  #ended: Promise<void> = Promise.resolve();
  #logStart = 0;

  constructor(spec: ServerSpec) {
    this.#spec = spec;
    this.logFile = join(spec.folder, 'server.log');
  }

  /** The server's folder, with its log and data. */
  get folder(): string {
    return this.#spec.folder;
  }

  /** The process id while the server runs. */
  get pid(): number | undefined {
    return this.running ? this.#child?.pid : undefined;
  }

  /** Whether the process is there; also while it is frozen. */
  get running(): boolean {
    return this.#child !== undefined && this.#child.exitCode === null && this.#child.signalCode === null;
  }

  /**
   * Starts the server, first or again, with the same ports and data, and waits until it is ready.
   *
   * @throws Error with the end of the log when it ends early or is not ready in time
   */
  async start(): Promise<this> {
    if (this.running) throw new Error(`${this.#spec.name} runs already`);
    this.#spawn();
    const { name, ready, readyTimeoutMs = 60_000 } = this.#spec;
    try {
      await until(`${name} ready`, async () => !this.running || (await ready(this)), readyTimeoutMs);
      if (!this.running) throw new Error(`${name} ended before it was ready`);
    } catch (error) {
      await this.kill();
      const reason = error instanceof Error ? error.message : String(error);
      throw new Error(`${reason}; the end of its log:\n${tail(this.log())}`, { cause: error });
    }
    return this;
  }

  /** Ends the server with SIGTERM, and with SIGKILL when it is still there after `graceMs` milliseconds. */
  async stop(graceMs = 10_000): Promise<void> {
    if (!this.running) return;
    this.#child?.ref();
    this.#signal('SIGTERM');
    this.#signal('SIGCONT');
    const cancel = new AbortController();
    const late = sleep(graceMs, true, { signal: cancel.signal }).catch(() => false);
    if (await Promise.race([this.#ended.then(() => false), late])) this.#signal('SIGKILL');
    cancel.abort();
    await this.#ended;
  }

  /** Ends the server with SIGKILL, as a crash would, and waits until it is gone. */
  async kill(): Promise<void> {
    if (!this.running) return;
    this.#child?.ref();
    this.#signal('SIGKILL');
    await this.#ended;
  }

  /** Stops and starts the server again, with the same ports and data. */
  async restart(): Promise<this> {
    await this.stop();
    return this.start();
  }

  /** Freezes the process (SIGSTOP): its connections stay open and nothing answers. */
  pause(): void {
    this.#signal('SIGSTOP');
  }

  /** Lets a frozen process go on (SIGCONT). */
  resume(): void {
    this.#signal('SIGCONT');
  }

  /** What the server printed since its last start. */
  log(): string {
    return readFileSync(this.logFile).subarray(this.#logStart).toString('utf8');
  }

  /** Writes one line to the server's standard input. */
  protected writeLine(line: string): void {
    if (!this.running) throw new Error(`${this.#spec.name} does not run`);
    this.#child?.stdin?.write(`${line}\n`);
  }

  #spawn(): void {
    const { command, args, env, folder } = this.#spec;
    const log = openSync(this.logFile, 'a');
    this.#logStart = statSync(this.logFile).size;
    const [program, ...rest] = dyingWithParent([command, ...args]);
    const child = spawn(program ?? command, rest, {
      cwd: folder,
      env: { ...process.env, ...env },
      stdio: ['pipe', log, log],
    });
    closeSync(log);
    this.#child = child;
    this.#ended = new Promise((resolve) => {
      child.once('exit', () => resolve()).once('error', () => resolve());
    });
    endWithThisProcess(child, 'SIGKILL');
    child.stdin?.on('error', () => {});
    // A server that a test forgot must not keep the test process from ending.
    child.unref();
  }

  #signal(signal: NodeJS.Signals): void {
    this.#child?.kill(signal);
  }
}

/**
 * Makes a folder of its own for a server, removed when this process ends unless
 * `PONTOON_KEEP_LOGS` is set.
 */
export function serverFolder(name: string): string {
  const folder = mkdtempSync(join(tmpdir(), `pontoon-${name}-`));
  if (!process.env.PONTOON_KEEP_LOGS) beforeThisProcessEnds(() => removeFolder(folder));
  return folder;
}

/** Makes and returns a folder within a server's folder. */
export function subfolder(folder: string, name: string): string {
  const path = join(folder, name);
  mkdirSync(path, { recursive: true });
  return path;
}

function removeFolder(folder: string): void {
  try {
    rmSync(folder, { recursive: true, force: true, maxRetries: 5, retryDelay: 50 });
  } catch {
    // A server that was just killed may still have written there; the system clears its temporary folder.
  }
}

// Where setpriv (util-linux) is there, the kernel ends the child even when this process is killed with SIGKILL.
let setpriv: boolean | undefined;
function dyingWithParent(command: string[]): string[] {
  const prefix = ['setpriv', '--pdeathsig', 'KILL', '--'];
  setpriv ??= spawnSync('setpriv', ['--pdeathsig', 'KILL', '--', 'true']).status === 0;
  return setpriv ? [...prefix, ...command] : command;
}

function tail(log: string): string {
  return log.trimEnd().split('\n').slice(-LOG_TAIL_LINES).join('\n');
}
