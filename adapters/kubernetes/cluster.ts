import { compareText } from '#model/mesh.js';
import type { Instance, Metadata, RegistryService, Rejection, ServiceKey } from '#model/service.js';
import { strictText, workloadKeys } from '#model/workload.js';
import type { ClusterPod, ClusterService, Slice } from './decode.js';
import { PeerPolicies } from './mtls.js';

/** What all services of a cluster have in common. */
export interface ClusterSettings {
  readonly registry: string;
  readonly cluster: string;
  readonly clusterDomain: string;
  readonly trustDomain: string;
  readonly includes: (serviceName: string) => boolean;
}

/** Istio's own namespace: its label names the network of a whole cluster, and what stands there counts for the whole mesh. */
export const istioNamespace = 'istio-system';

/** `ServiceKey.group` of what describes a pod: no Service can have it. */
const podGroup = 'pod';

/** Objects by `namespace/name`. */
type Objects<Kept> = Map<string, Kept>;

/**
 * What is known of a cluster, and what it says as services of a registry: one for each Service, and one for each pod, which describes what runs at its addresses.
 */
export class Cluster {
  readonly services: Objects<ClusterService> = new Map();
  readonly slices: Objects<Slice> = new Map();
  readonly pods: Objects<ClusterPod> = new Map();
  /** Locality by name. */
  readonly nodes = new Map<string, string>();
  readonly policies = new PeerPolicies(istioNamespace);
  /** Of pods that say none. */
  network: string | undefined;
  readonly #settings: ClusterSettings;
  /** Slices by the Service. */
  readonly #slicesOf = new Map<string, Set<string>>();
  readonly #podsOn = new Map<string, Set<string>>();
  /** Slices by the pods in them. */
  readonly #slicesWith = new Map<string, Set<string>>();

  readonly #metadata = new Map<string, Metadata>();

  constructor(settings: ClusterSettings) {
    this.#settings = settings;
  }

