import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect } from 'chai';
import type { RegistryService } from '#model/service.js';
import { Cluster } from '#proto/xds/cluster.js';
import { DiscoveryRequest, DiscoveryResponse } from '#proto/xds/discovery.js';
import { Bridge } from '#test/real/contract/bridge.js';
import { KubeWriter } from '#test/servers/kubewriter.js';
import { serverFolder } from '#test/servers/process.js';
import { requireServers } from '#test/servers/require.js';
import { Wire } from '#test/servers/wire.js';
import { type Entry, EntryFolder } from './folder.js';
import { StateRelay } from './relay.js';
import { type SecuredIstiod, startSecuredIstiod } from './secured.js';

const orders: Entry = {
  ports: [
    { number: 80, name: 'http', protocol: 'HTTP' },
    { number: 90, name: 'grpc', protocol: 'GRPC' },
  ],
  endpoints: [
    {
      address: '10.0.0.1',
      ports: { http: 8080, grpc: 9090 },
      labels: { app: 'orders', version: 'v2', 'security.istio.io/tlsMode': 'istio' },
      locality: 'cn/sh/a',
      weight: 3,
    },
    { address: '10.0.0.2', ports: { http: 8080, grpc: 9090 } },
  ],
};
const entries: Readonly<Record<string, Entry>> = {
  'orders.mesh': orders,
  'named.mesh': { resolution: 'DNS', endpoints: [{ address: 'a.example.com', ports: { http: 8080 } }] },
  'pay.mesh': { namespace: 'pay', endpoints: [{ address: '10.0.1.1' }] },
  'ours.mesh': { namespace: 'pontoon', endpoints: [{ address: '10.0.2.1' }] },
};

