import {
  type ChannelCredentials,
  Client,
  type ClientDuplexStream,
  type ClientUnaryCall,
  credentials,
  Metadata,
  type ServiceError,
} from '@grpc/grpc-js';
import { type ClientTls, hostPortText, readClientTls } from '#config/fields.js';
import { reasonOf } from '#model/reason.js';
import { Payload } from '#proto/nacos/grpc.js';
import type { NacosServer } from './schema.js';

/** gRPC is on the HTTP port plus this. */
const portOffset = 1_000;
/** ms; the server drops a connection that says nothing for 20 s. */
const heartbeatInterval = 5_000;
/** ms for what a server answers at once if it is well. */
const heartbeatTimeout = 3_000;
/** ms for everything else. */
const requestTimeout = 10_000;
/** ms between two questions whether the server knows us already. */
const setupPause = 20;

/** An answer that says no. `code` is Nacos's: 301 unregistered, 302 unknown request, 403 forbidden, 500 failed. */
export class NacosError extends Error {
  override readonly name = 'NacosError';
  readonly code: number;
  constructor(message: string, code: number) {
    super(message);
    this.code = code;
  }
}

/** The server is well and wants us to go to another one. */
export class ConnectionReset extends Error {
  override readonly name = 'ConnectionReset';
  /** Where it sends us, if it says that. */
  readonly server: NacosServer | undefined;
  constructor(message: string, server: NacosServer | undefined) {
    super(message);
    this.server = server;
  }
}

export interface ConnectionOptions {
  readonly server: NacosServer;
  readonly tls: ClientTls | undefined;
  /** The server told something; it has been acknowledged. @param type simple name of the message's class */
  readonly onTold: (type: string, body: Readonly<Record<string, unknown>>) => void;
  /** The server gave a sign of life. */
  readonly onAlive: () => void;
}

/**
 * One gRPC connection to one Nacos server, which knows its clients by their TCP connections: what is subscribed here is pushed here. A push
 * does not name its namespace, so that each namespace needs a connection of its own.
 *
 * The protocol is that of Nacos's Java client: ServerCheckRequest, then a stream both ways that begins with a ConnectionSetupRequest (without
 * abilities, so that the server adds no further handshake); requests of ours are unary, requests of the server come over the stream and are
 * acknowledged there. A HealthCheckRequest every five seconds keeps the connection and notices a server that hangs.
 */
export class Connection {
  /** Rejects when the connection has ended, with the reason: {@link ConnectionReset} if the server wanted that. */
  readonly lost: Promise<never>;
  readonly #options: ConnectionOptions;
  readonly #shown: string;
  readonly #client: Client;
  readonly #calls = new Set<ClientUnaryCall>();
  #reject: (reason: Error) => void = () => {};
  #stream: ClientDuplexStream<Payload, Payload> | undefined;
  #heartbeat: NodeJS.Timeout | undefined;
  #requests = 0;
  #ended = false;

  /**
   * Connects and waits until the server knows us.
   * @param signal gives up, and ends the connection at any later time
   * @throws Error that names the server and what was wrong
   */
  static async open(options: ConnectionOptions, signal: AbortSignal): Promise<Connection> {
    signal.throwIfAborted();
    const connection = new Connection(options);
    const close = () => connection.close();
    signal.addEventListener('abort', close);
    connection.lost.catch(() => signal.removeEventListener('abort', close));
    try {
      await Promise.race([connection.#setUp(), connection.lost]);
      return connection;
    } catch (error) {
      connection.close();
      throw error;
    }
  }

  private constructor(options: ConnectionOptions) {
    const { host, port } = options.server;
    const address = hostPortText({ host, port: port + portOffset });
    this.#options = options;
    this.#shown = `${address} (gRPC)`;
    this.#client = new Client(address, channelCredentials(options.tls), {
      // Each connection of ours is one TCP connection, and never one that another source has.
      'grpc.use_local_subchannel_pool': 1,
      'grpc.max_receive_message_length': -1,
      'grpc.enable_http_proxy': 0,
      ...(options.tls?.serverName === undefined ? {} : { 'grpc.ssl_target_name_override': options.tls.serverName }),
    });
    this.lost = new Promise((_, reject) => {
      this.#reject = reject;
    });
    this.lost.catch(() => {});
  }

  /**
   * Asks the server.
   * @param type simple name of the request's class
   * @param headers of Nacos's own kind, for whatever lets us in
   * @param timeout ms
   * @returns the answer's fields
   * @throws NacosError if it says no, Error if it does not answer in time or the connection has ended
   */
  async request(
    type: string,
    body: Readonly<Record<string, unknown>>,
    headers: Readonly<Record<string, string>> = {},
    timeout = requestTimeout,
  ): Promise<Readonly<Record<string, unknown>>> {
    const payload = encode(type, { ...body, requestId: `${++this.#requests}` }, headers);
    const answer = decode(await this.#unary(payload, type, timeout)).body;
    if (answer.resultCode !== 200)
      throw new NacosError(
        `${this.#shown}: ${type} answered ${answer.errorCode ?? answer.resultCode} ${answer.message ?? ''}`.trim(),
        Number(answer.errorCode ?? 0),
      );
    return answer;
  }

  /** Ends the connection; what is being asked fails. */
  close(): void {
    this.#end('closed');
  }

  async #setUp(): Promise<void> {
    await this.#ask('ServerCheckRequest');
    const stream = this.#client.makeBidiStreamRequest(
      '/BiRequestStream/requestBiStream',
      serialize,
      Payload.decode,
      new Metadata(),
    );
    this.#stream = stream;
    stream.on('data', (payload: Payload) => this.#receive(payload));
    stream.on('error', (error: ServiceError) => this.#end(error.details));
    stream.on('end', () => this.#end('the server ended the connection'));
    this.#send('ConnectionSetupRequest', {
      clientVersion: 'Pontoon',
      tenant: '',
      labels: { source: 'sdk', module: 'naming', AppName: 'pontoon' },
    });
    await this.#registered();
    this.#beat();
  }

