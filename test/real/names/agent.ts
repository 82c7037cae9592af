import { Client, type ClientDuplexStream, credentials } from '@grpc/grpc-js';
import { NameTable } from '#proto/istio/nametable.js';
import { DiscoveryRequest, DiscoveryResponse, type Node } from '#proto/xds/discovery.js';
import { Listener } from '#proto/xds/listener.js';

const nameTableUrl = 'type.googleapis.com/istio.networking.nds.v1.NameTable';
const listenerUrl = 'type.googleapis.com/envoy.config.listener.v3.Listener';

/** What a sidecar says of itself when it captures DNS. */
export const capturing: Node['metadata'] = {
  NAMESPACE: 'default',
  CLUSTER_ID: 'local',
  ISTIO_VERSION: '1.31.0',
  DNS_CAPTURE: 'true',
};

/** An xDS client of istiod that asks for what Istio's agent and its proxy ask for: the name table, and listeners. */
export class Agent {
  readonly #client: Client;
  readonly #stream: ClientDuplexStream<DiscoveryRequest, DiscoveryResponse>;
  readonly #node: Node;
  /** Host → addresses, as last told; undefined before. */
  names: ReadonlyMap<string, readonly string[]> | undefined;
  /** Name → `address:port`. */
  listeners: ReadonlyMap<string, string> = new Map();
  /** Why the stream ended. */
  error: Error | undefined;

  /** @param address istiod's plaintext gRPC address @param ip the proxy's own; an IPv6 one beside it makes it dual */
  constructor(address: string, ip = '127.0.0.10', metadata = capturing) {
    this.#node = {
      id: `sidecar~${ip}~client.default~default.svc.cluster.local`,
      cluster: 'client.default',
      metadata,
      userAgentName: 'envoy',
    };
    this.#client = new Client(address, credentials.createInsecure(), { 'grpc.max_receive_message_length': -1 });
    this.#stream = this.#client.makeBidiStreamRequest(
      '/envoy.service.discovery.v3.AggregatedDiscoveryService/StreamAggregatedResources',
      (request: DiscoveryRequest) => Buffer.from(DiscoveryRequest.encode(request).finish()),
      (bytes: Buffer) => DiscoveryResponse.decode(bytes),
    );
    this.#stream.on('data', (response: DiscoveryResponse) => this.#take(response));
    this.#stream.on('error', (error) => {
      this.error = error;
    });
    this.#ask(listenerUrl);
    this.#ask(nameTableUrl);
  }

  close(): void {
    this.#stream.cancel();
    this.#client.close();
  }

  #take(response: DiscoveryResponse): void {
    const { typeUrl, resources } = response;
    if (typeUrl === listenerUrl)
      this.listeners = new Map(
        resources.map(({ value }) => {
          const { name, address } = Listener.decode(value);
          return [name, `${address?.socketAddress?.address}:${address?.socketAddress?.portValue}`];
        }),
      );
    else if (typeUrl === nameTableUrl && resources[0] !== undefined) {
      const { table } = NameTable.decode(resources[0].value);
      this.names = new Map(Object.entries(table).map(([host, { ips }]) => [host, ips]));
    }
    this.#ask(typeUrl, response);
  }

  #ask(typeUrl: string, answered?: DiscoveryResponse): void {
    this.#stream.write({
      typeUrl,
      resourceNames: [],
      node: this.#node,
      versionInfo: answered?.versionInfo ?? '',
      responseNonce: answered?.nonce ?? '',
      errorDetail: undefined,
    });
  }
}
