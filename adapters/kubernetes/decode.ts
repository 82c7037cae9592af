import type { KubeObject } from '#kubernetes/collection.js';
import { parseAddress } from '#model/address.js';
import { isLocality } from '#model/locality.js';
import { type Protocol, parseProtocol, protocolOfName } from '#model/protocol.js';
import { reasonOf } from '#model/reason.js';
import type { Metadata, Rejection, ServicePort } from '#model/service.js';

/** What is kept of a Service. */
export interface ClusterService {
  readonly namespace: string;
  readonly name: string;
  readonly labels: Metadata;
  /** Those that Pontoon looks at. */
  readonly annotations: Metadata;
  /** Its cluster IPs; none of a headless one. */
  readonly vips: readonly string[];
  readonly ports: readonly ServicePort[];
  /** The DNS name that it stands for, of type ExternalName. */
  readonly externalName: string | undefined;
  /** Its first address family, IPv4 or IPv6: a pod that has both is one endpoint. */
  readonly family: string | undefined;
  readonly rejected: readonly Rejection[];
}

/** What is kept of an EndpointSlice. */
export interface Slice {
  readonly namespace: string;
  readonly name: string;
  /** The name of its Service; empty if it says none. */
  readonly service: string;
  /** IPv4, IPv6 or FQDN. */
  readonly family: string;
  /** Number by the port's name. */
  readonly ports: Readonly<Record<string, number>>;
  readonly endpoints: readonly SliceEndpoint[];
  readonly rejected: readonly Rejection[];
}

export interface SliceEndpoint {
  /** The pod's name, or the address. */
  readonly id: string;
  /** Whether it is a pod. */
  readonly isPod: boolean;
  readonly address: string;
  /** A word of the health table. */
  readonly status: string;
  readonly zone: string;
}

/** What is kept of a Pod that runs and has addresses of its own. */
export interface ClusterPod {
  readonly namespace: string;
  readonly name: string;
  readonly addresses: readonly string[];
  readonly account: string;
  /** `istio`: its sidecar takes mutual TLS. `hbone`: the node's proxy takes HBONE for it. */
  readonly transport: 'istio' | 'hbone' | undefined;
  /** `region/zone/subzone`, where the pod itself says it. */
  readonly locality: string | undefined;
  readonly network: string | undefined;
  readonly node: string;
  /** Those that tell pods of one service apart, such as `version`. */
  readonly labels: Metadata;
  /** The rest of its labels, which policies may select it by. */
  readonly otherLabels: Metadata;
  /** ms since 1970. */
  readonly since: number;
}

export const networkLabel = 'topology.istio.io/network';

interface RawService extends KubeObject {
  readonly spec?: {
    readonly type?: string;
    readonly externalName?: string;
    readonly ipFamilies?: readonly string[];
    readonly clusterIP?: string;
    readonly clusterIPs?: readonly string[];
    readonly ports?: readonly {
      readonly name?: string;
      readonly port?: number;
      readonly protocol?: string;
      readonly appProtocol?: string;
    }[];
  };
}

export function decodeService(object: KubeObject): ClusterService {
  const { metadata = {}, spec = {} } = object as RawService;
  const rejected: Rejection[] = [];
  const ports: ServicePort[] = [];
  for (const { name = '', port = 0, protocol = 'TCP', appProtocol } of spec.ports ?? [])
    if (protocol === 'TCP') ports.push({ name, protocol: protocolOf(name, appProtocol), number: port });
    else rejected.push({ record: `port ${name || port}`, reason: `protocol ${protocol}: a mesh carries TCP only` });
  if (ports.length === 0) rejected.push({ record: 'the service', reason: 'it has no TCP port' });
  return {
    namespace: metadata.namespace ?? '',
    name: metadata.name ?? '',
    labels: metadata.labels ?? {},
    annotations: ownAnnotations(metadata.annotations ?? {}),
    vips: clusterIpsOf(spec),
    ports,
    externalName: spec.type === 'ExternalName' ? spec.externalName : undefined,
    family: spec.ipFamilies?.[0],
    rejected,
  };
}

/** Of the others, some hold whole manifests. */
function ownAnnotations(annotations: Metadata): Metadata {
  return Object.fromEntries(Object.entries(annotations).filter(([key]) => key.startsWith('pontoon.io/')));
}

function clusterIpsOf({ type, clusterIP, clusterIPs }: NonNullable<RawService['spec']>): readonly string[] {
  if (type === 'ExternalName') return [];
  const said = clusterIPs ?? (clusterIP === undefined ? [] : [clusterIP]);
  return said.filter((ip) => ip !== '' && ip !== 'None').map((ip) => parseAddress(ip).text);
}

/** As Istio chooses it: the port's appProtocol, else the beginning of its name. */
function protocolOf(name: string, appProtocol: string | undefined): Protocol {
  const said = standardProtocols[appProtocol ?? ''] ?? parseProtocol(appProtocol ?? '');
  return said ?? protocolOfName(name);
}

/** https://kubernetes.io/docs/concepts/services-networking/service/#application-protocol */
const standardProtocols: Readonly<Record<string, Protocol>> = {
  'kubernetes.io/h2c': 'http2',
  'kubernetes.io/ws': 'http',
  'kubernetes.io/wss': 'https',
};