  /** The set-up has no answer: the connection is there as soon as the server does not call it unregistered any more. */
  async #registered(): Promise<void> {
    const start = performance.now();
    for (;;) {
      try {
        await this.#ask('HealthCheckRequest');
        return;
      } catch (error) {
        const unregistered = error instanceof NacosError && error.code === 301;
        if (!unregistered || performance.now() - start > heartbeatTimeout) throw error;
        await new Promise((resolve) => setTimeout(resolve, setupPause));
      }
    }
  }

  /** One missed answer may be a pause of the server; two are a server that hangs. */
  #beat(missed = 0): void {
    if (this.#ended) return;
    const beat = () =>
      this.#ask('HealthCheckRequest').then(
        () => {
          this.#options.onAlive();
          this.#beat();
        },
        (error: Error) => (missed === 0 ? this.#beat(1) : this.#end(error.message)),
      );
    this.#heartbeat = setTimeout(beat, missed === 0 ? heartbeatInterval : 0);
  }

  /** Asks what a server answers at once. */
  async #ask(type: string): Promise<void> {
    await this.request(type, { module: 'internal' }, {}, heartbeatTimeout);
  }

  #receive(payload: Payload): void {
    try {
      const { type, body } = decode(payload);
      this.#options.onAlive();
      if (!acknowledged.has(type)) return;
      const answer = { resultCode: 200, errorCode: 0, requestId: body.requestId };
      const end = () => this.#end(new ConnectionReset(`${this.#shown}: the server wants us elsewhere`, serverIn(body)));
      this.#send(type.replace(/Request$/, 'Response'), answer, type === 'ConnectResetRequest' ? end : undefined);
      this.#options.onTold(type, body);
    } catch (error) {
      this.#end(reasonOf(error));
    }
  }

  #send(type: string, body: Readonly<Record<string, unknown>>, sent?: () => void): void {
    this.#stream?.write(encode(type, body), sent);
  }

  #unary(payload: Payload, type: string, timeout: number): Promise<Payload> {
    return new Promise((resolve, reject) => {
      const failed = (reason: string) => reject(new Error(`${this.#shown}: ${type}: ${reason}`));
      if (this.#ended) return failed('closed');
      const done = (error: ServiceError | null, answer?: Payload) => {
        clearTimeout(timer);
        this.#calls.delete(call);
        if (answer !== undefined) resolve(answer);
        else failed(error?.details ?? 'no answer');
      };
      const call = this.#client.makeUnaryRequest('/Request/request', serialize, Payload.decode, payload, done);
      this.#calls.add(call);
      const timer = setTimeout(() => {
        failed(`no answer within ${timeout} ms`);
        call.cancel();
      }, timeout);
    });
  }

  #end(reason: string | Error): void {
    if (this.#ended) return;
    this.#ended = true;
    clearTimeout(this.#heartbeat);
    for (const call of this.#calls) call.cancel();
    this.#stream?.cancel();
    this.#client.close();
    this.#reject(reason instanceof Error ? reason : new Error(`${this.#shown}: ${reason}`));
  }
}

/** What a server asks of its clients over the stream. */
const acknowledged = new Set([
  'NotifySubscriberRequest',
  'NamingFuzzyWatchSyncRequest',
  'NamingFuzzyWatchChangeNotifyRequest',
  'ConfigChangeNotifyRequest',
  'ClientDetectionRequest',
  'ConnectResetRequest',
  'SetupAckRequest',
  'ConfigChangeNotifyRequest',
]);

/** The HTTP address of the server to which a ConnectResetRequest sends us. */
function serverIn({ serverIp, serverPort }: Record<string, unknown>): NacosServer | undefined {
  const port = Number(serverPort);
  return typeof serverIp === 'string' && serverIp !== '' && port > 0 ? { host: serverIp, port } : undefined;
}

function channelCredentials(tls: ClientTls | undefined): ChannelCredentials {
  if (tls === undefined) return credentials.createInsecure();
  const { ca, cert, key } = readClientTls(tls);
  return credentials.createSsl(ca, key, cert);
}

function serialize(payload: Payload): Buffer {
  return Buffer.from(Payload.encode(payload).finish());
}

function encode(type: string, body: Readonly<Record<string, unknown>>, headers: Record<string, string> = {}): Payload {
  return {
    metadata: { type, clientIp: '', headers },
    body: { typeUrl: '', value: Buffer.from(JSON.stringify(body)) },
  };
}

/** @throws SyntaxError if the body is no JSON */
function decode({ metadata, body }: Payload): { type: string; body: Record<string, unknown> } {
  const fields: unknown = JSON.parse(Buffer.from(body?.value ?? []).toString() || '{}');
  return { type: metadata?.type ?? '', body: typeof fields === 'object' && fields !== null ? { ...fields } : {} };
}
