import { type ClientHttp2Session, connect as connectHttp2 } from 'node:http2';
import { connect, createServer } from 'node:net';
import { Client, type ClientDuplexStream, credentials, type ServiceError, status } from '@grpc/grpc-js';
import { expect } from 'chai';
import { pino } from 'pino';
import { Catalog } from '#catalog/catalog.js';
import type { RegistryView } from '#catalog/view.js';
import { VipAllocator } from '#catalog/vip.js';
import { Projection } from '#istio/projection.js';
import { RegistryPolicy } from '#policy/contribution.js';
import { DiscoveryRequest } from '#proto/xds/discovery.js';
import type { DoorLimits } from '#sinks/xds/door.js';
import { pauseAfter } from '#sinks/xds/pace.js';
import { XdsListener, type XdsListenerOptions } from '#sinks/xds/server.js';
import { cause } from '#sources/contract.js';
import { until } from '#test/servers/probes.js';
import { instance, plainKinds, service } from './builders.js';

const entries = 'networking.istio.io/v1/ServiceEntry';
const path = '/envoy.service.discovery.v3.AggregatedDiscoveryService/StreamAggregatedResources';

describe('xDS limits', function () {
  this.timeout(60_000);
  const catalog = new Catalog({ namespace: 'pontoon', exportTo: ['*'], grace: 10_000 }, new VipAllocator([]));
  const view: RegistryView = catalog.add(new RegistryPolicy({ name: 'r', type: 'test', kinds: plainKinds }));
  const projection = new Projection(catalog);
  const open: XdsListener[] = [];
  const clients: Client[] = [];
  const sessions: ClientHttp2Session[] = [];
  const lines: { level: number }[] = [];
  const log = pino({ level: 'info' }, { write: (line: string) => lines.push(JSON.parse(line)) });

  afterEach(async () => {
    for (const client of clients.splice(0)) client.close();
    for (const session of sessions.splice(0)) session.destroy();
    await Promise.all(open.splice(0).map((listener) => listener.close()));
    view.update([service('big', [])], [], cause('test'));
  });

  async function listen(limits: Partial<DoorLimits> = {}, more: Partial<XdsListenerOptions> = {}) {
    const listener = new XdsListener(projection, { host: '127.0.0.1', port: 0, log, limits, ...more });
    open.push(listener);
    await listener.open();
    listener.ready();
    return listener;
  }

  function encoded(request: Partial<DiscoveryRequest>): Buffer {
    return Buffer.from(DiscoveryRequest.encode(DiscoveryRequest.fromPartial(request)).finish());
  }

  function stream(listener: XdsListener) {
    const client = new Client(listener.addresses[0] ?? '', credentials.createInsecure(), {
      'grpc.max_receive_message_length': -1,
      'grpc.use_local_subchannel_pool': 1,
    });
    clients.push(client);
    const call: ClientDuplexStream<Buffer, Buffer> = client.makeBidiStreamRequest(
      path,
      (bytes: Buffer) => bytes,
      (bytes: Buffer) => bytes,
    );
    const errors: ServiceError[] = [];
    let responses = 0;
    call.on('data', () => responses++);
    call.on('error', (error: ServiceError) => errors.push(error));
    const refused = async () => {
      await until('the refusal', () => errors.length > 0);
      return errors[0] as ServiceError;
    };
    return {
      ...{ client, call, errors, refused },
      ask: (request: Partial<DiscoveryRequest>) => call.write(encoded(request)),
      responses: () => responses,
    };
  }

  /** Some 28 bytes of set for each. */
  function fill(instances: number, port = 1): void {
    const many = Array.from({ length: instances }, (_, i) =>
      instance(`10.${i >> 16}.${(i >> 8) & 255}.${i & 255}`, port),
    );
    view.update([service('big', many)], [], cause('test'));
  }

  it('serves so many streams and refuses further ones, until one is gone', async () => {
    const listener = await listen({ maxStreams: 2 });
    const two = [stream(listener), stream(listener)];
    for (const { ask } of two) ask({ typeUrl: entries });
    await until('two streams', () => listener.status().streams === 2);
    const { code, details } = await stream(listener).refused();
    expect(code).to.equal(status.RESOURCE_EXHAUSTED);
    expect(details).to.include('2 streams at a time');
    expect(listener.status().refused).to.deep.equal({ 'too many streams': 1 });
    two[0]?.call.cancel();
    await until('a free place', () => listener.status().streams === 1);
    const next = stream(listener);
    next.ask({ typeUrl: entries });
    await until('an answer', () => next.responses() === 1);
  });

  it('sends away a client that asks for nothing', async () => {
    const listener = await listen({ silence: 50 });
    const { code } = await stream(listener).refused();
    expect(code).to.equal(status.DEADLINE_EXCEEDED);
    expect(listener.status().refused).to.deep.equal({ silent: 1 });
    expect(listener.status().streams).to.equal(0);
  });

  it('ends a stream that asks for too many types, or sends too large a request; keeps little of a huge node', async () => {
    const listener = await listen();
    const many = stream(listener);
    for (let index = 0; index <= 64; index++) many.ask({ typeUrl: `type/${index}` });
    expect((await many.refused()).code).to.equal(status.RESOURCE_EXHAUSTED);
    expect(listener.status().refused).to.deep.equal({ 'too much asked': 1 });
    const large = stream(listener);
    large.ask({ typeUrl: entries, resourceNames: ['x'.repeat(5_000_000)] });
    expect((await large.refused()).code).to.equal(status.RESOURCE_EXHAUSTED);
    const node = stream(listener);
    const id = 'n'.repeat(1_000_000);
    node.ask({ typeUrl: entries, node: { id, cluster: '', metadata: { ISTIO_VERSION: id }, userAgentName: '' } });
    await until('an answer', () => node.responses() === 1);
    expect(JSON.stringify(listener.clients()).length).to.be.lessThan(2_000);
  });

  it('bears bytes that are no HTTP/2', async () => {
    const listener = await listen();
    const [, port] = (listener.addresses[0] ?? '').split(':');
    const closed = new Promise((resolve) => {
      const socket = connect(Number(port), '127.0.0.1', () => socket.write(Buffer.alloc(100_000, 0xa5)));
      socket.on('error', () => undefined);
      socket.once('close', resolve);
      socket.resume();
    });
    await closed;
    const { ask, responses } = stream(listener);
    ask({ typeUrl: entries });
    await until('an answer', () => responses() === 1);
  });

  it('keeps one message for a client that reads nothing, whatever changes, and cuts it off in the end', async () => {
    const listener = await listen({ stall: 3_000 });
    fill(5_000);
    const session = connectHttp2(`http://${listener.addresses[0]}`);
    sessions.push(session);
    session.on('error', () => undefined);
    const call = session.request({
      ':method': 'POST',
      ':path': path,
      'content-type': 'application/grpc',
      te: 'trailers',
    });
    call.on('error', () => undefined);
    const request = encoded({ typeUrl: entries });
    const head = Buffer.alloc(5);
    head.writeUInt32BE(request.length, 1);
    call.write(Buffer.concat([head, request]));
    await until('the first message', () => listener.status().pushes === 1);
    for (let port = 2; port < 7; port++) {
      fill(5_000, port);
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
    expect(listener.status().pushes).to.equal(1);
    expect(listener.status().pushes).to.equal(1);
    expect(listener.clients()[0]?.pending).to.be.greaterThan(0);
    await until('its end', () => listener.status().streams === 0 && session.destroyed);
    expect(listener.status().refused).to.deep.equal({ stalled: 1 });
  });

  it('needs no ACK to go on', async () => {
    const listener = await listen();
    const { ask, responses } = stream(listener);
    ask({ typeUrl: entries });
    await until('the first answer', () => responses() === 1);
    for (let count = 2; count < 5; count++) {
      fill(count);
      await until('the change', () => responses() === count);
    }
    expect(listener.clients()[0]?.subscriptions[0]?.acknowledged).to.equal(undefined);
  });

  it('sends a client that reconnects over and over no more than one that stays, and writes few lines', async () => {
    const listener = await listen();
    fill(50_000);
    lines.length = 0;
    const start = performance.now();
    const node = { id: 'sidecar~10.0.0.1~istiod~x', cluster: '', metadata: undefined, userAgentName: '' };
    const first = stream(listener);
    first.ask({ typeUrl: entries, node });
    await until('the first answer', () => first.responses() === 1);
    const size = listener.status().bytes;
    first.call.cancel();
    let answered = 1;
    for (let index = 0; index < 100; index++) {
      const { ask, call, client, responses } = stream(listener);
      ask({ typeUrl: entries, node });
      await until('the connection', () => listener.status().streams > 0, 10_000, 1);
      await new Promise((resolve) => setTimeout(resolve, 2));
      call.cancel();
      client.close();
      answered += responses();
      await until('its end', () => listener.status().streams === 0, 10_000, 1);
    }
    const elapsed = performance.now() - start;
    const { pushes } = listener.status();
    expect(size).to.be.greaterThan(1_000_000);
    expect(pushes).to.be.at.most(elapsed / pauseAfter(size) + 2);
    expect(pushes).to.be.lessThan(100);
    expect(answered).to.be.at.least(1);
    expect(lines.length).to.be.at.most(20 * (elapsed / 10_000 + 1));
  });

  it('pauses as long as istiod takes to decode, at most two seconds', () => {
    expect(pauseAfter(7_980_000)).to.equal(285);
    expect(pauseAfter(1_000)).to.be.lessThan(1);
    expect(pauseAfter(1e9)).to.equal(2_000);
  });
});

describe('shards of a listener', () => {
  const log = pino({ level: 'silent' });
  const projection = new Projection(
    new Catalog({ namespace: 'pontoon', exportTo: ['*'], grace: 10_000 }, new VipAllocator([])),
  );
  const listenAt = async (port: number): Promise<() => Promise<void>> => {
    const server = createServer();
    await new Promise<void>((resolve, reject) => {
      server.once('error', reject);
      server.listen(port, '127.0.0.1', resolve);
    });
    return () => new Promise((resolve) => server.close(() => resolve()));
  };

  /** So many free ports in a row. */
  async function freePorts(count: number): Promise<number> {
    for (let port = 21_000 + Math.floor(Math.random() * 20_000); ; port += count) {
      const results = await Promise.allSettled(Array.from({ length: count }, (_, index) => listenAt(port + index)));
      for (const result of results) if (result.status === 'fulfilled') await result.value();
      if (results.every((result) => result.status === 'fulfilled')) return port;
    }
  }

  it('are on consecutive ports, and open and close one by one', async () => {
    const port = await freePorts(4);
    const listener = new XdsListener(projection, { host: '127.0.0.1', port, shards: 4, log });
    await listener.open([0, 1]);
    listener.ready();
    expect(listener.addresses).to.deep.equal([`127.0.0.1:${port}`, `127.0.0.1:${port + 1}`]);
    await listener.open([3]);
    await listener.close([0]);
    expect(listener.status().open.map(({ shard }) => shard)).to.deep.equal([1, 3]);
    const taken = await listenAt(port);
    await taken();
    await listener.open([0]);
    expect(listener.status().open.map((one) => one.port)).to.deep.equal([port, port + 1, port + 3]);
    await listener.close();
  });

  it('say which port cannot be bound, and leave the others closed', async () => {
    const port = await freePorts(4);
    const free = await listenAt(port + 2);
    const listener = new XdsListener(projection, { host: '127.0.0.1', port, shards: 4, log });
    const error = await listener.open().then(
      () => undefined,
      (reason: Error) => reason,
    );
    expect(error?.message).to.match(
      new RegExp(`^istio\\.xds: cannot listen on 127\\.0\\.0\\.1:${port + 2}: .*EADDRINUSE`),
    );
    expect(listener.addresses).to.deep.equal([]);
    const another = await listenAt(port);
    await another();
    await free();
    await listener.open();
    expect(listener.addresses).to.have.length(4);
    await listener.close();
  });
});