interface RawSlice extends KubeObject {
  readonly addressType?: string;
  readonly ports?: readonly { readonly name?: string; readonly port?: number; readonly protocol?: string }[];
  readonly endpoints?: readonly {
    readonly addresses?: readonly string[];
    readonly conditions?: {
      readonly ready?: boolean;
      readonly serving?: boolean;
      readonly terminating?: boolean;
    };
    readonly zone?: string;
    readonly targetRef?: { readonly kind?: string; readonly name?: string };
  }[];
}

export function decodeSlice(object: KubeObject): Slice {
  const { metadata = {}, addressType = '', ports, endpoints } = object as RawSlice;
  const numbers: Record<string, number> = {};
  for (const { name = '', port, protocol = 'TCP' } of ports ?? [])
    if (protocol === 'TCP' && port !== undefined) numbers[name] = port;
  const found: SliceEndpoint[] = [];
  const rejected: Rejection[] = [];
  for (const { addresses = [], conditions = {}, zone = '', targetRef } of endpoints ?? []) {
    // All addresses of an endpoint are the same thing, and clients take the first.
    const [first = ''] = addresses;
    const pod = targetRef?.kind === 'Pod' ? targetRef.name : undefined;
    const id = pod ?? first;
    try {
      found.push({
        id,
        isPod: pod !== undefined,
        address: parseAddress(first).text,
        status: statusOf(conditions),
        zone,
      });
    } catch (error) {
      rejected.push({ record: id, reason: reasonOf(error) });
    }
  }
  return {
    namespace: metadata.namespace ?? '',
    name: metadata.name ?? '',
    service: metadata.labels?.['kubernetes.io/service-name'] ?? '',
    family: addressType,
    ports: numbers,
    endpoints: found,
    rejected,
  };
}

/** A condition that is not known counts as ready: https://kubernetes.io/docs/concepts/services-networking/endpoint-slices/#conditions */
function statusOf({
  ready = true,
  serving = ready,
  terminating = false,
}: {
  readonly ready?: boolean;
  readonly serving?: boolean;
  readonly terminating?: boolean;
}): string {
  // Of services that publish addresses which are not ready, all are.
  if (ready) return 'Ready';
  if (!terminating) return 'NotReady';
  return serving ? 'Serving' : 'Terminating';
}

interface RawPod extends KubeObject {
  readonly spec?: {
    readonly nodeName?: string;
    readonly serviceAccountName?: string;
    readonly hostNetwork?: boolean;
  };
  readonly status?: {
    readonly phase?: string;
    readonly podIP?: string;
    readonly podIPs?: readonly { readonly ip?: string }[];
  };
}

/** @returns undefined for a pod that has no address of its own: yet, any more, or at all (hostNetwork shares its node's) */
export function decodePod(object: KubeObject): ClusterPod | undefined {
  const { metadata = {}, spec = {}, status = {} } = object as RawPod;
  if (spec.hostNetwork || status.phase === 'Succeeded' || status.phase === 'Failed') return undefined;
  const ips = status.podIPs ?? [{ ip: status.podIP }];
  const addresses = ips.flatMap(({ ip }) => (ip === undefined ? [] : [parseAddress(ip).text]));
  if (addresses.length === 0) return undefined;
  const { labels = {}, annotations = {} } = metadata;
  return {
    namespace: metadata.namespace ?? '',
    name: metadata.name ?? '',
    addresses,
    account: spec.serviceAccountName ?? 'default',
    transport: transportOf(labels, annotations),
    locality: labelledLocality(labels['istio-locality']),
    network: labels[networkLabel] || undefined,
    node: spec.nodeName ?? '',
    labels: Object.fromEntries(Object.entries(labels).filter(([key]) => !mechanical.test(key))),
    otherLabels: Object.fromEntries(Object.entries(labels).filter(([key]) => mechanical.test(key))),
    since: Date.parse(metadata.creationTimestamp ?? '') || 0,
  };
}

/** Labels that Kubernetes and Istio set for themselves; those of a deployment change with each roll-out. */
const mechanical = /(^|\.)(kubernetes|k8s|istio)\.io\/|^(pod-template-hash|controller-revision-hash|istio-locality)$/;

/** By the label that injection sets, as istiod does: gateways are injected too, have no such label, and take no mutual TLS on their ports. */
function transportOf(labels: Metadata, annotations: Metadata): ClusterPod['transport'] {
  if (labels['security.istio.io/tlsMode'] === 'istio') return 'istio';
  return annotations['ambient.istio.io/redirection'] === 'enabled' ? 'hbone' : undefined;
}

/** A label cannot hold a slash: dots stand for them. */
function labelledLocality(label: string | undefined): string | undefined {
  const text = label?.includes('/') ? label : label?.replaceAll('.', '/');
  return text !== undefined && isLocality(text) ? text : undefined;
}

/** Where a Node is: `region/zone/subzone`; undefined if it does not say its region. */
export function decodeNode({ metadata = {} }: KubeObject): string | undefined {
  const { labels = {} } = metadata;
  const parts = [
    labels['topology.kubernetes.io/region'] ?? labels['failure-domain.beta.kubernetes.io/region'],
    labels['topology.kubernetes.io/zone'] ?? labels['failure-domain.beta.kubernetes.io/zone'],
    labels['topology.istio.io/subzone'],
  ];
  const end = parts.findIndex((part) => part === undefined || part === '');
  const known = end === -1 ? parts : parts.slice(0, end);
  return known.length === 0 ? undefined : known.join('/');
}
