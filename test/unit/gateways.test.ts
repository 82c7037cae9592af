import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect } from 'chai';
import { pino } from 'pino';
import { gatewayPortSettings } from '#config/gateways.js';
import { parseConfig } from '#config/load.js';
import type { Coordination, Json } from '#coordination/contract.js';
import { openCoordination } from '#coordination/coordination.js';
import { LocalCoordination } from '#coordination/local.js';
import { Projection } from '#istio/projection.js';
import { istioYaml } from '#istio/yaml.js';
import type { Endpoint, MeshService } from '#model/mesh.js';
import { behindGateways } from '#policy/gateways.js';
import { addressesOf, type Chosen } from '#publish/addresses.js';
import { GatewayPorts } from '#publish/gatewayports.js';
import { Mesh, temporaryDirectory } from '#test/real/names/mesh.js';
import { until } from '#test/servers/probes.js';

const log = pino({ level: 'silent' });
const gateways = [{ selector: { istio: 'ingressgateway' } }];
const day = 24 * 3_600_000;

function portsOf(coordination: Coordination, from: number, to: number): GatewayPorts {
  const ports = new GatewayPorts(coordination, log);
  ports.configure({ range: { from, to }, gateways, grace: 60_000 });
  return ports;
}

function given(ports: GatewayPorts, hosts: readonly string[]): (number | undefined)[] {
  return hosts.map((host) => ports.port(host, 80));
}

/** Content of a document. */
function contentOf(coordination: Coordination, name: string): Promise<Json | undefined> {
  return new Promise((resolve) => coordination.watch(name, resolve));
}

