import { randomBytes } from 'node:crypto';
import { Server, ServerCredentials, type ServerDuplexStream, type ServiceDefinition } from '@grpc/grpc-js';
import { EventEmitter } from 'eventemitter3';
import { HealthImplementation } from 'grpc-health-check';
import type { Logger } from 'pino';
import { hostPortText } from '#config/fields.js';
import type { Projection, ProjectionChange } from '#istio/projection.js';
import type { EncodedResource } from '#istio/resource.js';
import { DiscoveryRequest } from '#proto/xds/discovery.js';
import { Pace } from './pace.js';
import { ResourceSet } from './set.js';
import { type ClientState, XdsStream } from './stream.js';

const serviceName = 'envoy.service.discovery.v3.AggregatedDiscoveryService';

const aggregatedDiscovery: ServiceDefinition = {
  streamAggregatedResources: {
    path: `/${serviceName}/StreamAggregatedResources`,
    requestStream: true,
    responseStream: true,
    requestSerialize: (request: DiscoveryRequest) => Buffer.from(DiscoveryRequest.encode(request).finish()),
    requestDeserialize: (bytes: Buffer) => DiscoveryRequest.decode(bytes),
    // Responses are put together from encoded pieces.
    responseSerialize: (bytes: Buffer) => bytes,
    responseDeserialize: (bytes: Buffer) => bytes,
  },
};

/** Where a listener listens, and what it serves. */
export interface XdsListenerOptions {
  readonly host: string;
  /** 0 takes a free one. */
  readonly port: number;
  readonly log: Logger;
  /** Which resources it serves; all, unless given. */
  readonly filter?: (resource: EncodedResource) => boolean;
}

/** Changes of one registry reached a client. Both in ms of `performance.now()`. */
export interface Sent {
  readonly registry: string;
  readonly observedAt: number;
  readonly sentAt: number;
}

/**
 * One address where Istio finds its configuration: a gRPC server for the aggregated discovery service, with health service and keepalive.
 */
export class XdsListener extends EventEmitter<{ sent: [Sent] }> {
  readonly #options: XdsListenerOptions;
  readonly #set: ResourceSet;
  readonly #server: Server;
  readonly #health = new HealthImplementation({ '': 'NOT_SERVING', [serviceName]: 'NOT_SERVING' });
  readonly #streams = new Set<XdsStream>();
  readonly #pace = new Pace(() => this.#push());
  #streamCount = 0;
  readonly #instance = randomBytes(4).toString('hex');

  constructor(projection: Projection, options: XdsListenerOptions) {
    super();
    this.#options = options;
    this.#set = new ResourceSet(options.filter);
    this.#server = new Server({
      'grpc.keepalive_time_ms': 30_000,
      'grpc.keepalive_timeout_ms': 10_000,
      'grpc.max_send_message_length': -1,
    });
    this.#server.addService(aggregatedDiscovery, {
      streamAggregatedResources: (call: ServerDuplexStream<DiscoveryRequest, Buffer>) => this.#serve(call),
    });
    this.#health.addToServer(this.#server);
    projection.on('change', (change) => this.#changed(change));
  }

  /** Opens the port. @returns its number. @throws Error if the address cannot be bound */
  async listen(): Promise<number> {
    const address = hostPortText(this.#options);
    return new Promise((resolve, reject) => {
      this.#server.bindAsync(address, ServerCredentials.createInsecure(), (error, bound) => {
        if (error === null) resolve(bound);
        else reject(new Error(`istio.xds: cannot listen on ${address}: ${error.message}`, { cause: error }));
      });
    });
  }

  /** From now on the set is complete and may be shown. */
  ready(): void {
    if (this.#set.ready) return;
    this.#set.ready = true;
    this.#health.setStatus('', 'SERVING');
    this.#health.setStatus(serviceName, 'SERVING');
    this.#pace.changed();
  }

  clients(): ClientState[] {
    return [...this.#streams].map((stream) => stream.state());
  }

  /** Ends all streams and closes the port. */
  async close(): Promise<void> {
    this.#pace.stop();
    this.#server.forceShutdown();
  }

  #serve(call: ServerDuplexStream<DiscoveryRequest, Buffer>): void {
    const id = `${this.#instance}-${++this.#streamCount}`;
    const stream: XdsStream = new XdsStream(id, call.getPeer(), this.#set, {
      write: (message) => {
        call.write(message, () => stream.written());
      },
      sent: (changes) => {
        const sentAt = performance.now();
        for (const [registry, observedAt] of changes) this.emit('sent', { registry, observedAt, sentAt });
      },
    });
    const log = this.#options.log.child({ client: id, peer: call.getPeer() });
    this.#streams.add(stream);
    log.info('xDS client connected');
    const end = (): void => {
      if (this.#streams.delete(stream)) log.info({ node: stream.state().node }, 'xDS client gone');
    };
    call.on('data', (request: DiscoveryRequest) => {
      stream.request(request);
      if (request.errorDetail !== undefined)
        log.warn({ type: request.typeUrl, reason: request.errorDetail.message }, 'xDS client refused a response');
    });
    call.on('error', end);
    call.on('cancelled', end);
    call.on('end', () => {
      end();
      call.end();
    });
  }

  #changed(change: ProjectionChange): void {
    if (!this.#set.apply(change)) return;
    for (const stream of this.#streams) stream.changed(change.registry, change.cause.observedAt);
    this.#pace.changed();
  }

  #push(): void {
    for (const stream of this.#streams) stream.push();
  }
}
