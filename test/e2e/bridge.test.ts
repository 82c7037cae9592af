import { expect } from 'chai';
import { startDubboProvider } from '#test/servers/dubbo.js';
import { type Envoy, startEnvoy } from '#test/servers/envoy.js';
import { type Istiod, startIstiod } from '#test/servers/istiod.js';
import { startNacosClient } from '#test/servers/nacosclient.js';
import { type Pontoon, startPontoon } from '#test/servers/pontoon.js';
import { freePort } from '#test/servers/ports.js';
import { until } from '#test/servers/probes.js';
import type { Server } from '#test/servers/process.js';
import { startSpringCloud } from '#test/servers/springcloud.js';
import { gatewayTo } from './gateway.js';
import { Sidecar } from './sidecar.js';
import {
  type Clients,
  entriesOf,
  hosts,
  put,
  registerInConsul,
  registriesOf,
  requireWorld,
  startClients,
  startWorld,
  stopClients,
  stopWorld,
  type World,
  webPort,
} from './world.js';

describe('the bridge: all registries to a real istiod', function () {
  this.timeout(180_000);
  let world: World | undefined;
  let pontoon: Pontoon;
  let istiod: Istiod;
  let sidecar: Sidecar;
  let clients: Clients;
  const others: Server[] = [];
  const timings: [string, number][] = [];

  const there = (): World => {
    if (world === undefined) throw new Error('the servers have not started');
    return world;
  };
  const measured = async (
    what: string,
    host: readonly [string, number],
    addresses: readonly string[],
    timeoutMs?: number,
  ) => {
    timings.push([what, await sidecar.has(host[0], host[1], addresses, timeoutMs)]);
  };
  const local = (port: number): string => `127.0.0.1:${port}`;

  before(async function () {
    await requireWorld(this);
    this.timeout(300_000);
    world = await startWorld();
    clients = await startClients(world);
    pontoon = await startPontoon({ registries: registriesOf(world), istio: { grace: '3s' } });
    istiod = await startIstiod({ configSources: [pontoon.configSource] });
    sidecar = new Sidecar(istiod.xdsAddress);
  });

  after(async () => {
    sidecar?.close();
    console.log(timings.map(([what, ms]) => `      ${ms.toFixed(0).padStart(6)} ms  ${what}`).join('\n'));
    await Promise.all([istiod, pontoon, ...others].map((server) => server?.stop()));
    await stopClients(clients);
    await stopWorld(world);
  });

  it('istiod has what the real clients registered: hosts, ports, endpoints, weights, localities, networks, labels', async () => {
    await until('five entries', async () => (await entriesOf(istiod)).size === 5);
    const all = await entriesOf(istiod);
    const described = Object.fromEntries(
      [...all].map(([name, { spec }]) => [
        name,
        {
          ports: spec.ports.map(({ number, protocol, name: port }) => `${number} ${protocol} ${port}`),
          endpoints: (spec.endpoints ?? []).map(
            (e) => `${e.address}:${Object.values(e.ports)[0]} ${e.weight} ${e.locality ?? '-'} ${e.network ?? '-'}`,
          ),
        },
      ]),
    );
    expect(described).to.deep.equal({
      'pay-service.eureka': { ports: ['80 HTTP http'], endpoints: [`${local(clients.pay.port)} 100 cn/sh/z1 -`] },
      'orders.default-group.public.nacos': {
        ports: ['80 HTTP http'],
        endpoints: [`${local(clients.ordersPort)} 150 - -`],
      },
      'stock.nacos3': { ports: ['80 HTTP http'], endpoints: [`${local(clients.stockPort)} 100 - beijing`] },
      'web.service.consul': { ports: ['80 HTTP http'], endpoints: [`${local(webPort)} 300 - -`] },
      [hosts.greeter[0]]: { ports: ['20880 TCP tcp-dubbo'], endpoints: [`${clients.dubbo.address} 50 - -`] },
    });
    expect(all.get('stock.nacos3')?.spec.endpoints?.[0]?.labels).to.include({ version: 'v3' });
  });

  it('a sidecar gets their endpoints', async () => {
    await measured('everything at a new sidecar', hosts.pay, [local(clients.pay.port)]);
    expect(sidecar.endpoints(...hosts.pay)).to.deep.equal([
      { address: local(clients.pay.port), weight: 100, locality: 'cn/sh/z1' },
    ]);
    await sidecar.has(...hosts.orders, [local(clients.ordersPort)]);
    await sidecar.has(...hosts.stock, [local(clients.stockPort)]);
    await sidecar.has(...hosts.web, [local(webPort)]);
    await sidecar.has(...hosts.greeter, [clients.dubbo.address]);
  });

  it('Eureka: an instance added, changed and killed arrives there', async () => {
    const { eureka } = there();
    const second = await startSpringCloud({ eurekaUrl: eureka.url, app: 'pay-service', metadata: { zone: 'z1' } });
    others.push(second);
    await measured('Eureka: instance added (from the app being ready)', hosts.pay, [
      local(clients.pay.port),
      local(second.port),
    ]);
    await put(`${eureka.url}/apps/PAY-SERVICE/${second.instanceId}/status?value=OUT_OF_SERVICE`);
    await measured('Eureka: instance out of service', hosts.pay, [local(clients.pay.port)]);
    await fetch(`${eureka.url}/apps/PAY-SERVICE/${second.instanceId}/status?value=UP`, { method: 'DELETE' });
    await measured('Eureka: instance back in service', hosts.pay, [local(clients.pay.port), local(second.port)]);
    await second.kill();
    await measured('Eureka: instance killed (its lease of 3 s ends)', hosts.pay, [local(clients.pay.port)], 60_000);
  });

  for (const [name, nacos] of [
    ['Nacos 2.3.2', 'nacos2'],
    ['Nacos 3.1.0', 'nacos3'],
  ] as const)
    it(`${name}: an instance added, changed and killed arrives there`, async () => {
      const host = nacos === 'nacos2' ? hosts.orders : hosts.stock;
      const first = local(nacos === 'nacos2' ? clients.ordersPort : clients.stockPort);
      const port = await freePort();
      const second = await startNacosClient({
        address: there()[nacos].address,
        service: nacos === 'nacos2' ? 'orders' : 'stock',
        port,
      });
      others.push(second);
      await measured(`${name}: instance added (from the client being ready)`, host, [first, local(port)]);
      const start = performance.now();
      await second.setWeight(2.5);
      await until(
        'the new weight',
        () => sidecar.endpoints(...host)?.some(({ weight }) => weight === 250) ?? false,
        30_000,
        2,
      );
      timings.push([`${name}: weight changed`, performance.now() - start]);
      await second.kill();
      await measured(`${name}: client killed`, host, [first], 60_000);
    });

  it('ZooKeeper with Dubbo: an instance added, changed and killed arrives there', async () => {
    const { zookeeper } = there();
    const add = (weight: number, port: number) =>
      startDubboProvider({ zookeeper: zookeeper.connectString, mode: 'all', application: 'second', port, weight });
    const port = await freePort();
    const second = await add(100, port);
    others.push(second);
    const address = second.address;
    await measured('Dubbo: provider added (from the provider being ready)', hosts.greeter, [
      clients.dubbo.address,
      address,
    ]);
    await second.stop();
    await measured('Dubbo: provider stopped', hosts.greeter, [clients.dubbo.address]);
    const heavier = await add(200, port);
    others.push(heavier);
    await measured('Dubbo: provider back with another weight', hosts.greeter, [clients.dubbo.address, address]);
    expect(sidecar.endpoints(...hosts.greeter)?.find((endpoint) => endpoint.address === address)?.weight).to.equal(200);
    await heavier.kill();
    await measured('Dubbo: provider killed (its session ends)', hosts.greeter, [clients.dubbo.address], 60_000);
  });

  it('Consul: an instance added, changed and killed arrives there', async () => {
    const { consul } = there();
    const second = {
      ID: 'web-2',
      Name: 'web',
      Address: '127.0.0.1',
      Port: webPort + 1,
      Check: { TTL: '2s', Status: 'passing' },
    };
    await registerInConsul(consul, second);
    const beat = setInterval(
      () => void put(`${consul.url}/v1/agent/check/pass/service:web-2`).catch(() => undefined),
      500,
    );
    await measured('Consul: instance added', hosts.web, [local(webPort), local(webPort + 1)]);
    const start = performance.now();
    await registerInConsul(consul, { ...second, Weights: { Passing: 7, Warning: 1 } });
    await until(
      'the new weight',
      () => sidecar.endpoints(...hosts.web)?.some(({ weight }) => weight === 700) ?? false,
      30_000,
      2,
    );
    timings.push(['Consul: weight changed', performance.now() - start]);
    clearInterval(beat);
    await measured('Consul: instance silent (its check of 2 s fails)', hosts.web, [local(webPort)]);
  });

  it('a service in two registries is one entry with both sets of endpoints, and loses only what one registry loses', async () => {
    const { eureka } = there();
    const shared = 'shared.mesh';
    const other = await startPontoon({
      registries: registriesOf(there()).map((registry) => ({
        ...registry,
        host: '{{ service.name.lowerAscii() == "orders" ? "shared.mesh" : registry.name + "." + service.name }}',
      })),
    });
    const both = await startSpringCloud({ eurekaUrl: eureka.url, app: 'orders' });
    others.push(other, both);
    const endpoints = async () =>
      (await other.service(shared)).endpoints.map(({ address, ports }) => `${address}:${ports.http}`).sort();
    const expected = [local(both.port), local(clients.ordersPort)].sort();
    await until('both endpoints', async () => (await endpoints()).join() === expected.join());
    expect((await other.service(shared)).origins.map(({ registry }) => registry)).to.deep.equal(['eureka', 'nacos2']);
    await both.stop();
    await until('the one that is left', async () => (await endpoints()).join() === local(clients.ordersPort));
    await other.stop();
  });

  it('a mesh workload calls a service that is only in Eureka, by its host name', async () => {
    const port = await freePort();
    const envoy: Envoy = await startEnvoy(gatewayTo(istiod.xdsAddress, port, [hosts.pay]));
    others.push(envoy);
    const answer = async () =>
      (await fetch(`http://127.0.0.1:${port}/hello`, { headers: { 'x-host': hosts.pay[0] } })).text();
    await until('an answer through Envoy', async () => (await answer()) === `pay-service ${clients.pay.port}`);
  });

  it('two Pontoons that read the same registries in another order make the same bytes', async () => {
    const [first, ...rest] = registriesOf(there());
    const second = await startPontoon({ registries: [...rest.reverse(), first ?? {}] });
    others.push(second);
    await until('that it has read all registries', async () =>
      (await second.registries()).every(({ state }) => state === 'live'),
    );
    // What went during the tests before is in its grace at the first one, and unknown to the second.
    const bytes = async () => [await second.serviceEntries(), await pontoon.serviceEntries()];
    await until('the same bytes', async () => new Set(await bytes()).size === 1).catch(() => undefined);
    const [theirs, ours] = await bytes();
    expect(theirs).to.equal(ours);
    await second.stop();
  });

  it('the status page, the API and the metrics show all of it', async () => {
    const registries = await pontoon.registries();
    expect(registries.map(({ state }) => state)).to.deep.equal(['live', 'live', 'live', 'live', 'live']);
    const page = await (await fetch(pontoon.url)).text();
    for (const [host] of Object.values(hosts)) expect(page).to.include(host);
    const metrics = await (await fetch(`${pontoon.url}/metrics`)).text();
    expect(metrics).to.match(/pontoon_source_instances\{registry="eureka",type="eureka"\} 1/);
    expect(metrics).to.match(/pontoon_event_to_sent_seconds_count\{registry="nacos2"\} [1-9]/);
    const [client] = await pontoon.clients();
    const entries = client?.subscriptions.find(({ typeUrl }) => typeUrl.endsWith('/ServiceEntry'));
    expect(entries?.acknowledged?.version).to.equal(entries?.sent?.version);
  });
});
