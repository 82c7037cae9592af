import { createServer, type Socket } from 'node:net';
import { Metadata, Server, type ServerCredentials, type ServerDuplexStream, status } from '@grpc/grpc-js';
import { HealthImplementation } from 'grpc-health-check';
import type { Logger } from 'pino';
import { hostPortText } from '#config/fields.js';
import { reasonOf } from '#model/reason.js';
import { DeltaStream } from './delta.js';
import { type Admission, refusals } from './identity.js';
import { Pace, Pauses } from './pace.js';
import { Quiet } from './quiet.js';
import { aggregatedDiscovery, serviceName } from './service.js';
import type { ChangedNames, ResourceSet } from './set.js';
import { SotwStream } from './sotw.js';
import {
  type ClientState,
  type ClientStream,
  type Connection,
  LimitError,
  type Request,
  type StreamOutput,
} from './stream.js';

/** What a door bears. Times in ms. */
export interface DoorLimits {
  /** Streams at a time. */
  readonly maxStreams: number;
  /** A client that has asked for nothing after this time is sent away. */
  readonly silence: number;
  /** A client that has not taken what it was sent within this time is cut off: what is kept for it would stay for ever. */
  readonly stall: number;
}

/** ms between two pushes while changes keep coming: a whole set costs its size each time, changes cost what they are. */
const longestPause = { sotw: 200, delta: 20 };

/** A client's request may be so many bytes: names and versions of 50,000 resources. */
const largestRequest = 4 * 1024 * 1024;

/** Why a stream was refused, or ended by us. */
export type Refused = 'no certificate' | 'not allowed' | 'too many streams' | 'silent' | 'stalled' | 'too much asked';

export interface DoorOptions {
  readonly host: string;
  /** 0 takes a free one. */
  readonly port: number;
  readonly shard: number;
  /** The listener's address, as configured. */
  readonly listener: string;
  readonly credentials: ServerCredentials;
  /** Undefined without mutual TLS. */
  readonly admission: Admission | undefined;
  readonly limits: DoorLimits;
  readonly log: Logger;
  /** Begins the ids of streams; unique in the world. */
  readonly instance: string;
  readonly sent: (changes: ReadonlyMap<string, number>) => void;
  readonly pushed: (bytes: number) => void;
  readonly refused: (reason: Refused) => void;
}

type Call = ServerDuplexStream<unknown, Buffer>;

