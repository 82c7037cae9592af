import {
  Client,
  type ClientDuplexStream,
  credentials,
  Server,
  ServerCredentials,
  type ServerDuplexStream,
} from '@grpc/grpc-js';
import { freePort } from '#test/servers/ports.js';

const path = '/envoy.service.discovery.v3.AggregatedDiscoveryService/StreamAggregatedResources';
const asIs = (bytes: Buffer) => bytes;

/** A gRPC server before an istiod that knows no stream of changes, as other control planes and old proxies on the way do. */
export class StateRelay {
  readonly #server = new Server({ 'grpc.max_receive_message_length': -1 });
  readonly #client: Client;
  address = '';
  /** What becomes of an answer on its way. */
  through: (message: Buffer) => Buffer = asIs;
  /** Requests that came. */
  readonly requests: Buffer[] = [];

  constructor(istiod: string) {
    this.#client = new Client(istiod, credentials.createInsecure(), { 'grpc.max_receive_message_length': -1 });
  }

  async open(): Promise<this> {
    const definition = {
      stream: {
        path,
        requestStream: true,
        responseStream: true,
        requestSerialize: asIs,
        requestDeserialize: asIs,
        responseSerialize: asIs,
        responseDeserialize: asIs,
      },
    };
    this.#server.addService(definition, { stream: (call: ServerDuplexStream<Buffer, Buffer>) => this.#join(call) });
    this.address = `127.0.0.1:${await freePort()}`;
    await new Promise<void>((resolve, reject) =>
      this.#server.bindAsync(this.address, ServerCredentials.createInsecure(), (error) =>
        error ? reject(error) : resolve(),
      ),
    );
    return this;
  }

  close(): void {
    this.#server.forceShutdown();
    this.#client.close();
  }

  #join(call: ServerDuplexStream<Buffer, Buffer>): void {
    const way: ClientDuplexStream<Buffer, Buffer> = this.#client.makeBidiStreamRequest(path, asIs, asIs);
    call.on('data', (request: Buffer) => {
      this.requests.push(request);
      way.write(request);
    });
    way.on('data', (answer: Buffer) => call.write(this.through(answer)));
    way.on('error', () => call.end());
    call.on('cancelled', () => way.cancel());
  }
}
