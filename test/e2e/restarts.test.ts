import { setTimeout as sleep } from 'node:timers/promises';
import { expect } from 'chai';
import { startDubboProvider } from '#test/servers/dubbo.js';
import { type Istiod, startIstiod } from '#test/servers/istiod.js';
import { startNacosClient } from '#test/servers/nacosclient.js';
import { type Pontoon, startPontoon } from '#test/servers/pontoon.js';
import { freePort } from '#test/servers/ports.js';
import { until } from '#test/servers/probes.js';
import type { Server } from '#test/servers/process.js';
import { startSpringCloud } from '#test/servers/springcloud.js';
import { Sidecar } from './sidecar.js';
import {
  type Clients,
  entriesOf,
  hosts,
  registerInConsul,
  registriesOf,
  requireWorld,
  startClients,
  startWorld,
  stopClients,
  stopWorld,
  type World,
} from './world.js';

const downMs = 3_000;

describe('restarts: nothing is lost while a part of it all is down', function () {
  this.timeout(180_000);
  let world: World | undefined;
  let pontoon: Pontoon;
  let istiod: Istiod;
  let sidecar: Sidecar;
  let clients: Clients;
  const others: Server[] = [];

  const there = (): World => {
    if (world === undefined) throw new Error('the servers have not started');
    return world;
  };
  const versions = async (): Promise<Record<string, string>> =>
    Object.fromEntries([...(await entriesOf(istiod))].map(([name, { metadata }]) => [name, metadata.resourceVersion]));
  const counts = async (): Promise<Record<string, number>> =>
    Object.fromEntries([...(await entriesOf(istiod))].map(([name, { spec }]) => [name, spec.endpoints?.length ?? 0]));

  /** Asks istiod again and again while something happens. @returns the fewest endpoints that each host had */
  const watched = async (happens: () => Promise<void>): Promise<Record<string, number>> => {
    const fewest: Record<string, number> = {};
    const look = async () => {
      const now = await counts();
      for (const name of new Set([...Object.keys(now), ...Object.keys(fewest)]))
        fewest[name] = Math.min(fewest[name] ?? Number.POSITIVE_INFINITY, now[name] ?? 0);
    };
    await look();
    let over = false;
    const looking = (async () => {
      while (!over) {
        await look();
        await sleep(50);
      }
    })();
    await happens().finally(() => {
      over = true;
    });
    await looking;
    return fewest;
  };
  const stateOf = async (registry: string) =>
    (await pontoon.registries()).find((report) => report.registry === registry)?.state;

  before(async function () {
    await requireWorld(this);
    this.timeout(300_000);
    world = await startWorld();
    clients = await startClients(world);
    pontoon = await startPontoon({ registries: registriesOf(world) });
    istiod = await startIstiod({ configSources: [pontoon.configSource] });
    sidecar = new Sidecar(istiod.xdsAddress);
    await sidecar.has(...hosts.pay, [`127.0.0.1:${clients.pay.port}`]);
    await until('five entries', async () => (await entriesOf(istiod)).size === 5);
  });

  after(async () => {
    sidecar?.close();
    await Promise.all([istiod, pontoon, ...others].map((server) => server?.stop()));
    await stopClients(clients);
    await stopWorld(world);
  });

  for (const name of ['zookeeper', 'consul', 'nacos2', 'nacos3', 'eureka'] as const)
    it(`${name} is killed: no entry loses an endpoint while it is down, and changes flow when it is back`, async () => {
      const server = there()[name];
      const before = await counts();
      const fewest = await watched(async () => {
        await server.kill();
        await sleep(downMs);
        await until(`that ${name} is stale`, async () => (await stateOf(name)) === 'stale', 60_000);
      });
      expect(fewest).to.deep.equal(before);
      await server.start();
      await until(`that ${name} is live again`, async () => (await stateOf(name)) === 'live', 60_000);
      await addInstance(name);
    });

  /** Adds an instance to what a registry holds, by its real client, and waits until a sidecar has both. */
  async function addInstance(registry: keyof World): Promise<void> {
    const { zookeeper, eureka, nacos2, nacos3, consul } = there();
    const port = await freePort();
    const host =
      hosts[
        ({ zookeeper: 'greeter', eureka: 'pay', nacos2: 'orders', nacos3: 'stock', consul: 'web' } as const)[registry]
      ];
    if (registry === 'zookeeper')
      others.push(await startDubboProvider({ zookeeper: zookeeper.connectString, application: 'second', port }));
    if (registry === 'eureka') others.push(await startSpringCloud({ eurekaUrl: eureka.url, app: 'pay-service', port }));
    if (registry === 'nacos2')
      others.push(await startNacosClient({ address: nacos2.address, service: 'orders', port }));
    if (registry === 'nacos3') others.push(await startNacosClient({ address: nacos3.address, service: 'stock', port }));
    if (registry === 'consul')
      await registerInConsul(consul, { ID: 'web-2', Name: 'web', Address: '127.0.0.1', Port: port });
    await until(`two endpoints of ${host[0]} at the sidecar`, () => sidecar.endpoints(...host)?.length === 2, 60_000);
    expect(sidecar.addresses(...host)?.some((address) => address.endsWith(`:${port}`))).to.equal(true);
  }

  it('a registry that flaps takes nothing away, and changes flow when it has settled', async () => {
    const { zookeeper } = there();
    const before = await counts();
    const fewest = await watched(async () => {
      for (let round = 0; round < 5; round++) {
        await zookeeper.kill();
        await sleep(200);
        await zookeeper.start();
        await sleep(300);
      }
      await until('that ZooKeeper is live again', async () => (await stateOf('zookeeper')) === 'live', 60_000);
    });
    expect(fewest).to.deep.equal(before);
    const third = await startDubboProvider({ zookeeper: zookeeper.connectString, application: 'third' });
    others.push(third);
    await until('its endpoint', () => sidecar.addresses(...hosts.greeter)?.includes(third.address) ?? false, 60_000);
  });

  it('a registry that hangs without an answer takes nothing away', async () => {
    const { eureka } = there();
    const before = await versions();
    const endpoints = await counts();
    eureka.pause();
    const fewest = await watched(async () => {
      await until('that Eureka is stale', async () => (await stateOf('eureka')) === 'stale', 60_000);
    });
    eureka.resume();
    expect(fewest).to.deep.equal(endpoints);
    await until('that Eureka is live again', async () => (await stateOf('eureka')) === 'live', 60_000);
    expect(await versions()).to.deep.equal(before);
  });

  it('istiod is killed: it gets the full set again', async () => {
    const before = await versions();
    await istiod.kill();
    await istiod.start();
    expect(await versions()).to.deep.equal(before);
    sidecar.close();
    sidecar = new Sidecar(istiod.xdsAddress);
    await until('all clusters', () => sidecar.size >= 5);
  });

  it('Pontoon is restarted with the same input: istiod sees no change, and a sidecar gets no push', async () => {
    const before = await versions();
    await until('that pushes have ended', async () => {
      const { responses } = sidecar;
      await sleep(1_000);
      return sidecar.responses === responses;
    });
    const { responses } = sidecar;
    const endpoints = await counts();
    const fewest = await watched(async () => {
      await pontoon.kill();
      await sleep(500);
      await pontoon.start();
      await until(
        'that istiod is back',
        async () =>
          (await pontoon.clients()).some(({ subscriptions }) =>
            subscriptions.some(({ type, acknowledged }) => type !== undefined && acknowledged !== undefined),
          ),
        60_000,
      );
      await sleep(1_000);
    });
    expect(fewest).to.deep.equal(endpoints);
    expect(await versions()).to.deep.equal(before);
    expect(sidecar.responses - responses, 'responses to the sidecar').to.equal(0);
  });
});