describe('a mesh, read from an istiod', function () {
  this.timeout(60_000);
  let secured: SecuredIstiod;
  let writer: KubeWriter;
  const folder = new EntryFolder();
  const bridges: Bridge[] = [];
  const stops: (() => unknown)[] = [];

  const open = (keys: object = {}): Bridge => {
    const bridge = new Bridge('istiod', { servers: [secured.istiod.xdsAddress], ...keys }, 'mesh');
    bridges.push(bridge);
    return bridge;
  };
  const live = (bridge: Bridge) => bridge.until('live', () => bridge.status.state === 'live');
  const named = (bridge: Bridge) => [...bridge.view.services.values()].map(({ key }) => key.name).sort();
  const own = (bridge: Bridge) => named(bridge).filter((name) => name.endsWith('.mesh'));

  before(async function () {
    await requireServers(this, 'istiod', 'etcd', 'kube-apiserver');
    folder.write('entries', entries);
    secured = await startSecuredIstiod({
      configSources: [folder.configSource],
      meshConfig: { enableAutoMtls: true },
    });
    writer = new KubeWriter(secured.api.kubeconfig());
    await writer.namespace('shop');
    const ports = [{ name: 'http', port: 80, targetPort: 8080 }];
    await writer.pod('shop', 'stock-0', '10.2.0.1', {
      metadata: { labels: { app: 'stock', version: 'v1', 'security.istio.io/tlsMode': 'istio' } },
    });
    for (const [name, clusterIP] of [
      ['stock', '10.96.0.10'],
      ['stock-headless', 'None'],
    ] as const) {
      await writer.apply('Service', 'shop', name, { spec: { clusterIP, ports, selector: { app: 'stock' } } });
      await writer.apply('EndpointSlice', 'shop', `${name}-1`, {
        metadata: { labels: { 'kubernetes.io/service-name': name } },
        addressType: 'IPv4',
        endpoints: [
          {
            addresses: ['10.2.0.1'],
            conditions: { ready: true },
            targetRef: { kind: 'Pod', namespace: 'shop', name: 'stock-0' },
          },
        ],
        ports: [{ name: 'http', port: 8080, protocol: 'TCP' }],
      });
    }
  });

  after(async () => {
    await Promise.all(bridges.map((bridge) => bridge.stop()));
    for (const stop of stops) await stop();
    await writer?.close();
    await secured?.stop();
  });

  it('has its services with ports, endpoints, weights, localities, and what istiod says of the workloads', async () => {
    const bridge = open();
    await live(bridge);
    const service = bridge.service('orders.mesh') as RegistryService;
    expect(service.key).to.deep.equal({
      registry: 'mesh',
      namespace: 'shop',
      group: '',
      name: 'orders.mesh',
      version: '',
    });
    expect(service.ports).to.deep.equal([
      { name: '80', protocol: 'http', number: 80 },
      { name: '90', protocol: 'http2', number: 90 },
    ]);
    const [first, second] = service.instances;
    expect(service.instances).to.have.length(2);
    expect(first).to.deep.include({ address: '10.0.0.1', weight: 3, locality: 'cn/sh/a', status: 'Ready' });
    expect(first?.ports.map(({ number }) => number)).to.deep.equal([8080, 9090]);
    expect(first?.metadata).to.deep.include({ app: 'orders', version: 'v2', namespace: 'shop', tlsMode: 'istio' });
    expect(second?.metadata).to.have.all.keys('namespace', 'cluster');
    expect(bridge.addresses('named.mesh')).to.deep.equal(['a.example.com:8080']);
  });

  it('has the services of its Kubernetes under their own hosts, headless ones too, and sends nothing of them to Istio', async () => {
    const bridge = open();
    await bridge.sees('stock', '10.2.0.1:8080');
    await bridge.sees('stock-headless', '10.2.0.1:8080');
    expect(bridge.service('stock')?.key).to.include({ namespace: 'shop', name: 'stock' });
    expect(bridge.service('stock')?.metadata.host).to.equal('stock.shop.svc.cluster.local');
    expect(bridge.instances('stock')[0]?.metadata).to.deep.include({ app: 'stock', version: 'v1', tlsMode: 'istio' });
    expect(bridge.pushes).to.equal(0);

    const sidecar = open({ node: { id: 'sidecar~10.9.9.9~app.pontoon~pontoon.svc.cluster.local' } });
    await sidecar.until('known', () => sidecar.service('stock-headless') !== undefined);
    expect(sidecar.instances('stock-headless')).to.deep.equal([]);
    expect(sidecar.service('stock-headless')?.notes?.[0]?.text).to.include('ask as a router');
  });

  it('keeps the wanted namespaces and hosts only, and asks for no endpoints of others', async () => {
    const [byNamespace, byHost] = [open({ namespaces: ['pay'] }), open({ hosts: ['*.mesh'], exclude: ['named.*'] })];
    await Promise.all([live(byNamespace), live(byHost)]);
    expect(named(byNamespace)).to.deep.equal(['pay.mesh']);
    expect(named(byHost)).to.deep.equal(['orders.mesh', 'ours.mesh', 'pay.mesh']);
  });

  it('is the same where only whole states are told, and changes and goes all the same', async () => {
    const relay = await new StateRelay(secured.istiod.xdsAddress).open();
    stops.push(() => relay.close());
    const [changes, states] = [open(), open({ servers: [relay.address] })];
    await Promise.all([live(changes), live(states)]);
    await states.sees('stock-headless', '10.2.0.1:8080');
    const content = ({ view }: Bridge) => [...view.services.entries()].sort(([a], [b]) => (a < b ? -1 : 1));
    expect(content(states)).to.deep.equal(content(changes));

    const added: Entry = { endpoints: [{ address: '10.0.3.1' }] };
    folder.write('more', { 'more.mesh': added });
    for (const bridge of [changes, states]) await bridge.sees('more.mesh', '10.0.3.1:80');
    folder.write('more', { 'more.mesh': { endpoints: [...added.endpoints, { address: '10.0.3.2' }] } });
    for (const bridge of [changes, states]) await bridge.sees('more.mesh', '10.0.3.1:80', '10.0.3.2:80');
    folder.write('more', {});
    for (const bridge of [changes, states]) await bridge.until('gone', () => bridge.service('more.mesh') === undefined);
    expect(own(changes)).to.deep.equal(own(states));
  });

  it('refuses what it cannot decode, and keeps what is known of it', async () => {
    const relay = await new StateRelay(secured.istiod.xdsAddress).open();
    stops.push(() => relay.close());
    const bridge = open({ servers: [relay.address] });
    await live(bridge);
    const before = own(bridge);
    let spoilt = '';
    relay.through = (message) => {
      const response = DiscoveryResponse.decode(message);
      if (!response.typeUrl.endsWith('Cluster')) return message;
      spoilt = response.nonce;
      // Bytes that are no message.
      for (const resource of response.resources)
        if (Cluster.decode(resource.value).name === 'outbound|80||orders.mesh')
          resource.value = Buffer.from([0xff, 0xff]);
      return Buffer.from(DiscoveryResponse.encode(response).finish());
    };
    folder.write('beside', { 'beside.mesh': { endpoints: [{ address: '10.0.4.1' }] } });
    await bridge.sees('beside.mesh', '10.0.4.1:80');
    const refused = () =>
      relay.requests
        .map((bytes) => DiscoveryRequest.decode(bytes))
        .find(({ errorDetail }) => errorDetail !== undefined);
    expect(refused()).to.deep.include({ responseNonce: spoilt });
    expect(refused()?.errorDetail?.message).to.match(/^1 of \d+ clusters cannot be decoded/);
    expect(own(bridge)).to.deep.equal(['beside.mesh', ...before]);
    folder.write('beside', {});
  });

  it('goes on with another server when one is lost, and says nothing of it', async () => {
    const port = Number(secured.istiod.xdsAddress.split(':')[1]);
    const wire = await Wire.open(port);
    stops.push(() => wire.close());
    const bridge = open({ servers: [`127.0.0.1:${wire.port}`, secured.istiod.xdsAddress], heartbeat: '1s' });
    await live(bridge);
    const { since } = bridge.status;
    // A stream that ends at once is no stream.
    await new Promise((resolve) => setTimeout(resolve, 5_500));
    wire.cut();
    folder.write('after', { 'after.mesh': { endpoints: [{ address: '10.0.5.1' }] } });
    await bridge.sees('after.mesh', '10.0.5.1:80');
    expect(bridge.status).to.include({ state: 'live', since, errors: 0, runs: 1 });
    folder.write('after', {});
  });

  it('is let in by the token in a file, as soon as that is right, and never sends it in plaintext', async () => {
    const path = join(serverFolder('token'), 'token');
    writeFileSync(path, 'the-token-of-yesterday');
    const servers = [secured.istiod.secureAddress];
    const bridge = open({ servers, tls: { ca: secured.ca, serverName: 'localhost' }, tokenFile: path });
    await bridge.until('refused', () => bridge.status.state === 'failed');
    expect(bridge.status.error).to.include('authentication failure (check the token)');
    writeFileSync(path, `${await secured.token()}\n`);
    await live(bridge);
    expect(own(bridge)).to.include('orders.mesh');

    const plain = open({ servers, tokenFile: path });
    await plain.until('failed', () => plain.status.state === 'failed');
    expect(plain.status.error).to.include('a token is sent over TLS only');
    const distrusting = open({ servers, tls: { ca: secured.otherCa, serverName: 'localhost' }, tokenFile: path });
    await distrusting.until('failed', () => distrusting.status.state === 'failed');
    console.log(`      ${distrusting.status.error}`);
    expect(distrusting.status.error).to.match(/certificate|signature/);
  });

  it('is let in by a certificate of the mesh', async () => {
    const certificate = secured.certificate('spiffe://cluster.local/ns/pontoon/sa/pontoon');
    const bridge = open({
      servers: [secured.istiod.secureAddress],
      tls: { ca: secured.ca, serverName: 'localhost', ...certificate },
    });
    await live(bridge);
    expect(own(bridge)).to.include('orders.mesh');
  });

  it('is let in as the account of the namespace that it says it is of, and as no other', async () => {
    const keys = { servers: [secured.istiod.secureAddress], tls: { ca: secured.ca, serverName: 'localhost' } };
    const token = await secured.token();
    const other = open({ ...keys, token, node: { namespace: 'shop' } });
    await other.until('refused', () => other.status.state === 'failed');
    expect(other.status.error).to.include('authorization failed');
    expect(other.status.error).to.not.include(token);
  });
});
