import { renameSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { stringify } from 'yaml';
import type { RegistryReport, ServiceReport } from '#admin/report.js';
import type { ClientState } from '#sinks/xds/stream.js';
import { freePort, freePorts } from '#test/servers/ports.js';
import { httpOk } from '#test/servers/probes.js';
import { Server, serverFolder } from '#test/servers/process.js';

const program = fileURLToPath(new URL('../../src/cli/pontoon.js', import.meta.url));

/** The configuration, but for where it listens. */
export interface PontoonConfig {
  readonly registries: readonly object[];
  readonly istio?: object;
  readonly policies?: readonly object[];
  readonly publications?: readonly object[];
  readonly networks?: object;
  readonly guards?: object;
  readonly state?: object;
  readonly coordination?: object;
  /** Level debug unless given. */
  readonly log?: object;
  /** Keys of its one xDS listener, beside its address. */
  readonly listener?: object;
}

/** What guards hold, as far as tests look at it. */
export interface GuardReport {
  readonly holds: readonly {
    readonly scope: 'registry' | 'service';
    readonly registry: string;
    readonly instances: readonly { readonly address: string; readonly answer?: string }[];
  }[];
}

/** Pontoon as it is shipped: a process of its own with a configuration file. */
export class Pontoon extends Server {
  /** Base URL of the API. */
  readonly url: string;
  /** `xds://host:port` for istiod's configSources. */
  readonly configSource: string;
  /** The port of its xDS listener, or of the first shard. */
  readonly xdsPort: number;
  readonly #ports: PontoonPorts;

  constructor(ports: PontoonPorts, config: PontoonConfig, env: Readonly<Record<string, string>> = {}) {
    const folder = serverFolder('pontoon');
    const url = `http://127.0.0.1:${ports.admin}`;
    write(folder, ports, config);
    super({
      name: 'Pontoon',
      command: process.execPath,
      args: ['--enable-source-maps', program, 'run', '--config', 'pontoon.yaml'],
      folder,
      env,
      ready: () => httpOk(`${url}/healthz`),
    });
    this.url = url;
    this.configSource = `xds://127.0.0.1:${ports.xds}`;
    this.xdsPort = ports.xds;
    this.#ports = ports;
  }

  /** Takes another configuration over while it runs. @throws Error if it is refused */
  async reload(config: PontoonConfig): Promise<void> {
    write(this.folder, this.#ports, config);
    const response = await fetch(`${this.url}/api/v1/configuration/reload`, { method: 'POST' });
    if (!response.ok) throw new Error(`the configuration is refused: ${await response.text()}`);
  }

  registries(): Promise<RegistryReport[]> {
    return this.get('/api/v1/registries') as Promise<RegistryReport[]>;
  }

  service(host: string): Promise<ServiceReport> {
    return this.get(`/api/v1/services/${host}`) as Promise<ServiceReport>;
  }

  /** What guards hold. */
  guards(): Promise<GuardReport> {
    return this.get('/api/v1/guards') as Promise<GuardReport>;
  }

  clients(): Promise<ClientState[]> {
    return this.get('/api/v1/clients') as Promise<ClientState[]>;
  }

  /** All ServiceEntries as YAML. */
  async serviceEntries(): Promise<string> {
    return (await fetch(`${this.url}/api/v1/istio/serviceentries`)).text();
  }

  /** A JSON answer of the API. @throws Error when it is not 200 */
  async get(path: string): Promise<unknown> {
    const response = await fetch(`${this.url}${path}`);
    if (!response.ok) throw new Error(`${path} answered ${response.status}: ${await response.text()}`);
    return response.json();
  }
}

interface PontoonPorts {
  readonly admin: number;
  readonly xds: number;
}

function write(folder: string, ports: PontoonPorts, { listener, ...config }: PontoonConfig): void {
  const content = stringify({
    log: { level: 'debug' },
    ...config,
    istio: { xds: [{ listen: `127.0.0.1:${ports.xds}`, ...listener }], ...config.istio },
    admin: { listen: `127.0.0.1:${ports.admin}` },
  });
  // In one step: it may be watched.
  const path = join(folder, 'pontoon.yaml');
  writeFileSync(`${path}.new`, content);
  renameSync(`${path}.new`, path);
}

/** Starts Pontoon on free ports and waits until its API answers. @param env further environment variables */
export async function startPontoon(
  config: PontoonConfig,
  env: Readonly<Record<string, string>> = {},
): Promise<Pontoon> {
  const { shards = 1 } = (config.listener ?? {}) as { shards?: number };
  const xds = await freePorts(Array.from({ length: shards }, (_, shard) => shard));
  return new Pontoon({ admin: await freePort(), xds }, config, env).start();
}
