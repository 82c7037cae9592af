import { Client, type ClientDuplexStream, credentials } from '@grpc/grpc-js';
import { DiscoveryRequest, DiscoveryResponse } from '#proto/xds/discovery.js';
import { ClusterLoadAssignment } from '#proto/xds/endpoint.js';

/** A client of istiod that asks for the endpoints of one cluster, as a sidecar does that calls nothing else. */
export class EndpointWatcher {
  readonly #cluster: string;
  readonly #client: Client;
  readonly #stream: ClientDuplexStream<DiscoveryRequest, DiscoveryResponse>;
  #endpoints = -1;
  #awaited: { readonly count: number; readonly done: () => void } | undefined;

  /** @param address istiod's plaintext gRPC address */
  constructor(address: string, cluster: string) {
    this.#cluster = cluster;
    this.#client = new Client(address, credentials.createInsecure());
    this.#stream = this.#client.makeBidiStreamRequest(
      '/envoy.service.discovery.v3.AggregatedDiscoveryService/StreamAggregatedResources',
      (request: DiscoveryRequest) => Buffer.from(DiscoveryRequest.encode(request).finish()),
      (bytes: Buffer) => DiscoveryResponse.decode(bytes),
    );
    this.#stream.on('data', (response: DiscoveryResponse) => {
      this.#ask(response);
      for (const { value } of response.resources) {
        const { clusterName, endpoints } = ClusterLoadAssignment.decode(value);
        if (clusterName !== cluster) continue;
        this.#endpoints = endpoints.reduce((sum, { lbEndpoints }) => sum + lbEndpoints.length, 0);
        if (this.#awaited?.count === this.#endpoints) this.#awaited.done();
      }
    });
    this.#stream.on('error', () => undefined);
    this.#ask(undefined);
  }

  /** Resolves when it has so many endpoints; one call at a time. */
  has(count: number): Promise<void> {
    if (this.#endpoints === count) return Promise.resolve();
    return new Promise((done) => {
      this.#awaited = { count, done };
    });
  }

  close(): void {
    this.#stream.cancel();
    this.#client.close();
  }

  #ask(answered: DiscoveryResponse | undefined): void {
    this.#stream.write({
      typeUrl: 'type.googleapis.com/envoy.config.endpoint.v3.ClusterLoadAssignment',
      resourceNames: [this.#cluster],
      node: {
        id: 'sidecar~127.0.0.9~app.default~default.svc.cluster.local',
        cluster: 'app.default',
        metadata: { NAMESPACE: 'default', CLUSTER_ID: 'local', ISTIO_VERSION: '1.31.0' },
        userAgentName: 'envoy',
      },
      versionInfo: answered?.versionInfo ?? '',
      responseNonce: answered?.nonce ?? '',
      errorDetail: undefined,
    });
  }
}
