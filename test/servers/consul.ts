import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { installed } from '#test/servers/cache.js';
import { freePort } from '#test/servers/ports.js';
import { Server, serverFolder, subfolder } from '#test/servers/process.js';

/** Options of {@link startConsul}. */
export interface ConsulOptions {
  /** `dc1` if not given. */
  readonly datacenter?: string;
  /** The agent's configuration as Consul's JSON, for example `{ acl: { enabled: true } }`. */
  readonly config?: Readonly<Record<string, unknown>>;
  /** With ACLs, a token that may see the nodes: the server is ready once it takes it. */
  readonly token?: string;
}

// With the default of 5, the only server takes ten seconds to elect itself.
const FAST_ELECTION = { performance: { raft_multiplier: 1 } };

/** A Consul server of one node on loopback; its data survives a restart. */
export class Consul extends Server {
  readonly port: number;

  constructor(ports: ConsulPorts, { datacenter = 'dc1', config = {}, token }: ConsulOptions) {
    const folder = serverFolder('consul');
    const configFile = join(folder, 'config.json');
    const { http, server, serf } = ports;
    const flags = {
      'bootstrap-expect': 1,
      'config-file': configFile,
      'data-dir': subfolder(folder, 'data'),
      bind: '127.0.0.1',
      client: '127.0.0.1',
      'http-port': http,
      'server-port': server,
      'serf-lan-port': serf,
      'serf-wan-port': -1,
      'grpc-port': -1,
      'grpc-tls-port': -1,
      'dns-port': -1,
      node: 'n1',
      datacenter,
      'log-level': 'warn',
    };
    writeFileSync(configFile, JSON.stringify({ ...FAST_ELECTION, ...config }));
    super({
      name: 'Consul',
      command: join(installed('consul'), 'consul'),
      args: [
        'agent',
        '-server',
        '-disable-host-node-id',
        ...Object.entries(flags).map(([flag, value]) => `-${flag}=${value}`),
      ],
      folder,
      ready: () => canBeUsed(http, 'acl' in config, token),
    });
    this.port = http;
  }

  /** The base of the HTTP API: `http://127.0.0.1:port`. */
  get url(): string {
    return `http://127.0.0.1:${this.port}`;
  }
}

interface ConsulPorts {
  readonly http: number;
  readonly server: number;
  readonly serf: number;
}

/** Starts a Consul server and waits until it has a leader, from when on it takes writes. */
export async function startConsul(options: ConsulOptions = {}): Promise<Consul> {
  const ports = { http: await freePort(), server: await freePort(), serf: await freePort() };
  return new Consul(ports, options).start();
}

async function canBeUsed(port: number, acl: boolean, token: string | undefined): Promise<boolean> {
  // A catalog query fails until there is a leader; then the leader writes the node. With ACLs, who has no token sees none.
  const response = await fetch(`http://127.0.0.1:${port}/v1/catalog/nodes`, {
    headers: token === undefined ? {} : { 'X-Consul-Token': token },
    signal: AbortSignal.timeout(2_000),
  });
  const nodes: unknown = await response.json();
  return response.ok && Array.isArray(nodes) && (nodes.length > 0 || (acl && token === undefined));
}