describe('gateway ports', () => {
  const directory = mkdtempSync(join(tmpdir(), 'pontoon-gateways-'));
  const opened: (Coordination | GatewayPorts)[] = [];
  const keep = <T extends Coordination | GatewayPorts>(one: T): T => {
    opened.push(one);
    return one;
  };

  after(async () => {
    for (const one of opened) await one.close();
    rmSync(directory, { recursive: true });
  });

  it('outlive a restart, without coordination, and are given out by what is free', async () => {
    const options = { log, registries: [], directory };
    const first = openCoordination(undefined, options);
    const before = portsOf(first, 20_000, 20_009);
    for (const host of ['b.x', 'a.x', 'c.x']) before.want(host, [80]);
    await until('ports', () => given(before, ['a.x', 'b.x', 'c.x']).every((port) => port !== undefined));
    expect(given(before, ['a.x', 'b.x', 'c.x'])).to.deep.equal([20_000, 20_001, 20_002]);
    before.close();
    await first.close();

    const after = keep(portsOf(keep(openCoordination(undefined, options)), 20_000, 20_009));
    expect(after.isKnown).to.equal(false);
    await until('known', () => after.isKnown);
    // Whatever is wanted: it is open until somebody says that it is not.
    expect(given(after, ['c.x', 'a.x'])).to.deep.equal([20_002, 20_000]);
    after.want('d.x', [80]);
    after.want('c.x', [80]);
    after.settle();
    await until('another', () => after.port('d.x', 80) !== undefined);
    expect(given(after, ['c.x', 'd.x'])).to.deep.equal([20_002, 20_003]);
    await until('what is wanted no more is said to be gone', () => {
      const [file = ''] = readdirSync(join(directory, 'coordination')).sort().reverse();
      if (file === '') return false;
      const content = JSON.parse(readFileSync(join(directory, 'coordination', file), 'utf8'));
      expect(content['20002']).to.deep.equal({ id: 'c.x:80' });
      return Object.keys(content['20000']).join() === 'id,gone';
    });
  });

  it('are the same in two replicas that ask at once', async function () {
    this.timeout(60_000);
    const path = join(directory, 'shared');
    const open = () => keep(openCoordination({ type: 'file', directory: path }, { log, registries: [] }));
    const one = keep(portsOf(open(), 20_000, 22_999));
    const two = keep(portsOf(open(), 20_000, 22_999));
    const hosts = Array.from({ length: 1_500 }, (_, index) => `service-${index}.x`);
    for (const [index, host] of hosts.entries()) {
      if (index < 1_000) one.want(host, [80]);
      if (index >= 500) two.want(host, [80]);
    }
    const all = (ports: GatewayPorts) => given(ports, hosts).every((port) => port !== undefined);
    await until('all', () => all(one) && all(two), 30_000);
    expect(given(one, hosts)).to.deep.equal(given(two, hosts));
    expect(new Set(given(one, hosts))).to.have.property('size', 1_500);
  });

  it('fit in their documents: 10,000 services', async function () {
    this.timeout(60_000);
    const coordination = keep(new LocalCoordination());
    const ports = keep(portsOf(coordination, 20_000, 29_999));
    // The longest that there are.
    const hosts = Array.from({ length: 10_000 }, (_, index) => `${index}.${'x'.repeat(240)}`);
    for (const host of hosts) ports.want(host, [65_535]);
    const start = performance.now();
    await until('all', () => hosts.every((host) => ports.port(host, 65_535) !== undefined), 60_000);
    const sizes = await Promise.all(
      Array.from({ length: 11 }, async (_, index) =>
        JSON.stringify((await contentOf(coordination, `gateway-ports-${(19 + index) * 1_024}`)) ?? null),
      ),
    );
    const most = Math.max(...sizes.map((text) => text.length));
    console.log(
      `      10,000 ports in ${Math.round(performance.now() - start)} ms, ${most} bytes in the largest document`,
    );
    expect(most).to.be.below(400_000);
    ports.want('one-more.x', [80]);
    await until('full', () => ports.error !== undefined);
    expect(ports.error).to.equal('1 services get no port: all of 20000 to 29999 are taken; widen the range');
  });

  it('become another service’s only when the range is full, and after seven days', async () => {
    const coordination = keep(new LocalCoordination());
    const gone = (days: number) => Date.now() - days * day;
    await coordination.update('gateway-ports-19456', () => ({
      20000: { id: 'stays.x:80' },
      20001: { id: 'young.x:80', gone: gone(6) },
      20002: { id: 'old.x:80', gone: gone(8) },
      20003: { id: 'oldest.x:80', gone: gone(9) },
      what: { is: 'this' },
    }));
    const ports = keep(portsOf(coordination, 20_000, 20_004));
    for (const host of ['stays.x', 'new-1.x']) ports.want(host, [80]);
    ports.settle();
    await until('a free one', () => ports.port('new-1.x', 80) !== undefined);
    expect(given(ports, ['stays.x', 'new-1.x', 'old.x'])).to.deep.equal([20_000, 20_004, undefined]);
    ports.want('old.x', [80]);
    await until('its own again', () => ports.port('old.x', 80) !== undefined);
    expect(ports.port('old.x', 80)).to.equal(20_002);
    for (const host of ['new-2.x', 'new-3.x']) ports.want(host, [80]);
    await until('that of the oldest', () => ports.port('new-2.x', 80) !== undefined && ports.error !== undefined);
    expect(given(ports, ['new-2.x', 'new-3.x', 'young.x', 'oldest.x'])).to.deep.equal([
      20_003,
      undefined,
      undefined,
      undefined,
    ]);
  });

  it('are not argued about by replicas of different configurations', async () => {
    const coordination = keep(new LocalCoordination());
    let writes = 0;
    coordination.watch('gateway-ports-19456', () => writes++);
    const asking = keep(portsOf(coordination, 20_000, 20_009));
    asking.want('a.x', [80]);
    await until('port', () => asking.port('a.x', 80) !== undefined);
    const other = keep(portsOf(coordination, 20_000, 20_009));
    other.settle();
    await until('said to be gone, and not', () => writes >= 4);
    const before = writes;
    await new Promise((resolve) => setTimeout(resolve, 50));
    expect(writes).to.equal(before);
    expect(asking.port('a.x', 80)).to.equal(20_000);
  });

  it('close when nobody has asked for their time', async () => {
    const ports = keep(new GatewayPorts(keep(new LocalCoordination()), log));
    const changes: string[] = [];
    ports.on('change', (hosts) => changes.push(...hosts));
    ports.configure({ range: { from: 20_000, to: 20_001 }, gateways, grace: 100 });
    ports.want('a.x', [80]);
    ports.settle();
    await until('port', () => ports.of('a.x').length === 1);
    ports.want('a.x', []);
    await until('gone', () => changes.length === 2);
    expect(ports.of('a.x')).to.have.length(1);
    await until('closed', () => changes.length === 3);
    expect(ports.of('a.x')).to.deep.equal([]);
  });
});

