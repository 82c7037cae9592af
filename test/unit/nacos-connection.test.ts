import {
  Server,
  ServerCredentials,
  type ServerDuplexStream,
  type ServerUnaryCall,
  type sendUnaryData,
} from '@grpc/grpc-js';
import { expect } from 'chai';
import { Connection, ConnectionReset, NacosError } from '#adapters/nacos/connection.js';
import { Payload } from '#proto/nacos/grpc.js';
import { until } from '#test/servers/probes.js';

type Stream = ServerDuplexStream<Payload, Payload>;

/** A Nacos server's gRPC end, without anything behind it. */
class FakeServer {
  readonly #server = new Server();
  /** What clients sent over the stream: type and body. */
  readonly streamed: { type: string; body: Record<string, unknown> }[] = [];
  stream: Stream | undefined;
  /** Health checks that are answered "unregistered" before the first that is not. */
  unregistered = 2;
  hangs = false;
  tokens: (string | undefined)[] = [];

  async start(): Promise<number> {
    const codec = {
      serialize: (payload: Payload) => Buffer.from(Payload.encode(payload).finish()),
      deserialize: Payload.decode,
    };
    const method = (path: string, stream: boolean) => ({
      path,
      requestStream: stream,
      responseStream: stream,
      requestSerialize: codec.serialize,
      requestDeserialize: codec.deserialize,
      responseSerialize: codec.serialize,
      responseDeserialize: codec.deserialize,
    });
    this.#server.addService(
      { request: method('/Request/request', false), stream: method('/BiRequestStream/requestBiStream', true) },
      {
        request: (call: ServerUnaryCall<Payload, Payload>, done: sendUnaryData<Payload>) =>
          this.#answer(call.request, done),
        stream: (stream: Stream) => {
          this.stream = stream;
          stream.on('data', (payload: Payload) => this.streamed.push(parse(payload)));
          stream.on('error', () => {});
          stream.on('end', () => stream.end());
        },
      },
    );
    return await new Promise((resolve, reject) =>
      this.#server.bindAsync('127.0.0.1:0', ServerCredentials.createInsecure(), (error, port) =>
        error === null ? resolve(port) : reject(error),
      ),
    );
  }

  push(type: string, body: Record<string, unknown>): void {
    this.stream?.write(compose(type, body));
  }

  stop(): void {
    this.#server.forceShutdown();
  }

  #answer(request: Payload, done: sendUnaryData<Payload>): void {
    const { type } = parse(request);
    this.tokens.push(request.metadata?.headers.accessToken);
    if (this.hangs) return;
    const known = type === 'ServerCheckRequest' || (this.streamed.length > 0 && this.unregistered-- <= 0);
    if (!known)
      done(null, compose('ErrorResponse', { resultCode: 500, errorCode: 301, message: 'Connection is unregistered.' }));
    else if (type === 'Forbidden')
      done(null, compose('ErrorResponse', { resultCode: 500, errorCode: 403, message: 'no right' }));
    else
      done(
        null,
        compose(type.replace('Request', 'Response'), { resultCode: 200, errorCode: 0, echo: parse(request).body }),
      );
  }
}

function compose(type: string, body: Record<string, unknown>): Payload {
  return {
    metadata: { type, headers: {}, clientIp: '' },
    body: { typeUrl: '', value: Buffer.from(JSON.stringify(body)) },
  };
}

function parse({ metadata, body }: Payload) {
  return { type: metadata?.type ?? '', body: JSON.parse(Buffer.from(body?.value ?? []).toString()) };
}

