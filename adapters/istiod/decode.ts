import { parseAddress } from '#model/address.js';
import { reasonOf } from '#model/reason.js';
import type { Metadata, Rejection } from '#model/service.js';
import { Cluster, Cluster_DiscoveryType as Discovery, HttpProtocolOptions } from '#proto/xds/cluster.js';
import {
  ClusterLoadAssignment,
  HealthStatus,
  type LbEndpoint,
  type Locality,
  type Metadata as XdsMetadata,
} from '#proto/xds/endpoint.js';

/** One port of a service, as a proxy's outbound cluster says it. */
export interface MeshCluster {
  readonly name: string;
  readonly host: string;
  /** The service's own port. */
  readonly port: number;
  /** Istio's name and namespace of the service: of a ServiceEntry the host, and the entry's namespace. */
  readonly service: string;
  readonly namespace: string;
  /** Whether it speaks HTTP/2 for sure: its port says so, by `http2` or `grpc`. */
  readonly isHttp2: boolean;
  /** Name of its endpoint set; undefined if there is none to be asked for. */
  readonly endpointSet: string | undefined;
  /** Endpoints in the cluster itself: DNS names. */
  readonly inline: Endpoints;
  /** What people should know: that a sidecar is not told its endpoints. */
  readonly note: string | undefined;
}

/** An endpoint of one port. */
export interface MeshEndpoint {
  readonly address: string;
  readonly port: number;
  /** A word of the health table. */
  readonly status: string;
  readonly weight: number;
  readonly locality: string | undefined;
  readonly metadata: Metadata;
}

export interface Endpoints {
  readonly endpoints: readonly MeshEndpoint[];
  readonly rejected: readonly Rejection[];
}

const none: Endpoints = { endpoints: [], rejected: [] };
const httpOptions = 'envoy.extensions.upstreams.http.v3.HttpProtocolOptions';

/** Reads a cluster. @returns undefined for what is no service: inbound and passthrough clusters, and subsets. @throws Error if it cannot be decoded */
export function decodeCluster(bytes: Uint8Array): MeshCluster | undefined {
  const cluster = Cluster.decode(bytes);
  const { name, type, edsClusterConfig, metadata, loadAssignment } = cluster;
  const place = placeOf(name);
  if (place === undefined) return undefined;
  const options = cluster.typedExtensionProtocolOptions[httpOptions];
  const http = options === undefined ? undefined : HttpProtocolOptions.decode(options.value);
  return {
    name,
    ...place,
    ...serviceOf(place.host, metadata),
    isHttp2: http?.explicitHttpConfig?.http2ProtocolOptions !== undefined,
    endpointSet: type === Discovery.EDS ? edsClusterConfig?.serviceName || name : undefined,
    inline: loadAssignment === undefined ? none : endpointsOf(loadAssignment),
    note:
      type === Discovery.ORIGINAL_DST
        ? 'a sidecar is not told its endpoints, since it is headless or passed through: ask as a router (node.id)'
        : undefined,
  };
}

/** `outbound|<port>|<subset>|<host>`, of which subsets are left out. */
export function placeOf(cluster: string): Pick<MeshCluster, 'host' | 'port'> | undefined {
  const [direction, port, subset, host] = cluster.split('|');
  if (direction !== 'outbound' || subset !== '' || host === undefined || host === '') return undefined;
  return { host: host.toLowerCase(), port: Number(port) };
}

/** What istiod says in the metadata `istio: {services: [{host, name, namespace}]}`; older ones say nothing, and then the host does. */
function serviceOf(host: string, metadata: XdsMetadata | undefined): Pick<MeshCluster, 'service' | 'namespace'> {
  const services: unknown = metadata?.filterMetadata.istio?.services;
  const [first] = Array.isArray(services) ? (services as { name?: unknown; namespace?: unknown }[]) : [];
  if (typeof first?.name === 'string' && typeof first.namespace === 'string')
    return { service: first.name, namespace: first.namespace };
  const [name, namespace, svc] = host.split('.');
  return svc === 'svc' ? { service: name ?? '', namespace: namespace ?? '' } : { service: host, namespace: '' };
}

/** Reads an endpoint set. @throws Error if it cannot be decoded */
export function decodeEndpoints(bytes: Uint8Array): Endpoints & { readonly name: string } {
  const assignment = ClusterLoadAssignment.decode(bytes);
  return { name: assignment.clusterName, ...endpointsOf(assignment) };
}

function endpointsOf({ endpoints: groups }: ClusterLoadAssignment): Endpoints {
  const endpoints: MeshEndpoint[] = [];
  const rejected: Rejection[] = [];
  for (const { locality, lbEndpoints } of groups)
    for (const endpoint of lbEndpoints) {
      const { socketAddress, pipe } = endpoint.endpoint?.address ?? {};
      const record = pipe?.path ?? `${socketAddress?.address ?? 'no address'}:${socketAddress?.portValue ?? 0}`;
      try {
        if (socketAddress === undefined) throw new Error('it is no address that can be dialled from elsewhere');
        endpoints.push({
          address: parseAddress(socketAddress.address).text,
          port: socketAddress.portValue,
          ...detailsOf(endpoint),
          locality: localityOf(locality),
        });
      } catch (error) {
        rejected.push({ record, reason: reasonOf(error) });
      }
    }
  return { endpoints, rejected };
}

function detailsOf({ healthStatus, loadBalancingWeight, metadata }: LbEndpoint) {
  return {
    status: statuses[healthStatus] ?? 'Ready',
    weight: loadBalancingWeight?.value ?? 1,
    metadata: metadataOf(metadata),
  };
}

/** Kubernetes' words, since most of what istiod knows comes from there. What it does not say is well. */
const statuses: Readonly<Partial<Record<HealthStatus, string>>> = {
  [HealthStatus.UNHEALTHY]: 'NotReady',
  [HealthStatus.TIMEOUT]: 'NotReady',
  [HealthStatus.DRAINING]: 'Serving',
};

/** What istiod says of the workload behind an endpoint: `workload;namespace;canonical name;canonical revision;cluster`, and whether it takes mutual TLS. */
function metadataOf(metadata: XdsMetadata | undefined): Metadata {
  const { istio, 'envoy.transport_socket_match': match } = metadata?.filterMetadata ?? {};
  const [workload, namespace, app, version, cluster] =
    typeof istio?.workload === 'string' ? istio.workload.split(';') : [];
  const tlsMode: unknown = match?.tlsMode;
  // Of an endpoint in a ServiceEntry istiod makes a name up, by its place in the list: it would change when another one goes.
  const isMadeUp = workload === app && /-\d+$/.test(workload ?? '');
  const said = { ...(isMadeUp ? {} : { workload, app }), namespace, version, cluster, tlsMode };
  return Object.fromEntries(
    Object.entries(said).filter((pair): pair is [string, string] => typeof pair[1] === 'string' && pair[1] !== ''),
  );
}

function localityOf(locality: Locality | undefined): string | undefined {
  const parts = [locality?.region, locality?.zone, locality?.subZone];
  const end = parts.findIndex((part) => part === undefined || part === '');
  const known = end === -1 ? parts : parts.slice(0, end);
  return known.length === 0 ? undefined : known.join('/');
}
