import { once } from 'node:events';
import { createServer, type Server as HttpServer } from 'node:http';
import { createServer as createHttp2Server, connect as http2Connect } from 'node:http2';
import { type AddressInfo, connect, createServer as createTcpServer, type Server } from 'node:net';
import { expect } from 'chai';
import { pino } from 'pino';
import { Catalog } from '#catalog/catalog.js';
import type { RegistryView } from '#catalog/view.js';
import { parseRanges, VipAllocator } from '#catalog/vip.js';
import { LocalCoordination } from '#coordination/local.js';
import { Projection } from '#istio/projection.js';
import type { Protocol } from '#model/protocol.js';
import { RegistryPolicy } from '#policy/contribution.js';
import { GatewayPorts } from '#publish/gatewayports.js';
import { XdsListener } from '#sinks/xds/server.js';
import { cause } from '#sources/contract.js';
import { startEdge } from '#test/servers/edge.js';
import type { Envoy } from '#test/servers/envoy.js';
import { type Istiod, startIstiod } from '#test/servers/istiod.js';
import { freePorts } from '#test/servers/ports.js';
import { until } from '#test/servers/probes.js';
import { requireServers } from '#test/servers/require.js';
import { instance, service } from '#test/unit/builders.js';

const log = pino({ level: 'silent' });

describe('ports of edge gateways, with a real istiod and a real Envoy', function () {
  this.timeout(120_000);
  const servers: (Server | HttpServer)[] = [];
  let catalog: Catalog;
  let view: RegistryView;
  let ports: GatewayPorts;
  let listener: XdsListener;
  let istiod: Istiod | undefined;
  let edge: Envoy | undefined;
  let first: number;

  const listening = async <S extends Server | HttpServer>(server: S): Promise<number> => {
    servers.push(server);
    server.listen(0, '127.0.0.1');
    await once(server, 'listening');
    return (server.address() as AddressInfo).port;
  };
  const set = (host: string, protocol: Protocol, port: number | undefined): void =>
    view.update(
      [
        service(
          host,
          port === undefined ? [] : [instance('127.0.0.1', port, { ports: [{ name: '', protocol, number: port }] })],
          {
            ports: [{ name: '', protocol, number: 80 }],
          },
        ),
      ],
      [],
      cause('test'),
    );
  const portOf = (host: string): number => ports.port(host, 80) ?? 0;
  const edgeListeners = async (): Promise<string> => (await edge?.admin('/listeners')) ?? '';

  before(async function () {
    await requireServers(this, 'istiod', 'envoy');
    first = await freePorts([0, 1, 2, 3]);
    catalog = new Catalog(
      { namespace: 'shop', exportTo: ['*'], grace: 0 },
      new VipAllocator(parseRanges(['241.0.0.0/8'])),
    );
    ports = new GatewayPorts(new LocalCoordination(), log);
    const kinds = { plain: { host: '{{ service.name }}', nominalWeight: 1, protocol: 'http' as const } };
    view = catalog.add(new RegistryPolicy({ name: 'r', type: 'test', kinds }));
    const projection = new Projection(catalog, ports);
    listener = new XdsListener(projection, { host: '127.0.0.1', port: 0, shards: 2, log });
    const gateways = [{ selector: { app: 'edge' }, bind: '127.0.0.1' }, { selector: { app: 'another' } }];
    ports.configure({ range: { from: first, to: first + 3 }, gateways, grace: 200 });
    const web = await listening(createServer((request, response) => response.end(`web ${request.url}`)));
    const grpc = createHttp2Server((request, response) => response.end(`http/${request.httpVersion} ${request.url}`));
    const echo = createTcpServer((socket) => socket.pipe(socket));
    set('web.mesh', 'http', web);
    set('h2.mesh', 'grpc', await listening(grpc as unknown as HttpServer));
    set('echo.mesh', 'dubbo', await listening(echo));
    set('unpublished.mesh', 'http', web);
    for (const host of ['web.mesh', 'h2.mesh', 'echo.mesh']) ports.want(host, [80]);
    ports.settle();
    await until('ports', () => [portOf('web.mesh'), portOf('h2.mesh'), portOf('echo.mesh')].every((port) => port > 0));
    await listener.open();
    listener.ready();
    istiod = await startIstiod({ configSources: listener.addresses.map((address) => `xds://${address}`) });
    edge = await startEdge({ istiod: istiod.xdsAddress, labels: { app: 'edge', version: 'v1' } });
    await until('listeners', async () => (await edgeListeners()).trim().split('\n').length === 3, 30_000);
  });

  after(async () => {
    await edge?.stop();
    await istiod?.stop();
    await listener?.close();
    ports?.close();
    catalog?.close();
    for (const server of servers) server.close();
  });

  it('take HTTP, HTTP/2 and everything else, each service at its own', async () => {
    const answer = await fetch(`http://127.0.0.1:${portOf('web.mesh')}/a?b=c`);
    expect(await answer.text()).to.equal('web /a?b=c');
    expect(await overHttp2(portOf('h2.mesh'), '/x')).to.equal('http/2.0 /x');
    expect(await throughTcp(portOf('echo.mesh'), 'what comes back')).to.equal('what comes back');
    const rejected = [...((await edge?.admin('/stats?filter=update_rejected')) ?? '').matchAll(/: (\d+)$/gm)];
    expect(rejected.every(([, count]) => count === '0')).to.equal(true);
  });

  it('follow the service without another port', async () => {
    const before = portOf('web.mesh');
    const other = await listening(createServer((_request, response) => response.end('another')));
    set('web.mesh', 'http', other);
    await until(
      'another instance',
      async () => (await (await fetch(`http://127.0.0.1:${before}/`)).text()) === 'another',
    );
    expect(portOf('web.mesh')).to.equal(before);
  });

  it('close when their time is over, and stay the service’s', async () => {
    const before = portOf('echo.mesh');
    ports.want('echo.mesh', []);
    await until('closed', async () => !(await edgeListeners()).includes(`:${before}`), 20_000);
    expect(ports.of('echo.mesh')).to.deep.equal([]);
    ports.want('unpublished.mesh', [80]);
    ports.want('echo.mesh', [80]);
    await until('open again', async () => (await edgeListeners()).includes(`:${before}`), 20_000);
    expect([portOf('echo.mesh'), portOf('unpublished.mesh')]).to.deep.equal([before, first + 3]);
    expect(await throughTcp(before, 'again')).to.equal('again');
  });
});

function throughTcp(port: number, text: string): Promise<string> {
  return new Promise((resolve, reject) => {
    const socket = connect(port, '127.0.0.1', () => socket.write(text));
    socket.setEncoding('utf8').once('data', (data: string) => {
      resolve(data);
      socket.destroy();
    });
    socket.once('error', reject);
    socket.once('close', () => reject(new Error('closed without an answer')));
  });
}

function overHttp2(port: number, path: string): Promise<string> {
  return new Promise((resolve, reject) => {
    const session = http2Connect(`http://127.0.0.1:${port}`);
    session.once('error', reject);
    const stream = session.request({ ':path': path });
    let text = '';
    stream.setEncoding('utf8').on('data', (data) => {
      text += data;
    });
    stream.once('error', reject);
    stream.once('end', () => {
      session.close();
      resolve(text);
    });
  });
}
