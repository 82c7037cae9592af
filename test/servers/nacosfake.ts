import {
  Server,
  ServerCredentials,
  type ServerDuplexStream,
  type ServerUnaryCall,
  type sendUnaryData,
} from '@grpc/grpc-js';
import { Payload } from '#proto/nacos/grpc.js';
import { freePorts } from '#test/servers/ports.js';

type Body = Record<string, unknown>;

/** What a client sent. */
export interface FakeRequest {
  readonly type: string;
  readonly headers: Readonly<Record<string, string>>;
  readonly body: Body;
}

/**
 * A fake of a Nacos server's gRPC end, for what a real one cannot be made to do. It answers what keeps a connection, and the rest as the
 * test says.
 */
export class FakeNacosGrpc {
  readonly #server = new Server();
  /** What clients sent over the stream. */
  readonly streamed: FakeRequest[] = [];
  /** What clients asked. */
  readonly asked: FakeRequest[] = [];
  stream: ServerDuplexStream<Payload, Payload> | undefined;
  /** Health checks that are answered "unregistered" before the first that is not. */
  unregistered = 0;
  /** Answers nothing any more. */
  hangs = false;
  /** The answer to a request: its fields, beside those of every answer; undefined for an error. */
  answer: (request: FakeRequest) => Body | undefined = () => ({});

  /** Listens on loopback. @returns the HTTP port that a client is to be told; the gRPC port is that plus 1000 */
  async start(): Promise<number> {
    const codec = {
      requestSerialize: serialize,
      requestDeserialize: Payload.decode,
      responseSerialize: serialize,
      responseDeserialize: Payload.decode,
    };
    const unary = { path: '/Request/request', requestStream: false, responseStream: false, ...codec };
    const stream = { path: '/BiRequestStream/requestBiStream', requestStream: true, responseStream: true, ...codec };
    this.#server.addService(
      { unary, stream },
      {
        unary: (call: ServerUnaryCall<Payload, Payload>, done: sendUnaryData<Payload>) =>
          this.#answer(parse(call.request), done),
        stream: (stream: ServerDuplexStream<Payload, Payload>) => {
          this.stream = stream;
          stream.on('data', (payload: Payload) => this.streamed.push(parse(payload)));
          stream.on('error', () => {});
          stream.on('end', () => stream.end());
        },
      },
    );
    const port = await freePorts([0, 1_000]);
    await new Promise<void>((resolve, reject) =>
      this.#server.bindAsync(`127.0.0.1:${port + 1_000}`, ServerCredentials.createInsecure(), (error) =>
        error === null ? resolve() : reject(error),
      ),
    );
    return port;
  }

  push(type: string, body: Body): void {
    this.stream?.write(compose(type, body));
  }

  stop(): void {
    this.#server.forceShutdown();
  }

  #answer(request: FakeRequest, done: sendUnaryData<Payload>): void {
    if (this.hangs) return;
    this.asked.push(request);
    const known = request.type === 'ServerCheckRequest' || (this.streamed.length > 0 && this.unregistered-- <= 0);
    const answer = known ? this.answer(request) : undefined;
    const base = { resultCode: 200, errorCode: 0, requestId: request.body.requestId, connectionId: 'fake' };
    if (answer !== undefined) done(null, compose(request.type.replace(/Request$/, 'Response'), { ...base, ...answer }));
    else done(null, known ? failure(403, 'no right') : failure(301, 'Connection is unregistered.'));
  }
}

function failure(errorCode: number, message: string): Payload {
  return compose('ErrorResponse', { resultCode: 500, errorCode, message });
}

function serialize(payload: Payload): Buffer {
  return Buffer.from(Payload.encode(payload).finish());
}

function compose(type: string, body: Body): Payload {
  return {
    metadata: { type, headers: {}, clientIp: '' },
    body: { typeUrl: '', value: Buffer.from(JSON.stringify(body)) },
  };
}

function parse({ metadata, body }: Payload): FakeRequest {
  const text = Buffer.from(body?.value ?? []).toString() || '{}';
  return { type: metadata?.type ?? '', headers: metadata?.headers ?? {}, body: JSON.parse(text) };
}
