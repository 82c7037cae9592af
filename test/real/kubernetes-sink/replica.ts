import { mkdtempSync, renameSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { DoorsReport } from '#admin/report.js';
import type { KubernetesStatus } from '#sinks/kubernetes/sink.js';
import { type Pontoon, startPontoon } from '#test/servers/pontoon.js';
import { until } from '#test/servers/probes.js';
import { serverFolder } from '#test/servers/process.js';

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

/** A Pontoon that makes objects of what the file says. */
export class Replica {
  readonly #pontoon: Pontoon;

  private constructor(pontoon: Pontoon) {
    this.#pontoon = pontoon;
  }

  /** @param config further registries, and other keys */
  static async start(services: ServicesFile, kubernetes: object, config: ReplicaConfig = {}): Promise<Replica> {
    const { registries = [], istio = {}, ...rest } = config;
    const pontoon = await startPontoon({
      registries: [{ name: 'services', type: 'file', path: services.path }, ...registries],
      istio: { grace: '1s', kubernetes, ...istio },
      ...rest,
    });
    return new Replica(pontoon);
  }

  async status(): Promise<KubernetesStatus> {
    const { kubernetes } = (await this.#pontoon.get('/api/v1/doors')) as DoorsReport;
    return kubernetes as KubernetesStatus;
  }

  /** Resources on its xDS listener. */
  async onXds(): Promise<number> {
    const { listeners } = (await this.#pontoon.get('/api/v1/doors')) as DoorsReport;
    return listeners.flatMap(({ open }) => open).reduce((sum, { resources }) => sum + resources, 0);
  }

  /** Waits until all that is to be written has been. @returns the status then */
  async settled(objects?: number): Promise<KubernetesStatus> {
    let last: KubernetesStatus | undefined;
    const isSettled = async () => {
      last = await this.status();
      return last.state === 'writing' && last.pending === 0 && (objects === undefined || last.objects === objects);
    };
    await until(`${objects ?? 'all'} objects settled`, isSettled, 90_000).catch((error: Error) => {
      throw new Error(`${error.message}; ${JSON.stringify({ ...last, problems: last?.problems.slice(0, 3) })}`);
    });
    return last as KubernetesStatus;
  }

  /** SIGKILL, as a crash. */
  kill(): Promise<void> {
    return this.#pontoon.kill();
  }
}

interface ReplicaConfig {
  readonly registries?: readonly object[];
  readonly istio?: object;
  readonly state?: object;
  readonly coordination?: object;
}
