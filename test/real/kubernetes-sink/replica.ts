import { type ChildProcess, fork } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, renameSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { endWithThisProcess } from '#test/servers/lifetime.js';
import { until } from '#test/servers/probes.js';
import { serverFolder } from '#test/servers/process.js';
import type { BridgeStatus } from './bridge.js';

/** Instances as `10.0.0.1:80`. */
export type Services = Readonly<Record<string, readonly string[]>>;

/** A file registry's services, in a folder of their own. */
export class ServicesFile {
  readonly path = join(mkdtempSync(join(serverFolder('services'), 'file-')), 'services.json');

  /** @param services not there yet, if not given */
  constructor(services?: Services) {
    if (services !== undefined) this.write(services);
  }

  /** All at once, as a careful editor saves. */
  write(services: Services): void {
    const list = Object.entries(services).map(([name, instances]) => ({
      name,
      ports: [{ protocol: 'http', number: 80 }],
      instances: instances.map((instance) => {
        const [address, port] = instance.split(':');
        return { address, port: Number(port) };
      }),
    }));
    // JSON is YAML.
    writeFileSync(`${this.path}.new`, JSON.stringify({ services: list }));
    renameSync(`${this.path}.new`, this.path);
  }
}

/** A process that makes objects of what registries say. */
export class Replica {
  readonly #child: ChildProcess;

  private constructor(child: ChildProcess) {
    this.#child = child;
  }

  /** @param config over one whose only registry is the file */
  static start(services: ServicesFile, kubernetes: object, config: object = {}): Replica {
    const { registries = [], ...rest } = config as { readonly registries?: readonly object[] };
    const file = join(serverFolder('bridge'), 'pontoon.yaml');
    const whole = {
      registries: [{ name: 'services', type: 'file', path: services.path }, ...registries],
      istio: { grace: '1s', xds: [], kubernetes },
      ...rest,
    };
    writeFileSync(file, JSON.stringify(whole));
    const program = fileURLToPath(new URL('./bridge.js', import.meta.url));
    const child = fork(program, [file], { stdio: ['ignore', 'inherit', 'inherit', 'ipc'] });
    endWithThisProcess(child, 'SIGKILL');
    child.on('error', () => undefined);
    return new Replica(child);
  }

  get pid(): number {
    return this.#child.pid ?? 0;
  }

  async status(): Promise<BridgeStatus> {
    const answer = once(this.#child, 'message');
    this.#child.send('status');
    return (await answer)[0] as BridgeStatus;
  }

  /** Waits until all that is to be written has been. @returns the status then */
  async settled(objects?: number): Promise<BridgeStatus> {
    let last: BridgeStatus | undefined;
    const isSettled = async () => {
      last = await this.status();
      return last.state === 'writing' && last.pending === 0 && (objects === undefined || last.objects === objects);
    };
    await until(`${objects ?? 'all'} objects settled`, isSettled, 90_000).catch((error: Error) => {
      throw new Error(`${error.message}; ${JSON.stringify({ ...last, problems: last?.problems.slice(0, 3) })}`);
    });
    return last as BridgeStatus;
  }

  /** SIGKILL, as a crash. */
  async kill(): Promise<void> {
    if (this.#child.exitCode !== null || this.#child.signalCode !== null) return;
    const gone = once(this.#child, 'exit');
    this.#child.kill('SIGKILL');
    await gone;
  }
}