/** One port: a gRPC server of the aggregated discovery service for one set, with health service and keepalive. */
export class XdsDoor {
  readonly #set: ResourceSet;
  readonly #options: DoorOptions;
  readonly #server: Server;
  /** The connections are made here and handed to gRPC, so that one that is stuck can be cut. */
  readonly #listener = createServer((socket) => this.#connected(socket));
  readonly #sockets = new Map<string, Socket>();
  readonly #inject: (socket: Socket) => void;
  readonly #health = new HealthImplementation({ '': 'NOT_SERVING', [serviceName]: 'NOT_SERVING' });
  readonly #streams = new Set<ClientStream>();
  readonly #paces = {
    sotw: new Pace(() => this.#push('sotw'), longestPause.sotw),
    delta: new Pace(() => this.#push('delta'), longestPause.delta),
  };
  readonly #pauses = new Pauses();
  readonly #quiet = new Quiet();
  #streamCount = 0;
  #port = 0;

  constructor(set: ResourceSet, options: DoorOptions) {
    this.#set = set;
    this.#options = options;
    this.#server = new Server({
      'grpc.keepalive_time_ms': 30_000,
      'grpc.keepalive_timeout_ms': 10_000,
      'grpc.max_connection_idle_ms': 60_000,
      'grpc.max_send_message_length': -1,
      'grpc.max_receive_message_length': largestRequest,
      'grpc.max_concurrent_streams': options.limits.maxStreams + 1,
    });
    this.#server.addService(aggregatedDiscovery, {
      streamAggregatedResources: (call: Call) => this.#serve(call, SotwStream),
      deltaAggregatedResources: (call: Call) => this.#serve(call, DeltaStream),
    });
    this.#health.addToServer(this.#server);
    const injector = this.#server.createConnectionInjector(options.credentials);
    this.#inject = (socket) => injector.injectConnection(socket);
    // Health probes have connections too.
    this.#listener.maxConnections = 2 * options.limits.maxStreams + 10;
  }

  /** The port's number; as configured until it is open. */
  get port(): number {
    return this.#port || this.#options.port;
  }

  get streams(): number {
    return this.#streams.size;
  }

  /** Opens the port. @throws Error if the address cannot be bound */
  async open(): Promise<void> {
    const { host, port } = this.#options;
    await new Promise<void>((resolve, reject) => {
      this.#listener.once('error', (error) =>
        reject(
          new Error(`istio.xds: cannot listen on ${hostPortText({ host, port })}: ${reasonOf(error)}`, {
            cause: error,
          }),
        ),
      );
      this.#listener.listen({ host: host.replace(/^\[|\]$/g, ''), port }, resolve);
    });
    const address = this.#listener.address();
    if (typeof address === 'object' && address !== null) this.#port = address.port;
  }

  /** From now on the set is complete and may be shown. */
  ready(): void {
    if (this.#set.ready) return;
    this.#set.ready = true;
    this.#health.setStatus('', 'SERVING');
    this.#health.setStatus(serviceName, 'SERVING');
    this.look();
  }

  /** What was not shown may be shown now. */
  look(): void {
    for (const { protocol } of this.#streams) this.#paces[protocol].changed();
  }

  /** The set has changed. @param observedAt as in {@link Cause} */
  changed(names: ChangedNames, registry: string, observedAt: number): void {
    if (this.#streams.size === 0) return;
    for (const stream of this.#streams) stream.changed(names, registry, observedAt);
    this.look();
  }

  clients(): ClientState[] {
    return [...this.#streams].map((stream) => stream.state());
  }

  /** Ends all streams and closes the port: what clients have stays theirs. */
  async close(): Promise<void> {
    this.#set.ready = false;
    for (const pace of Object.values(this.#paces)) pace.stop();
    const closed = new Promise((resolve) => this.#listener.close(resolve));
    this.#server.forceShutdown();
    for (const socket of this.#sockets.values()) socket.destroy();
    await closed;
  }

  #connected(socket: Socket): void {
    const peer = `${socket.remoteAddress}:${socket.remotePort}`;
    this.#sockets.set(peer, socket);
    socket.once('close', () => this.#sockets.delete(peer));
    socket.on('error', () => undefined);
    this.#inject(socket);
  }

  /** @returns the client's name; undefined without mutual TLS, null if it was sent away */
  #admit(call: Call): string | undefined | null {
    const { admission, limits } = this.#options;
    const client = admission?.(call.getAuthContext());
    if (client !== undefined && 'refused' in client) {
      const code = client.refused === 'no certificate' ? status.UNAUTHENTICATED : status.PERMISSION_DENIED;
      this.#refuse(call, client.refused, code, refusals[client.refused]);
      return null;
    }
    if (this.#streams.size >= limits.maxStreams) {
      const text = `this port serves ${limits.maxStreams} streams at a time (maxStreams)`;
      this.#refuse(call, 'too many streams', status.RESOURCE_EXHAUSTED, text);
      return null;
    }
    return client?.name;
  }

  #refuse(call: Call, reason: Refused, code: status, details: string): void {
    this.#options.refused(reason);
    const { log, listener, shard } = this.#options;
    log[this.#quiet.level()]({ peer: call.getPeer(), listener, shard, reason }, 'xDS client refused');
    call.emit('error', { name: 'refused', message: details, code, details, metadata: new Metadata() });
  }

  #serve<Asked extends Request>(
    call: Call,
    Protocol: new (connection: Connection, set: ResourceSet, output: StreamOutput) => ClientStream<Asked>,
  ): void {
    const identity = this.#admit(call);
    if (identity === null) return;
    const { instance, shard, listener, limits, log: allLog } = this.#options;
    const peer = call.getPeer();
    const id = `${instance}-${shard}-${++this.#streamCount}`;
    const connection: Connection = { id, peer, listener, shard, identity };
    const log = allLog.child({ client: id, peer });
    // Which client it is, over its reconnections.
    let client = '';
    let waiting: NodeJS.Timeout | undefined = setTimeout(
      () => refuse('silent', status.DEADLINE_EXCEEDED, `nothing was asked for in ${limits.silence} ms`),
      limits.silence,
    );
    let stalled: NodeJS.Timeout | undefined;
    const stream = new Protocol(connection, this.#set, {
      write: (message) => {
        this.#pauses.sent(client, message.length);
        this.#options.pushed(message.length);
        stalled = setTimeout(() => {
          refuse('stalled', status.RESOURCE_EXHAUSTED, 'the client takes nothing');
          // gRPC would wait for it to take the rest.
          this.#sockets.get(peer)?.destroy();
        }, limits.stall);
        call.write(message, () => {
          clearTimeout(stalled);
          goOn();
        });
      },
      sent: this.#options.sent,
    });
    const goOn = (): void => {
      const left = this.#pauses.left(client);
      if (!this.#streams.has(stream)) return;
      if (left < 1) stream.written();
      else waiting = setTimeout(() => stream.written(), left);
    };
    const end = (): void => {
      clearTimeout(waiting);
      clearTimeout(stalled);
      if (this.#streams.delete(stream)) log[this.#quiet.level()]({ node: stream.node }, 'xDS client gone');
    };
    const refuse = (reason: Refused, code: status, details: string): void => this.#refuse(call, reason, code, details);
    this.#streams.add(stream);
    log[this.#quiet.level()]({ protocol: stream.protocol, listener, shard, identity }, 'xDS client connected');
    call.on('data', (request: Asked) => {
      if (!this.#streams.has(stream)) return;
      if (stream.requests === 0) {
        clearTimeout(waiting);
        client = `${peer.slice(0, peer.lastIndexOf(':'))} ${request.node?.id ?? ''}`.slice(0, 300);
        stream.hold();
      }
      const isFirst = stream.requests === 0;
      try {
        stream.request(request);
      } catch (error) {
        if (!(error instanceof LimitError)) throw error;
        refuse('too much asked', status.RESOURCE_EXHAUSTED, error.message);
        return;
      }
      if (isFirst) goOn();
      if (request.errorDetail !== undefined)
        log[this.#quiet.level() === 'info' ? 'warn' : 'debug'](
          { type: request.typeUrl, reason: request.errorDetail.message.slice(0, 1_000) },
          'xDS client refused a response',
        );
    });
    call.on('error', end);
    call.on('cancelled', end);
    call.on('end', () => {
      end();
      call.end();
    });
  }

  #push(protocol: ClientStream['protocol']): void {
    for (const stream of this.#streams) if (stream.protocol === protocol) stream.push();
  }
}
