import { execFileSync } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { installed } from '#test/servers/cache.js';
import { freePort } from '#test/servers/ports.js';
import { Server, serverFolder, subfolder } from '#test/servers/process.js';

/** Options of {@link startConsul}. */
export interface ConsulOptions {
  /** `dc1` if not given. */
  readonly datacenter?: string;
  /** The name of the node; `n1` if not given. Unique within a data centre. */
  readonly node?: string;
  /** The agent's configuration as Consul's JSON, for example `{ acl: { enabled: true } }`. */
  readonly config?: Readonly<Record<string, unknown>>;
  /** With ACLs, a token that may see the nodes: the server is ready once it takes it. */
  readonly token?: string;
  /** HTTPS beside HTTP, with these certificates; clients have to show one, too. */
  readonly tls?: ConsulTls;
  /** A server of a data centre that this one joins, as its agent or one more server, or with `wan` as another data centre. */
  readonly join?: Consul;
  /** Whether it is an agent without the catalog, which asks the servers that it joins. */
  readonly client?: boolean;
  /** Whether data centres can be joined. */
  readonly wan?: boolean;
  /** Whether it answers DNS. */
  readonly dns?: boolean;
}

/** PEM files, made by Consul's own tool, for 127.0.0.1 and localhost. */
export interface ConsulTls {
  readonly ca: string;
  readonly server: { readonly cert: string; readonly key: string };
  readonly client: { readonly cert: string; readonly key: string };
}

// With the default of 5, the only server takes ten seconds to elect itself.
const FAST_ELECTION = { performance: { raft_multiplier: 1 } };

/** A Consul agent on loopback, as a rule a server; its data survives a restart. */
export class Consul extends Server {
  readonly port: number;
  readonly httpsPort: number;
  /** Where it answers DNS, if it does: `127.0.0.1:port`. */
  readonly dnsAddress: string;
  /** Where others of its data centre join it, and other data centres. */
  readonly serf: { readonly lan: string; readonly wan: string };

  constructor(ports: ConsulPorts, options: ConsulOptions) {
    const { datacenter = 'dc1', node = 'n1', config = {}, token, tls, client = false, wan = false } = options;
    const { dns = false } = options;
    const folder = serverFolder('consul');
    const configFile = join(folder, 'config.json');
    const { http, https, server, serfLan, serfWan, dns: dnsPort } = ports;
    const peer = options.join?.serf;
    const flags = {
      'config-file': configFile,
      'data-dir': subfolder(folder, 'data'),
      bind: '127.0.0.1',
      client: '127.0.0.1',
      'http-port': http,
      'https-port': tls === undefined ? -1 : https,
      'server-port': server,
      'serf-lan-port': serfLan,
      'serf-wan-port': wan ? serfWan : -1,
      'grpc-port': -1,
      'grpc-tls-port': -1,
      'dns-port': dns ? dnsPort : -1,
      node,
      datacenter,
      'log-level': 'warn',
      ...(client || (peer !== undefined && !wan) ? {} : { 'bootstrap-expect': 1 }),
      ...(peer === undefined ? {} : wan ? { 'retry-join-wan': peer.wan } : { 'retry-join': peer.lan }),
    };
    writeFileSync(configFile, JSON.stringify({ ...FAST_ELECTION, ...tlsConfig(tls), ...config }));
    super({
      name: 'Consul',
      command: join(installed('consul'), 'consul'),
      args: [
        'agent',
        ...(client ? [] : ['-server']),
        '-disable-host-node-id',
        ...Object.entries(flags).map(([flag, value]) => `-${flag}=${value}`),
      ],
      folder,
      ready: () => canBeUsed(http, 'acl' in config, token),
    });
    this.port = http;
    this.httpsPort = https;
    this.dnsAddress = `127.0.0.1:${dnsPort}`;
    this.serf = { lan: `127.0.0.1:${serfLan}`, wan: `127.0.0.1:${serfWan}` };
  }

  /** The base of the HTTP API: `http://127.0.0.1:port`. */
  get url(): string {
    return `http://127.0.0.1:${this.port}`;
  }

  /** The base of the HTTPS API, if there is one. */
  get httpsUrl(): string {
    return `https://127.0.0.1:${this.httpsPort}`;
  }
}

interface ConsulPorts {
  readonly http: number;
  readonly https: number;
  readonly server: number;
  readonly serfLan: number;
  readonly serfWan: number;
  readonly dns: number;
}

/** Starts a Consul agent and waits until its data centre has a leader, from when on it takes writes. */
export async function startConsul(options: ConsulOptions = {}): Promise<Consul> {
  const ports = {
    http: await freePort(),
    https: await freePort(),
    server: await freePort(),
    serfLan: await freePort(),
    serfWan: await freePort(),
    dns: await freePort(),
  };
  return new Consul(ports, options).start();
}

/** Makes an authority, and a server's and a client's certificate. */
export function consulTls(): ConsulTls {
  const folder = serverFolder('consul-tls');
  const tls = (...args: string[]) =>
    execFileSync(join(installed('consul'), 'consul'), ['tls', ...args], { cwd: folder });
  tls('ca', 'create');
  tls('cert', 'create', '-server');
  tls('cert', 'create', '-client');
  const pair = (name: string) => ({ cert: join(folder, `${name}.pem`), key: join(folder, `${name}-key.pem`) });
  return {
    ca: join(folder, 'consul-agent-ca.pem'),
    server: pair('dc1-server-consul-0'),
    client: pair('dc1-client-consul-0'),
  };
}

function tlsConfig(tls: ConsulTls | undefined): object {
  if (tls === undefined) return {};
  const { ca, server } = tls;
  return { tls: { https: { ca_file: ca, cert_file: server.cert, key_file: server.key, verify_incoming: true } } };
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
