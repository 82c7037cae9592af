import { expect } from 'chai';
import { Connection, ConnectionReset, NacosError } from '#adapters/nacos/connection.js';
import { FakeNacosGrpc } from '#test/servers/nacosfake.js';
import { until } from '#test/servers/probes.js';

describe('Nacos connection (fake server)', () => {
  let server: FakeNacosGrpc;
  let connection: Connection;
  let abort: AbortController;
  const pushed: unknown[] = [];
  let alive = 0;

  function fake(): FakeNacosGrpc {
    const server = new FakeNacosGrpc();
    server.unregistered = 2;
    server.answer = ({ type, body }) => (type === 'Forbidden' ? undefined : { echo: body });
    return server;
  }

  async function open(): Promise<Connection> {
    const port = await server.start();
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
    server = fake();
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
    expect(server.asked.at(-1)?.headers).to.deep.equal({ accessToken: 'the-token' });
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
    expect(await reasonLost())
      .to.be.instanceOf(ConnectionReset)
      .with.deep.property('server', { host: '10.0.0.9', port: 8848 });
    await until('answer', () => server.streamed.at(-1)?.type === 'ConnectResetResponse', 2_000, 5);
  });

  it('ends when the server goes, or sends what is none of its messages', async () => {
    await open();
    server.stop();
    expect(await reasonLost()).to.be.instanceOf(Error);
    server = fake();
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
    this.timeout(60_000);
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