describe('gateway ports as resources', () => {
  it('are a Gateway and a VirtualService for each, in YAML that istiod and kubectl take', async () => {
    const ports = new GatewayPorts(new LocalCoordination(), log);
    const mesh = new Mesh(temporaryDirectory());
    const projection = new Projection(mesh.catalog, ports);
    ports.configure({
      range: { from: 20_000, to: 20_009 },
      gateways: [{ ...gateways[0], selector: { b: '1', a: '2' }, bind: '10.0.0.9' }],
      grace: 0,
    });
    for (const host of ['orders.mesh', 'short']) {
      mesh.set(host, ['10.0.0.1:8080']);
      ports.want(host, [80]);
    }
    await until('ports', () => ports.port('short', 80) !== undefined);
    const resources = projection.resources('orders.mesh');
    expect(resources.map(({ type, name }) => [type, name])).to.deep.equal([
      ['ServiceEntry', 'orders.mesh'],
      ['Gateway', 'orders-mesh-80-809ac775'],
      ['VirtualService', 'orders-mesh-80-809ac775'],
    ]);
    expect(istioYaml(resources.slice(1))).to.equal(`---
apiVersion: networking.istio.io/v1
kind: Gateway
metadata:
  name: orders-mesh-80-809ac775
  namespace: shop
spec:
  servers:
    - port:
        number: 20000
        protocol: HTTP
        name: port-20000
      hosts:
        - "*"
      bind: 10.0.0.9
  selector:
    b: "1"
    a: "2"
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata:
  name: orders-mesh-80-809ac775
  namespace: shop
spec:
  hosts:
    - "*"
  gateways:
    - shop/orders-mesh-80-809ac775
  http:
    - route:
        - destination:
            host: orders.mesh
            port:
              number: 80
  exportTo:
    - "*"
`);
    expect(projection.resources('short')).to.have.length(1);
    expect(projection.rejected().get('short')?.[0]?.reason).to.match(
      /^a VirtualService leads to hosts with a dot only/,
    );
    ports.close();
    await mesh.close();
  });
});

