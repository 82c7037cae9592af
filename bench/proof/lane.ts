import { gatewayTo } from '#test/e2e/gateway.js';
import { type Envoy, startEnvoy } from '#test/servers/envoy.js';
import { type Istiod, startIstiod } from '#test/servers/istiod.js';
import { freePort } from '#test/servers/ports.js';
import type { RegistryName, Service } from './services.js';

/** How a bridge names a service in the mesh: host and port. */
export type Naming = (service: Service) => readonly [host: string, port: number];

interface Clusters {
  readonly cluster_statuses: readonly {
    readonly name: string;
    readonly host_statuses?: readonly {
      readonly address: { readonly socket_address: { readonly address: string; readonly port_value: number } };
    }[];
  }[];
}

/** One bridge with an istiod and an Envoy of its own behind it. */
export class Lane {
  readonly name: string;
  readonly services: readonly Service[];
  /** Where the load goes: the Envoy's listener. */
  readonly url: string;
  readonly istiod: Istiod;
  readonly #envoy: Envoy;
  readonly #naming: Naming;
  #endpoints = new Set<string>();

  private constructor(
    name: string,
    services: readonly Service[],
    naming: Naming,
    port: number,
    istiod: Istiod,
    envoy: Envoy,
  ) {
    this.name = name;
    this.services = services;
    this.#naming = naming;
    this.url = `http://127.0.0.1:${port}`;
    this.istiod = istiod;
    this.#envoy = envoy;
  }

  /** @param configSource the bridge */
  static async start(name: string, configSource: string, services: readonly Service[], naming: Naming): Promise<Lane> {
    const istiod = await startIstiod({ configSources: [configSource] });
    const port = await freePort();
    const envoy = await startEnvoy(gatewayTo(istiod.xdsAddress, port, services.map(naming)));
    return new Lane(name, services, naming, port, istiod, envoy);
  }

  host(service: Service): string {
    return this.#naming(service)[0];
  }

  /** `ip:port` of every endpoint that the Envoy had when it was last looked at. */
  get endpoints(): ReadonlySet<string> {
    return this.#endpoints;
  }

  /** How many of a registry's living instances the Envoy has. */
  living(registry: RegistryName, alive: ReadonlySet<string>): number {
    return this.of(registry).filter((address) => alive.has(address) && this.#endpoints.has(address)).length;
  }

  /** How many endpoints of a registry the Envoy has, dead ones included. */
  held(registry: RegistryName): number {
    return this.of(registry).filter((address) => this.#endpoints.has(address)).length;
  }

  /** The addresses of all instances that a registry ever had. */
  of(registry: RegistryName): string[] {
    return this.services.filter((service) => service.registry === registry).flatMap(({ addresses }) => addresses);
  }

  /** Asks the Envoy what it has. */
  async look(): Promise<void> {
    const { cluster_statuses } = JSON.parse(await this.#envoy.admin('/clusters?format=json')) as Clusters;
    const hosts = cluster_statuses
      .filter(({ name }) => name.startsWith('outbound|'))
      .flatMap(({ host_statuses = [] }) => host_statuses);
    this.#endpoints = new Set(
      hosts.map(({ address: { socket_address } }) => `${socket_address.address}:${socket_address.port_value}`),
    );
  }

  /** Kills istiod and starts it until it is ready, as Kubernetes would. @returns ms until it was */
  async restartIstiod(signal: AbortSignal): Promise<number> {
    const begun = performance.now();
    await this.istiod.kill();
    while (!signal.aborted) {
      try {
        await this.istiod.start();
        break;
      } catch (error) {
        if (signal.aborted) break;
        if (performance.now() - begun > 180_000) throw error;
      }
    }
    return performance.now() - begun;
  }

  async stop(): Promise<void> {
    await Promise.all([this.#envoy.stop(), this.istiod.stop()]);
  }
}
