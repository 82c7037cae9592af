import { Client, type ClientDuplexStream, credentials } from '@grpc/grpc-js';
import { Cluster } from '#proto/xds/cluster.js';
import { DiscoveryRequest, DiscoveryResponse, type Node } from '#proto/xds/discovery.js';
import { ClusterLoadAssignment } from '#proto/xds/endpoint.js';
import { until } from '#test/servers/probes.js';

const clusterUrl = 'type.googleapis.com/envoy.config.cluster.v3.Cluster';
const endpointUrl = 'type.googleapis.com/envoy.config.endpoint.v3.ClusterLoadAssignment';

const node: Node = {
  id: 'sidecar~127.0.0.9~app.default~default.svc.cluster.local',
  cluster: 'app.default',
  metadata: { NAMESPACE: 'default', CLUSTER_ID: 'local', ISTIO_VERSION: '1.31.0' },
  userAgentName: 'envoy',
};

/** An endpoint as a sidecar gets it. */
export interface SidecarEndpoint {
  /** `address:port`. */
  readonly address: string;
  readonly weight: number;
  /** `region/zone/subzone`, without empty ends. */
  readonly locality: string;
}

/** An xDS client of istiod that asks for what a sidecar asks for: clusters, and the endpoints of each. */
export class Sidecar {
  readonly #client: Client;
  readonly #stream: ClientDuplexStream<DiscoveryRequest, DiscoveryResponse>;
  readonly #endpoints = new Map<string, readonly SidecarEndpoint[]>();
  readonly #versions = new Map<string, readonly string[]>();
  #asked: readonly string[] = [];
  /** How many responses have come. */
  responses = 0;
  /** Called after each response. */
  changed: () => void = () => undefined;

  /** @param address istiod's plaintext gRPC address */
  constructor(address: string) {
    this.#client = new Client(address, credentials.createInsecure(), { 'grpc.max_receive_message_length': -1 });
    this.#stream = this.#client.makeBidiStreamRequest(
      '/envoy.service.discovery.v3.AggregatedDiscoveryService/StreamAggregatedResources',
      (request: DiscoveryRequest) => Buffer.from(DiscoveryRequest.encode(request).finish()),
      (bytes: Buffer) => DiscoveryResponse.decode(bytes),
    );
    this.#stream.on('data', (response: DiscoveryResponse) => this.#take(response));
    this.#stream.on('error', () => undefined);
    this.#ask(clusterUrl, [], undefined);
  }

  /** The endpoints of a host's port, sorted; undefined if the sidecar has no such cluster. */
  endpoints(host: string, port: number): readonly SidecarEndpoint[] | undefined {
    return this.#endpoints.get(`outbound|${port}||${host}`);
  }

  addresses(host: string, port: number): string[] | undefined {
    return this.endpoints(host, port)?.map(({ address }) => address);
  }

  /** The canonical revisions of a host's endpoints, in what istiod says of their workloads. */
  versions(host: string, port: number): readonly string[] | undefined {
    return this.#versions.get(`outbound|${port}||${host}`);
  }

  /** How many clusters have endpoint sets. */
  get size(): number {
    return this.#endpoints.size;
  }

  /** Waits until the endpoints of a host's port are these. @returns ms that it took */
  async has(host: string, port: number, addresses: readonly string[], timeoutMs = 30_000): Promise<number> {
    const start = performance.now();
    const wanted = [...addresses].sort().join();
    await until(
      `${host}:${port} at the sidecar has [${wanted}]`,
      () => this.addresses(host, port)?.join() === wanted,
      timeoutMs,
      2,
    ).catch((error: unknown) => {
      throw new Error(`${String(error)}; it has [${this.addresses(host, port)?.join() ?? 'no such cluster'}]`);
    });
    return performance.now() - start;
  }

  close(): void {
    this.#stream.cancel();
    this.#client.close();
  }

  #take(response: DiscoveryResponse): void {
    this.responses++;
    if (response.typeUrl === clusterUrl) {
      const names = response.resources
        .map(({ value }) => Cluster.decode(value).name)
        .filter((name) => name.startsWith('outbound|'));
      this.#ask(clusterUrl, [], response);
      for (const name of this.#endpoints.keys()) if (!names.includes(name)) this.#endpoints.delete(name);
      this.#asked = names;
      this.#ask(endpointUrl, names, undefined);
      return;
    }
    for (const { value } of response.resources) {
      const assignment = ClusterLoadAssignment.decode(value);
      this.#endpoints.set(assignment.clusterName, endpointsOf(assignment));
      this.#versions.set(assignment.clusterName, versionsOf(assignment));
    }
    this.#ask(endpointUrl, this.#asked, response);
    this.changed();
  }

  #ask(typeUrl: string, resourceNames: readonly string[], answered: DiscoveryResponse | undefined): void {
    this.#stream.write({
      typeUrl,
      resourceNames: [...resourceNames],
      node,
      versionInfo: answered?.versionInfo ?? '',
      responseNonce: answered?.nonce ?? '',
      errorDetail: undefined,
    });
  }
}

function endpointsOf({ endpoints }: ClusterLoadAssignment): SidecarEndpoint[] {
  return endpoints
    .flatMap(({ locality, lbEndpoints }) =>
      lbEndpoints.map(({ endpoint, loadBalancingWeight }) => {
        const socket = endpoint?.address?.socketAddress;
        const parts = [locality?.region, locality?.zone, locality?.subZone];
        return {
          address: `${socket?.address}:${socket?.portValue}`,
          weight: loadBalancingWeight?.value ?? 0,
          locality: parts.filter((part) => part !== undefined && part !== '').join('/'),
        };
      }),
    )
    .sort((a, b) => (a.address < b.address ? -1 : 1));
}

function versionsOf({ endpoints }: ClusterLoadAssignment): string[] {
  return endpoints.flatMap(({ lbEndpoints }) =>
    lbEndpoints.map(({ metadata }) => String(metadata?.filterMetadata.istio?.workload ?? '').split(';')[3] ?? ''),
  );
}