  setSlice(id: string, slice: Slice | undefined): void {
    const before = this.slices.get(id);
    exchange(this.slices, id, slice, this.#slicesOf, serviceOf);
    for (const pod of podsOf(before)) this.#slicesWith.get(pod)?.delete(id);
    for (const pod of podsOf(slice)) {
      const slices = this.#slicesWith.get(pod);
      if (slices === undefined) this.#slicesWith.set(pod, new Set([id]));
      else slices.add(id);
    }
    for (const pod of podsOf(before)) if (this.#slicesWith.get(pod)?.size === 0) this.#slicesWith.delete(pod);
  }

  setPod(id: string, pod: ClusterPod | undefined): void {
    exchange(this.pods, id, pod, this.#podsOn, ({ node }) => node);
  }

  /** The Services that have a pod among their endpoints. */
  *servicesOf(pod: string): Generator<string, void> {
    for (const id of this.#slicesWith.get(pod) ?? []) {
      const slice = this.slices.get(id);
      if (slice !== undefined) yield serviceOf(slice);
    }
  }

  /** The pods for which policies of a namespace count. */
  *podsUnder(namespace: string): Generator<string, void> {
    const isForAll = this.policies.isForAll(namespace);
    for (const [id, pod] of this.pods) if (isForAll || pod.namespace === namespace) yield id;
  }

  podsOn(node: string): Iterable<string> {
    return this.#podsOn.get(node) ?? [];
  }

  /** Everything that is known, as services of the registry. */
  *all(): Generator<RegistryService, void> {
    for (const id of this.services.keys()) {
      const service = this.service(id);
      if (service !== undefined) yield service;
    }
    for (const id of this.pods.keys()) {
      const pod = this.pod(id);
      if (pod !== undefined) yield pod;
    }
  }

  serviceKey(id: string): ServiceKey {
    return this.#key(id, '');
  }

  podKey(id: string): ServiceKey {
    return this.#key(id, podGroup);
  }

  /** @returns undefined if there is no such Service, or it is not wanted */
  service(id: string): RegistryService | undefined {
    const service = this.services.get(id);
    if (service === undefined || !this.#settings.includes(service.name)) return undefined;
    const { cluster, clusterDomain } = this.#settings;
    const { labels, annotations, vips, ports, externalName } = service;
    const { instances, rejected } =
      externalName === undefined ? this.#endpoints(id, service) : externalEndpoints(externalName, service);
    return {
      key: this.serviceKey(id),
      kind: 'kubernetes',
      ports,
      metadata: { ...labels, ...annotations, cluster, clusterDomain },
      ...(vips.length === 0 ? {} : { vips }),
      instances,
      rejected: [...service.rejected, ...rejected],
      consumers: [],
    };
  }

  /** @returns undefined if there is no such pod that has an address of its own */
  pod(id: string): RegistryService | undefined {
    const pod = this.pods.get(id);
    if (pod === undefined) return undefined;
    const metadata = this.#metadataOf(pod);
    return {
      key: this.podKey(id),
      kind: 'pod',
      ports: [],
      metadata: { cluster: this.#settings.cluster },
      instances: pod.addresses.map((address) => ({
        id,
        address,
        ports: [],
        status: 'Ready',
        weight: 1,
        zone: '',
        locality: pod.locality ?? this.nodes.get(pod.node),
        network: pod.network ?? this.network,
        metadata,
        changedAt: pod.since,
      })),
      rejected: [],
      consumers: [],
    };
  }

  /** Many pods share few accounts: each is written once. */
  #metadataOf({ namespace, account, transport, labels, otherLabels }: ClusterPod): Metadata {
    const identity = `spiffe://${this.#settings.trustDomain}/ns/${namespace}/sa/${account}`;
    // What has no proxy takes whatever comes.
    const strict =
      transport === undefined ? undefined : this.policies.strictOf(namespace, { ...labels, ...otherLabels });
    const id = `${identity} ${transport} ${strict && strictText(strict)}`;
    const known = this.#metadata.get(id) ?? {
      [workloadKeys.identity]: identity,
      ...(transport === undefined ? {} : { [workloadKeys.transport]: transport }),
      ...(strict === undefined ? {} : { [workloadKeys.strict]: strictText(strict) }),
    };
    this.#metadata.set(id, known);
    return known;
  }

  #endpoints(id: string, { ports, family }: ClusterService): Endpoints {
    const slices = [...(this.#slicesOf.get(id) ?? [])].sort(compareText).flatMap((name) => this.slices.get(name) ?? []);
    // A pod with addresses of both families is in slices of both.
    const isDual = slices.some((slice) => slice.family === family);
    const instances: Instance[] = [];
    const rejected: Rejection[] = [];
    for (const slice of slices) {
      if (isDual && slice.family !== family && slice.family !== 'FQDN') continue;
      rejected.push(...slice.rejected);
      const own = ports.flatMap(({ name, protocol }) => {
        const number = slice.ports[name];
        return number === undefined ? [] : [{ name, protocol, number }];
      });
      for (const { isPod, ...endpoint } of slice.endpoints) {
        const metadata = (isPod ? this.pods.get(`${slice.namespace}/${endpoint.id}`)?.labels : undefined) ?? {};
        if (own.length > 0) instances.push({ ...endpoint, ports: own, ...plain, metadata });
        else rejected.push({ record: endpoint.id, reason: `slice ${slice.name} has none of the service's TCP ports` });
      }
    }
    return { instances, rejected };
  }

  #key(id: string, group: string): ServiceKey {
    const [namespace = '', name = ''] = id.split('/');
    return { registry: this.#settings.registry, namespace, group, name, version: '' };
  }
}

interface Endpoints {
  readonly instances: readonly Instance[];
  readonly rejected: readonly Rejection[];
}

const plain = { weight: 1, locality: undefined, network: undefined, metadata: {}, changedAt: 0 } as const;

/** `namespace/name` of the Service that a slice belongs to. */
export function serviceOf({ namespace, service }: Slice): string {
  return `${namespace}/${service}`;
}

function podsOf(slice: Slice | undefined): string[] {
  return (slice?.endpoints ?? []).flatMap(({ id, isPod }) => (isPod ? [`${slice?.namespace}/${id}`] : []));
}

/** An ExternalName is one endpoint with a DNS name, at the Service's own ports. */
function externalEndpoints(address: string, { ports }: ClusterService): Endpoints {
  if (ports.length === 0) return { instances: [], rejected: [] };
  const instance = { id: address, address: address.toLowerCase().replace(/\.$/, ''), status: 'Ready', zone: '' };
  return { instances: [{ ...instance, ports, ...plain }], rejected: [] };
}

/** Sets or deletes an object, and keeps the index by which it is found. */
function exchange<Kept>(
  objects: Objects<Kept>,
  id: string,
  next: Kept | undefined,
  index: Map<string, Set<string>>,
  keyOf: (kept: Kept) => string,
): void {
  const before = objects.get(id);
  if (before !== undefined) {
    const ids = index.get(keyOf(before));
    ids?.delete(id);
    if (ids?.size === 0) index.delete(keyOf(before));
  }
  if (next === undefined) {
    objects.delete(id);
    return;
  }
  objects.set(id, next);
  const ids = index.get(keyOf(next));
  if (ids === undefined) index.set(keyOf(next), new Set([id]));
  else ids.add(id);
}