describe('addresses of what is published', () => {
  const endpoint = (address: string, weight = 100): Endpoint => ({
    address,
    ports: { http: 8080 },
    weight,
    draining: false,
    locality: 'cn/sh',
    network: undefined,
    labels: {},
    origins: [],
  });
  const port = { name: 'http', number: 80, protocol: 'http' } as const;
  const service = {
    host: 'orders.mesh',
    namespace: 'shop',
    ports: [port],
    vips: ['240.0.0.1'],
  } as unknown as MeshService;
  const chosen: Chosen[] = [
    { endpoint: endpoint('10.0.0.1'), port: 8080, isUp: true, metadata: { zone: 'a', version: '1' } },
    { endpoint: endpoint('10.0.0.2', 50), port: 8080, isUp: true, metadata: { zone: 'b', version: '1' } },
    { endpoint: endpoint('10.0.0.3'), port: 8080, isUp: false, metadata: { zone: 'b', version: '1' } },
  ];
  const selection = { service, port, chosen };
  const places = {
    gateways: [{ address: '203.0.113.7' }, { address: 'gw.example', locality: 'us/e' }],
    error: undefined,
    port: () => 20_007,
  };

  it('are the gateways’, each with its part of what stands behind', () => {
    const { instances, refused } = addressesOf(selection, 'gateway', places);
    expect(refused).to.deep.equal([]);
    const common = { port: 20_007, isUp: true, weight: 75, metadata: { version: '1' } };
    expect(instances).to.deep.equal([
      { ...common, address: '203.0.113.7', locality: 'cn/sh' },
      { ...common, address: 'gw.example', locality: 'us/e' },
    ]);
  });

  it('are the virtual one, with the weight of all', () => {
    expect(addressesOf(selection, 'vip', places).instances).to.deep.equal([
      { address: '240.0.0.1', port: 80, isUp: true, weight: 150, locality: 'cn/sh', metadata: { version: '1' } },
    ]);
  });

  it('are down when all that stands behind is, and none when nobody does', () => {
    const down = chosen.map((one) => ({ ...one, isUp: false }));
    const [instance] = addressesOf({ ...selection, chosen: down }, 'vip', places).instances;
    expect([instance?.isUp, instance?.weight]).to.deep.equal([false, 1]);
    expect(addressesOf({ ...selection, chosen: [] }, 'gateway', places).instances).to.deep.equal([]);
  });

  it('are refused with the reason', () => {
    const reasons = [
      addressesOf(selection, 'gateway', { ...places, port: () => undefined }),
      addressesOf(selection, 'gateway', { ...places, port: () => undefined, error: 'full' }),
      addressesOf({ ...selection, service: { ...service, host: 'orders' } }, 'gateway', places),
      addressesOf({ ...selection, service: { ...service, vips: [] } }, 'vip', places),
    ].map(({ instances, refused }) => [instances.length, refused[0]?.reason.slice(0, 30)]);
    expect(reasons).to.deep.equal([
      [0, 'its port at the gateways is no'],
      [0, 'full'],
      [0, 'a VirtualService leads to host'],
      [0, 'it has no virtual address: see'],
    ]);
  });

  it('of another network’s gateway are dialled as they are', () => {
    const networks = { b: { gateways: [{ address: '203.0.113.7', port: 80 }] } };
    const copy = { ...endpoint('203.0.113.7'), ports: { http: 20_007 }, network: 'b' };
    const hidden = { ...endpoint('10.9.0.1'), network: 'b' };
    const found = behindGateways([copy, hidden], networks, [port], undefined).endpoints;
    expect(found.map(({ address, ports, network }) => [address, ports.http, network])).to.deep.equal(
      [
        ['203.0.113.7', 20_007, undefined],
        ['203.0.113.7', 80, undefined],
      ].sort((a, b) => (String(a[1]) < String(b[1]) ? -1 : 1)),
    );
  });
});

describe('gateways in the configuration', () => {
  const config = (more: string, gateway = '{ address: 203.0.113.7, ports: 20000-29999 }') =>
    parseConfig(
      `registries: [{ name: f, type: file, path: x }]
networks: { b: { gateways: [${gateway}] } }
${more}`,
      'test',
    );

  it('say the ports and whose they are', () => {
    const two =
      '{ address: 1.2.3.4, ports: 20000-20009 }, { address: 1.2.3.5, ports: 20000-20009 }, { address: 1.2.3.6, ports: 20000-20009, selector: { app: edge }, bind: 1.2.3.6 }';
    expect(gatewayPortSettings(config('istio: { network: b, grace: 1s }', two))).to.deep.equal({
      range: { from: 20_000, to: 20_009 },
      gateways: [{ selector: { istio: 'ingressgateway' } }, { selector: { app: 'edge' }, bind: '1.2.3.6' }],
      grace: 1_000,
    });
    expect(gatewayPortSettings(config(''))).to.equal(undefined);
  });

  it('are refused where they cannot work, with the place', () => {
    const cases: [string, string | undefined, RegExp][] = [
      ['istio: { network: c }', undefined, /istio\.network.*no network is named "c"; there is b/],
      ['', '{ address: 1.2.3.4, ports: 29999-20000 }', /expected a range of ports such as 20000-29999/],
      ['', '{ address: 1.2.3.4, ports: 10000-19999 }', /15000 to 15099 are Istio's own/],
      ['', '{ address: 1.2.3.4, port: 20001, ports: 20000-20002 }', /port 20001.*is in this range/],
      [
        '',
        '{ address: 1.2.3.4, ports: 20000-20002 }, { address: 1.2.3.5, ports: 20000-20003 }',
        /expected 20000-20002 as above/,
      ],
      ['', '{ address: 1.2.3.4, ports: 20000-20002, selector: {} }', /expected at least one label/],
      ['', '{ address: 1.2.3.4, ports: 20000-20002, bind: here }', /expected an IP address/],
    ];
    for (const [more, gateway, message] of cases) expect(() => config(more, gateway), message.source).to.throw(message);
  });
});
