import type { Protocol } from '#model/protocol.js';
import type { Rejection, ServiceKey } from '#model/service.js';

/** A port of a mesh service. Its name says the protocol, Istio style; its number stays, whatever instances come and go. */
export interface MeshPort {
  readonly name: string;
  readonly number: number;
  readonly protocol: Protocol;
}

/** Where a mesh service can be reached. */
export interface Endpoint {
  readonly address: string;
  /** Port name → number that is dialled, in the order of the names. */
  readonly ports: Readonly<Record<string, number>>;
  /** Relative to 100; at least 1. */
  readonly weight: number;
  readonly draining: boolean;
  /** `region/zone/subzone`; on every endpoint of a service or on none. */
  readonly locality: string | undefined;
  readonly network: string | undefined;
  /** Identity for mutual TLS, in the Istio namespace of the service; undefined for peers outside the mesh. */
  readonly serviceAccount?: string | undefined;
  /** SPIFFE URI that its certificate says, of a pod with a sidecar: of whatever namespace. */
  readonly identity?: string | undefined;
  /** Those of its port numbers at which it takes mutual TLS only: nobody outside the mesh can call it there. Left out if there is none, or if nobody says. */
  readonly strict?: readonly number[];
  readonly labels: Readonly<Record<string, string>>;
  /** Which instances it stands for: registry and id. Not sent to Istio. */
  readonly origins: readonly EndpointOrigin[];
}

export interface EndpointOrigin {
  readonly registry: string;
  readonly instance: string;
}

/** One host as the mesh sees it, merged from all registries that hold it. */
export interface MeshService {
  readonly host: string;
  /** Istio namespace of its resources. */
  readonly namespace: string;
  readonly exportTo: readonly string[];
  readonly location: 'internal' | 'external';
  /** The one revision of istiod that shall see it; undefined for all. */
  readonly revision: string | undefined;
  /** Virtual addresses, one per configured family; of what is the mesh's own, those that the mesh itself has. */
  readonly vips: readonly string[];
  readonly ports: readonly MeshPort[];
  /** SPIFFE URIs that its endpoints' certificates may say, beside those of service accounts; sorted. */
  readonly identities: readonly string[];
  /** Whether it is the mesh's own, as Kubernetes services under their own host are: then nothing of it is sent to Istio. */
  readonly native: boolean;
  /** Whether its addresses are IP addresses only; if one is a DNS name, all are resolved. */
  readonly resolution: 'static' | 'dns';
  /** Whether every endpoint has every port; if not, each port needs a resource of its own. */
  readonly uniform: boolean;
  /** Sorted by address and ports. Empty: the service is there, and nobody can be called. */
  readonly endpoints: readonly Endpoint[];
  /** Endpoints that nobody here can reach, with the reason. */
  readonly unreachable: readonly Rejection[];
  /** The registries' services that it is made of, in the order of the configuration; empty while a gone service waits for its deletion. */
  readonly origins: readonly ServiceKey[];
  /** The registries that held it last, while it waits for its deletion: conditions go on with them. */
  readonly heldBy?: readonly string[] | undefined;
}

/** The registries that hold a service, in the order of the configuration; of one that is gone, those that held it last. */
export function registriesOf({ origins, heldBy }: Pick<MeshService, 'origins' | 'heldBy'>): readonly string[] {
  return heldBy ?? [...new Set(origins.map(({ registry }) => registry))];
}

/** Compares by code units: the same everywhere, whatever the locale. */
export function compareText(a: string, b: string): number {
  return a < b ? -1 : a > b ? 1 : 0;
}

/** What makes two records one endpoint: the address and what is dialled there. */
export function endpointKey(endpoint: Pick<Endpoint, 'address' | 'ports'>): string {
  const ports = Object.keys(endpoint.ports).sort();
  return `${endpoint.address} ${ports.map((name) => `${name}=${endpoint.ports[name]}`).join(' ')}`;
}

/** `address:port`, for people; of several ports all of them. */
export function endpointPlace({ address, ports }: Pick<Endpoint, 'address' | 'ports'>): string {
  return `${address}:${[...new Set(Object.values(ports))].join(',')}`;
}