describe('Nacos connection', () => {
  let server: FakeServer;
  let connection: Connection;
  let abort: AbortController;
  const pushed: unknown[] = [];
  let alive = 0;

  async function open(): Promise<Connection> {
    const port = (await server.start()) - 1_000;
    connection = await Connection.open(
      {
        server: { host: '127.0.0.1', port },
        tls: undefined,
        onTold: (type, body) => {
          if (type === 'NotifySubscriberRequest') pushed.push(body.serviceInfo);
        },
        onAlive: () => alive++,
      },
      abort.signal,
    );
    return connection;
  }

  beforeEach(() => {
    server = new FakeServer();
    abort = new AbortController();
    pushed.length = 0;
    alive = 0;
  });
  afterEach(() => {
    abort.abort();
    server.stop();
  });

  const reasonLost = () => connection.lost.catch((reason: Error) => reason);

  it('sets itself up and waits until the server knows it', async () => {
    await open();
    expect(server.streamed[0]).to.deep.include({ type: 'ConnectionSetupRequest' });
    expect(server.unregistered).to.be.below(0);
  });

  it('asks with a token, and gives the answer', async () => {
    await open();
    const answer = await connection.request('ServiceListRequest', { groupName: 'g' }, { accessToken: 'the-token' });
    expect(answer.echo).to.include({ groupName: 'g' });
    expect(server.tokens.at(-1)).to.equal('the-token');
  });

  it('says what the server says against it', async () => {
    await open();
    const error = await connection.request('Forbidden', {}).catch((reason: unknown) => reason);
    expect(error).to.be.instanceOf(NacosError).with.property('code', 403);
    expect(error)
      .to.have.property('message')
      .that.matches(/Forbidden answered 403 no right/);
  });

  it('hands pushes on and acknowledges what the server asks', async () => {
    await open();
    server.push('NotifySubscriberRequest', { requestId: '1', serviceInfo: { name: 'orders' } });
    server.push('ClientDetectionRequest', { requestId: '2' });
    server.push('SetupAckRequest', { requestId: '3', abilityTable: {} });
    server.push('UnheardOfRequest', { requestId: '4' });
    await until('answers', () => server.streamed.length === 4, 2_000, 5);
    expect(pushed).to.deep.equal([{ name: 'orders' }]);
    expect(server.streamed.slice(1).map(({ type, body }) => [type, body.requestId, body.resultCode])).to.deep.equal([
      ['NotifySubscriberResponse', '1', 200],
      ['ClientDetectionResponse', '2', 200],
      ['SetupAckResponse', '3', 200],
    ]);
    expect(alive).to.equal(4);
  });

  it('ends, after saying yes, when the server wants it elsewhere', async () => {
    await open();
    server.push('ConnectResetRequest', { requestId: '1', serverIp: '10.0.0.9', serverPort: '8848' });
    expect(await reasonLost()).to.be.instanceOf(ConnectionReset);
    await until('answer', () => server.streamed.at(-1)?.type === 'ConnectResetResponse', 2_000, 5);
  });

  it('ends when the server goes, or sends what is none of its messages', async () => {
    await open();
    server.stop();
    expect(await reasonLost()).to.be.instanceOf(Error);
    server = new FakeServer();
    await open();
    server.stream?.write({
      metadata: { type: 'NotifySubscriberRequest', headers: {}, clientIp: '' },
      body: { typeUrl: '', value: Buffer.from('<html>') },
    });
    expect(await reasonLost())
      .to.have.property('message')
      .that.matches(/JSON/);
  });

  it('gives up on a server that accepts and never answers', async function () {
    this.timeout(10_000);
    server.hangs = true;
    const error = await open().catch((reason: Error) => reason);
    expect(error)
      .to.have.property('message')
      .that.matches(/ServerCheckRequest: no answer within 3000 ms/);
  });

  it('ends at once, with all questions, when it is told to', async () => {
    await open();
    server.hangs = true;
    const question = connection.request('ServiceListRequest', {}).catch((reason: Error) => reason);
    const start = performance.now();
    abort.abort();
    expect(await question).to.be.instanceOf(Error);
    expect(await reasonLost()).to.be.instanceOf(Error);
    expect(performance.now() - start).to.be.below(500);
  });
});
