import {
  Client,
  type ClientDuplexStream,
  credentials,
  Metadata,
  Server,
  ServerCredentials,
  type ServerDuplexStream,
  type ServiceDefinition,
  status,
} from '@grpc/grpc-js';
import { DiscoveryRequest, DiscoveryResponse } from '#proto/xds/discovery.js';

const path = '/envoy.service.discovery.v3.AggregatedDiscoveryService/StreamAggregatedResources';
const asked = 'networking.istio.io/v1/ServiceEntry';
const known = 'networking.istio.io/v1alpha3/ServiceEntry';

const encodeRequest = (request: DiscoveryRequest): Buffer => Buffer.from(DiscoveryRequest.encode(request).finish());
const encodeResponse = (response: DiscoveryResponse): Buffer =>
  Buffer.from(DiscoveryResponse.encode(response).finish());
const decodeRequest = (bytes: Buffer): DiscoveryRequest => DiscoveryRequest.decode(bytes);
const decodeResponse = (bytes: Buffer): DiscoveryResponse => DiscoveryResponse.decode(bytes);

const service: ServiceDefinition = {
  streamAggregatedResources: {
    path,
    requestStream: true,
    responseStream: true,
    requestSerialize: encodeRequest,
    requestDeserialize: decodeRequest,
    responseSerialize: encodeResponse,
    responseDeserialize: decodeResponse,
  },
};

/**
 * Stands between istiod and the config source of Nacos 2.3.2, which knows ServiceEntries under their old type URL only, while istiod asks for the new one: rewrites that
 * both ways and passes on all else as it is, the end of the stream included.
 */
export class Relay {
  readonly #server = new Server();
  readonly #upstream: Client;

  /** @param upstream `host:port` of the config source */
  constructor(upstream: string) {
    // A lost connection is tried again each second at most: how long istiod has to wait must not be the relay's doing.
    const eager = { 'grpc.initial_reconnect_backoff_ms': 200, 'grpc.max_reconnect_backoff_ms': 1_000 };
    this.#upstream = new Client(upstream, credentials.createInsecure(), {
      ...eager,
      'grpc.max_receive_message_length': -1,
    });
    this.#server.addService(service, {
      streamAggregatedResources: (call: ServerDuplexStream<DiscoveryRequest, DiscoveryResponse>) => this.#join(call),
    });
  }

  /** @returns istiod's config source: `xds://host:port` */
  async listen(): Promise<string> {
    const port = await new Promise<number>((resolve, reject) =>
      this.#server.bindAsync('127.0.0.1:0', ServerCredentials.createInsecure(), (error, bound) =>
        error === null ? resolve(bound) : reject(error),
      ),
    );
    return `xds://127.0.0.1:${port}`;
  }

  close(): void {
    this.#server.forceShutdown();
    this.#upstream.close();
  }

  #join(down: ServerDuplexStream<DiscoveryRequest, DiscoveryResponse>): void {
    const up: ClientDuplexStream<DiscoveryRequest, DiscoveryResponse> = this.#upstream.makeBidiStreamRequest(
      path,
      encodeRequest,
      decodeResponse,
      new Metadata(),
    );
    down.on('data', (request: DiscoveryRequest) => up.write(renamed(request, asked, known)));
    up.on('data', (response: DiscoveryResponse) => down.write(renamed(response, known, asked)));
    down.on('end', () => up.end());
    down.on('cancelled', () => up.cancel());
    up.on('error', ({ code = status.UNKNOWN, message }: { code?: number; message: string }) =>
      down.emit('error', { code, details: message }),
    );
    up.on('end', () => down.end());
  }
}

function renamed<M extends { readonly typeUrl: string }>(message: M, from: string, to: string): M {
  return message.typeUrl === from ? { ...message, typeUrl: to } : message;
}
