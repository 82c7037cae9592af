import { Client, type ClientDuplexStream, credentials, type ServiceError, status } from '@grpc/grpc-js';
import { expect } from 'chai';
import { pino } from 'pino';
import { Catalog } from '#catalog/catalog.js';
import type { RegistryView } from '#catalog/view.js';
import { VipAllocator } from '#catalog/vip.js';
import { Projection } from '#istio/projection.js';
import { RegistryPolicy } from '#policy/contribution.js';
import {
  DeltaDiscoveryRequest,
  DeltaDiscoveryResponse,
  DiscoveryRequest,
  DiscoveryResponse,
} from '#proto/xds/discovery.js';
import { XdsListener } from '#sinks/xds/server.js';
import { cause } from '#sources/contract.js';
import { until } from '#test/servers/probes.js';
import { instance, plainKinds, service } from './builders.js';

const entries = 'networking.istio.io/v1/ServiceEntry';
const discovery = '/envoy.service.discovery.v3.AggregatedDiscoveryService';

describe('xDS listener', () => {
  const catalog = new Catalog({ namespace: 'pontoon', exportTo: ['*'], grace: 10_000 }, new VipAllocator([]));
  const view: RegistryView = catalog.add(new RegistryPolicy({ name: 'r', type: 'test', kinds: plainKinds }));
  const listener = new XdsListener(new Projection(catalog), {
    host: '127.0.0.1',
    port: 0,
    log: pino({ level: 'silent' }),
  });
  const clients: Client[] = [];
  const streams: ClientDuplexStream<Buffer, DiscoveryResponse>[] = [];
  let address: string;

  before(async () => {
    await listener.open();
    address = listener.addresses[0] ?? '';
  });
  after(async () => {
    for (const client of clients) client.close();
    await listener.close();
  });

  function connect(): Client {
    const client = new Client(address, credentials.createInsecure());
    clients.push(client);
    return client;
  }

  function open(path = `${discovery}/StreamAggregatedResources`) {
    const stream: ClientDuplexStream<Buffer, DiscoveryResponse> = connect().makeBidiStreamRequest(
      path,
      (bytes: Buffer) => bytes,
      (bytes: Buffer) => DiscoveryResponse.decode(bytes),
    );
    streams.push(stream);
    const responses: DiscoveryResponse[] = [];
    const errors: ServiceError[] = [];
    stream.on('data', (response: DiscoveryResponse) => responses.push(response));
    stream.on('error', (error: ServiceError) => errors.push(error));
    const ask = (typeUrl: string, responseNonce = '') =>
      stream.write(
        Buffer.from(DiscoveryRequest.encode(DiscoveryRequest.fromPartial({ typeUrl, responseNonce })).finish()),
      );
    return { stream, responses, errors, ask };
  }

  function health(): Promise<number> {
    return new Promise((resolve, reject) =>
      connect().makeUnaryRequest(
        '/grpc.health.v1.Health/Check',
        (bytes: Buffer) => bytes,
        (bytes: Buffer) => bytes,
        Buffer.alloc(0),
        (error, answer) => (error ? reject(error) : resolve(answer?.[1] ?? 0)),
      ),
    );
  }

  it('is not serving, and answers no ServiceEntries, before the set is complete', async () => {
    expect(await health()).to.equal(2);
    const { ask, responses } = open();
    ask(entries);
    ask('networking.istio.io/v1/Sidecar');
    await until('the answer for the other type', () => responses.length > 0);
    expect(responses.map(({ typeUrl }) => typeUrl)).to.deep.equal(['networking.istio.io/v1/Sidecar']);
    listener.ready();
    await until('the ServiceEntries', () => responses.length === 2);
    expect(await health()).to.equal(1);
  });

  it('pushes a change to all its clients, once', async () => {
    const first = open();
    const second = open();
    first.ask(entries);
    second.ask(entries);
    await until('the first answers', () => first.responses.length + second.responses.length === 2);
    view.update([service('s', [instance('10.0.0.1', 1)])], [], cause('test'));
    await until('the change', () => first.responses.length === 2 && second.responses.length === 2);
    expect(first.responses[1]?.resources).to.have.length(1);
    expect(first.responses[1]?.resources).to.deep.equal(second.responses[1]?.resources);
    expect(listener.clients().every(({ peer }) => peer.startsWith('127.0.0.1:'))).to.equal(true);
  });

  it('gathers what changes closely together', async () => {
    const { ask, responses } = open();
    ask(entries);
    await until('the first answer', () => responses.length === 1);
    for (let port = 1; port <= 500; port++) {
      view.update([service('s', [instance('10.0.0.1', port)])], [], cause('test'));
      if (port % 10 === 0) await new Promise((resolve) => setImmediate(resolve));
    }
    await until(
      'the last change',
      () => responses.at(-1)?.versionInfo === listener.clients().at(-1)?.subscriptions[0]?.sent?.version,
    );
    expect(responses.length).to.be.lessThan(50);
  });

  it('outlives a client that sends garbage, and one that asks for what is not there', async () => {
    const garbage = open();
    garbage.stream.write(Buffer.from([0xff, 0xff, 0xff]));
    await until('its end', () => garbage.errors.length > 0);
    const other = open(`${discovery}/Nothing`);
    await until('its end', () => other.errors.length > 0);
    expect(other.errors[0]?.code).to.equal(status.UNIMPLEMENTED);
    const { ask, responses } = open();
    ask(entries);
    await until('an answer', () => responses.length === 1);
  });

  it('serves delta clients beside: changes only, and nothing that they have from before', async () => {
    const ask = (request: Partial<DeltaDiscoveryRequest>) => {
      const call: ClientDuplexStream<DeltaDiscoveryRequest, DeltaDiscoveryResponse> = connect().makeBidiStreamRequest(
        `${discovery}/DeltaAggregatedResources`,
        (one: DeltaDiscoveryRequest) => Buffer.from(DeltaDiscoveryRequest.encode(one).finish()),
        (bytes: Buffer) => DeltaDiscoveryResponse.decode(bytes),
      );
      const responses: DeltaDiscoveryResponse[] = [];
      call.on('data', (response: DeltaDiscoveryResponse) => responses.push(response));
      call.on('error', () => undefined);
      call.write(DeltaDiscoveryRequest.fromPartial({ typeUrl: entries, ...request }));
      return { call, responses };
    };
    const first = ask({});
    await until('everything', () => first.responses.length === 1);
    const [known] = first.responses[0]?.resources ?? [];
    expect(known?.name).to.equal('pontoon/s.test');
    expect(known?.resource?.typeUrl).to.equal('type.googleapis.com/istio.mcp.v1alpha1.Resource');
    expect(listener.clients().at(-1)?.protocol).to.equal('delta');
    view.update([service('t', [instance('10.0.0.2', 1)])], [], cause('test'));
    await until('the change', () => first.responses.length === 2);
    expect(first.responses[1]?.resources.map(({ name }) => name)).to.deep.equal(['pontoon/t.test']);
    first.call.cancel();
    const versions = Object.fromEntries(
      first.responses.flatMap(({ resources }) => resources.map(({ name, version }) => [name, version])),
    );
    const second = ask({ initialResourceVersions: { ...versions, 'pontoon/gone.test': '1' } });
    await until('what is gone', () => second.responses.length === 1);
    expect(second.responses[0]?.resources).to.deep.equal([]);
    expect(second.responses[0]?.removedResources).to.deep.equal(['pontoon/gone.test']);
    second.call.cancel();
  });

  it('forgets a client that is gone', async () => {
    for (const stream of streams) stream.cancel();
    await until('that nobody is left', () => listener.clients().length === 0);
  });
});
