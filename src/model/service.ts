import type { Protocol } from '#model/protocol.js';

/** String pairs that an application or registry attaches to a service or an instance. */
export type Metadata = Readonly<Record<string, string>>;

/**
 * Names one service of one registry. The registry is part of the identity: two Eurekas never overwrite each other.
 * Parts that a registry does not have are empty strings.
 */
export interface ServiceKey {
  /** Name of the registry in the configuration. */
  readonly registry: string;
  readonly namespace: string;
  readonly group: string;
  readonly name: string;
  readonly version: string;
}

/** Services by name alone, in whatever group and version. */
export type ServiceName = Pick<ServiceKey, 'registry' | 'namespace' | 'name'>;

/** One port of one instance. Ports of the same name are the same port of the service. */
export interface InstancePort {
  /** Name of the port within its service; empty where the registry has no names: then the protocol names it. */
  readonly name: string;
  readonly protocol: Protocol;
  /** 1 to 65535, the number that is really dialled. */
  readonly number: number;
}

/** An instance that takes on its weight little by little after a start, as Dubbo's do. */
export interface Warmup {
  /** When it started: ms since 1970. */
  readonly since: number;
  /** How long it takes: ms, more than 0. */
  readonly length: number;
}

/** One running copy of a service, as its registry says it. */
export interface Instance {
  /** The registry's own id: a lease, a znode, a node and service id. For people and for stable order, never for identity. */
  readonly id: string;
  /** IPv4, IPv6 (normalised, without brackets) or DNS name. See {@link parseAddress}. */
  readonly address: string;
  /** At least one. */
  readonly ports: readonly InstancePort[];
  /** The registry's own word: UP, passing, unhealthy ... See the health table. */
  readonly status: string;
  /** In the registry's own scale; the adapter declares which value is nominal. 0 takes the instance out. */
  readonly weight: number;
  readonly warmup?: Warmup;
  /** Zone as the registry says it, or empty. */
  readonly zone: string;
  /** `region/zone/subzone`, where the registry knows it in full; else undefined. */
  readonly locality: string | undefined;
  /** Istio network, where the registry knows it; else undefined. */
  readonly network: string | undefined;
  readonly metadata: Metadata;
  /** When the registry says it last changed, in ms since 1970; 0 if it does not say. Of two records for one endpoint the newer one counts. */
  readonly changedAt: number;
}

/** A record that could not be used, kept beside what could, so that people can see it. */
export interface Rejection {
  /** Which record: an instance id, a znode, a line. */
  readonly record: string;
  /** What was found, and what was expected. */
  readonly reason: string;
}

/** What people should know of a record that is in use, or of a rule that the registry holds for a service. */
export interface Note {
  /** Which record or rule: an instance id, a znode, the service itself. */
  readonly record: string;
  readonly text: string;
}

/** Who calls a service, where the registry knows it (Dubbo). */
export interface Consumer {
  readonly application: string;
  readonly address: string;
}

/** A port that the registry declares for the service itself. */
export interface ServicePort {
  readonly name: string;
  readonly protocol: Protocol;
  readonly number: number;
}

/** One service as one registry says it. Immutable: a change is a new object. */
export interface RegistryService {
  readonly key: ServiceKey;
  /** Which of its adapter's kinds it is: `dubbo`, `nacos` ... Chooses the default host and the nominal weight. */
  readonly kind: string;
  /** Ports that the registry declares for the service; usually empty, and then rules choose the numbers. */
  readonly ports: readonly ServicePort[];
  readonly metadata: Metadata;
  /** IP addresses that stand for the service, where the registry has such; else left out. */
  readonly vips?: readonly string[];
  readonly instances: readonly Instance[];
  readonly rejected: readonly Rejection[];
  readonly notes?: readonly Note[];
  readonly consumers: readonly Consumer[];
}

/** What makes two records of a service one instance: the address and the ports. */
export function instancePlace({ address, ports }: Pick<Instance, 'address' | 'ports'>): string {
  return `${address} ${ports.map(({ number }) => number).join(' ')}`;
}

/** `address:port`, for people; of several ports all of them. */
export function instanceText({ address, ports }: Pick<Instance, 'address' | 'ports'>): string {
  return `${address}:${ports.map(({ number }) => number).join(',')}`;
}

/** The name in a service's id. */
export function nameOfId(id: string): string {
  return decodeURIComponent(id.split('/')[3] ?? '');
}

/** One string that identifies the service; sorts like its parts. `*` stands where a name alone has neither group nor version. */
export function serviceId(key: ServiceKey | ServiceName): string {
  const { registry, namespace, group, name, version } = { group: '*', version: '*', ...key };
  // Half a surrogate pair cannot be encoded.
  return [registry, namespace, group, name, version].map((part) => encodeURIComponent(part.toWellFormed())).join('/');
}
