import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { installed } from '#test/servers/cache.js';
import type { Certificates } from '#test/servers/certificates.js';
import { emptyKubernetes } from '#test/servers/kubernetes.js';
import { freePort } from '#test/servers/ports.js';
import { httpOk } from '#test/servers/probes.js';
import { Server, serverFolder } from '#test/servers/process.js';

/** An entry of Istio's mesh configuration `configSources`. */
export interface ConfigSource {
  /** `xds://host:port`, `fs:///folder` or `k8s://`. */
  readonly address: string;
  /** Plaintext without it. */
  readonly tlsSettings?: Readonly<Record<string, unknown>>;
}

/** Options of {@link startIstiod}. */
export interface IstiodOptions {
  /** Config sources, as addresses or entries; istiod ends at once when one is not listening. `k8s://` is always added. */
  readonly configSources?: readonly (string | ConfigSource)[];
  /** File that leads to a Kubernetes; an empty one is made up unless given. */
  readonly kubeconfig?: string;
  /** Environment over the module's own, for example `PILOT_DEBOUNCE_AFTER`. */
  readonly env?: Readonly<Record<string, string>>;
  /** Certificate, key and authority of a second gRPC address that speaks TLS; it asks for a token or a client certificate. */
  readonly secure?: Pick<Certificates, 'cert' | 'key' | 'ca'>;
  /** Registries of services beside config sources, such as `Kubernetes`. */
  readonly registries?: string;
  /** Mesh configuration over the module's own. */
  readonly meshConfig?: Readonly<Record<string, unknown>>;
}

const ENVIRONMENT = {
  POD_NAME: 'istiod',
  POD_NAMESPACE: 'istio-system',
  CLUSTER_ID: 'local',
  PILOT_CERT_PROVIDER: 'none',
  ENABLE_CA_SERVER: 'false',
  INJECT_ENABLED: 'false',
  PILOT_ENABLE_GATEWAY_API: 'false',
  PILOT_ENABLE_GATEWAY_API_STATUS: 'false',
  PILOT_ENABLE_GATEWAY_API_DEPLOYMENT_CONTROLLER: 'false',
  PILOT_ENABLE_ANALYSIS: 'false',
  PILOT_ENABLE_IP_AUTOALLOCATE: 'false',
  PILOT_ENABLE_AMBIENT: 'false',
  UNSAFE_ENABLE_ADMIN_ENDPOINTS: 'true',
  // A stock Envoy, not Istio's, is the proxy here: it lacks Istio's own filters.
  PILOT_ENABLE_METADATA_EXCHANGE: 'false',
  PILOT_ENABLE_ALPN_FILTER: 'false',
};

const MESH_CONFIG = { enableAutoMtls: false, enableTracing: false, defaultProviders: { metrics: [] } };

/** Istio's control plane on loopback, with an empty Kubernetes beside it. */
export class Istiod extends Server {
  /** The base of the debug pages: `http://127.0.0.1:port`. */
  readonly url: string;
  /** Where proxies connect, in plaintext: `127.0.0.1:port`. */
  readonly xdsAddress: string;
  /** The same with TLS, if there is one. */
  readonly secureAddress: string;

  /** @param kubernetes kubeconfig */
  constructor(ports: IstiodPorts, kubernetes: string, options: IstiodOptions) {
    const { configSources = [], env = {}, meshConfig = {}, secure, registries = '' } = options;
    const folder = serverFolder('istiod');
    const url = `http://127.0.0.1:${ports.http}`;
    const xdsAddress = `127.0.0.1:${ports.xds}`;
    const secureAddress = secure === undefined ? '' : `127.0.0.1:${ports.secure}`;
    const sources = [...configSources, 'k8s://'].map((source) =>
      typeof source === 'string' ? { address: source } : source,
    );
    // JSON is YAML.
    writeFileSync(join(folder, 'mesh.yaml'), JSON.stringify({ ...MESH_CONFIG, configSources: sources, ...meshConfig }));
    writeFileSync(join(folder, 'kubeconfig.yaml'), kubernetes);
    const flags = {
      registries,
      meshConfig: 'mesh.yaml',
      networksConfig: '/dev/null',
      kubeconfig: 'kubeconfig.yaml',
      domain: 'cluster.local',
      clusterID: 'local',
      httpAddr: `127.0.0.1:${ports.http}`,
      httpsAddr: '',
      grpcAddr: xdsAddress,
      secureGRPCAddr: secureAddress,
      ...(secure && { tlsCertFile: secure.cert, tlsKeyFile: secure.key, caCertFile: secure.ca }),
      monitoringAddr: `127.0.0.1:${ports.monitoring}`,
      ctrlz_address: '127.0.0.1',
      ctrlz_port: ports.control,
    };
    super({
      name: 'istiod',
      command: join(installed('istiod'), 'istiod'),
      args: ['discovery', ...Object.entries(flags).map(([flag, value]) => `--${flag}=${value}`)],
      env: { ...ENVIRONMENT, ...env },
      folder,
      ready: () => httpOk(`${url}/ready`),
    });
    this.url = url;
    this.xdsAddress = xdsAddress;
    this.secureAddress = secureAddress;
  }

  /** Every Istio resource that istiod holds. */
  configz(): Promise<unknown[]> {
    return this.#list('configz');
  }

  /** Every service that istiod knows. */
  registryz(): Promise<unknown[]> {
    return this.#list('registryz');
  }

  /** The endpoints by service, as istiod's endpoint index has them. */
  endpointz(): Promise<unknown> {
    return this.debug('endpointz');
  }

  /**
   * The JSON of the debug page `/debug/NAME`.
   *
   * @throws Error when the answer is not 200
   */
  async debug(name: string): Promise<unknown> {
    const response = await fetch(`${this.url}/debug/${name}`);
    if (!response.ok) throw new Error(`istiod's ${name} answered ${response.status}: ${await response.text()}`);
    return response.json();
  }

  async #list(name: string): Promise<unknown[]> {
    const list = await this.debug(name);
    return Array.isArray(list) ? list : [];
  }
}

interface IstiodPorts {
  readonly http: number;
  readonly xds: number;
  readonly secure: number;
  readonly monitoring: number;
  readonly control: number;
}

/** Starts istiod and waits until it is ready, which it is once it has read all its config sources. */
export async function startIstiod(options: IstiodOptions = {}): Promise<Istiod> {
  const ports = {
    http: await freePort(),
    xds: await freePort(),
    secure: await freePort(),
    monitoring: await freePort(),
    control: await freePort(),
  };
  const kubernetes =
    options.kubeconfig === undefined
      ? JSON.stringify(kubeconfig(await emptyKubernetes()))
      : readFileSync(options.kubeconfig, 'utf8');
  return new Istiod(ports, kubernetes, options).start();
}

function kubeconfig(server: string) {
  return {
    apiVersion: 'v1',
    kind: 'Config',
    'current-context': 'empty',
    clusters: [{ name: 'empty', cluster: { server } }],
    users: [{ name: 'nobody', user: {} }],
    contexts: [{ name: 'empty', context: { cluster: 'empty', user: 'nobody' } }],
  };
}
