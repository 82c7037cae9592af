import { renameSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { expect } from 'chai';
import type { Explanations } from '#admin/explain.js';
import type { StateReport } from '#admin/report.js';
import { shardOf } from '#catalog/shards.js';
import { urlNode, Writer } from '#test/real/zookeeper/harness.js';
import { type Consul, startConsul } from '#test/servers/consul.js';
import { type Istiod, startIstiod } from '#test/servers/istiod.js';
import { type Pontoon, startPontoon } from '#test/servers/pontoon.js';
import { until } from '#test/servers/probes.js';
import { serverFolder } from '#test/servers/process.js';
import { requireServers } from '#test/servers/require.js';
import { Wire } from '#test/servers/wire.js';
import { startZookeeper, type Zookeeper } from '#test/servers/zookeeper.js';
import { Sidecar } from './sidecar.js';
import { type Entry, put } from './world.js';

const shards = 16;
/** Of each kind: Dubbo interfaces in ZooKeeper, services in Consul, and in a file. */
const each = 134;
const numbers = Array.from({ length: each }, (_, index) => index + 1);

const dubboName = (index: number) => `com.example.Service${index}`;
const address = (kind: number, index: number, last = 1) => `10.${kind}.${index}.${last}`;
const dubbo = (index: number, last = 1) =>
  urlNode(
    '/dubbo',
    dubboName(index),
    `dubbo://${address(1, index, last)}:20880/${dubboName(index)}?interface=${dubboName(index)}&side=provider`,
  );

describe('four Pontoons with a quarter of the shards each', function () {
  this.timeout(120_000);
  let zookeeper: Zookeeper;
  let consul: Consul;
  let writer: Writer;
  let istiod: Istiod;
  let sidecar: Sidecar;
  const folder = serverFolder('shards');
  const pontoons: Pontoon[] = [];
  /** Stands for the address of each shard, whoever serves it. */
  const doors: Wire[] = [];
  /** Each Pontoon's way to Consul. */
  const ways: Wire[] = [];

  /** Host, service port and the endpoint that it has from the beginning. */
  const hosts: readonly (readonly [string, number, string])[] = [
    ...numbers.map((index) => [dubboName(index).toLowerCase(), 20_880, `${address(1, index)}:20880`] as const),
    ...numbers.map((index) => [`web-${index}.service.consul`, 80, `${address(2, index)}:8080`] as const),
    ...numbers.map((index) => [`static-${index}.files`, 80, `${address(3, index)}:8080`] as const),
  ];
  const shard = (host: string): number => shardOf(host, shards);

  const config = (index: number, serve: string) => ({
    registries: [
      { name: 'zk', type: 'zookeeper', servers: [zookeeper.connectString], host: 'preset:interface', probe: 'off' },
      { name: 'consul', type: 'consul', servers: [`http://127.0.0.1:${ways[index]?.port}`] },
      { name: 'static', type: 'file', path: join(folder, 'static.yaml') },
    ],
    istio: { serve: `${serve}/${shards}` },
    listener: { shards },
  });

  function writeFile(): void {
    const services = numbers.map((index) => ({
      name: `static-${index}.files`,
      instances: [{ address: address(3, index), port: 8080 }],
    }));
    writeFileSync(join(folder, 'new'), JSON.stringify({ services }));
    renameSync(join(folder, 'new'), join(folder, 'static.yaml'));
  }

  const register = (index: number, last = 1) =>
    put(`${consul.url}/v1/agent/service/register`, {
      ID: `web-${index}-${last}`,
      Name: `web-${index}`,
      Address: address(2, index, last),
      Port: 8080,
    });

  const lead = (to: Pontoon, from: number, until: number): void => {
    for (let shard = from; shard <= until; shard++) doors[shard]?.turn(to.xdsPort + shard);
  };
  const isSynced = async (pontoon: Pontoon) =>
    ((await pontoon.get('/api/v1/state')) as StateReport).waitingFor.length === 0 &&
    (await fetch(`${pontoon.url}/readyz`)).status === 200;

  const entries = async () => (await istiod.configz()) as Entry[];
  const versions = async () =>
    Object.fromEntries((await entries()).map(({ metadata }) => [metadata.name, metadata.resourceVersion]));

  /** Looks at every host at the sidecar again and again while something happens: none may lose the endpoint that it has from the beginning. */
  async function keeping(happens: () => Promise<void>): Promise<void> {
    const lost = new Set<string>();
    const look = (): void => {
      for (const [host, port, endpoint] of hosts)
        if (!sidecar.addresses(host, port)?.includes(endpoint)) lost.add(host);
    };
    look();
    const watch = setInterval(look, 20);
    await happens().finally(() => clearInterval(watch));
    look();
    expect([...lost], 'hosts that lost their endpoint at the sidecar').to.deep.equal([]);
  }

  /** Waits until a sidecar has a second endpoint of a host, and takes care that it had none before. */
  async function gets(host: string, port: number, endpoint: string, change: () => Promise<void>): Promise<void> {
    expect(sidecar.addresses(host, port)).to.not.include(endpoint);
    await change();
    await until(`${endpoint} at the sidecar`, () => sidecar.addresses(host, port)?.includes(endpoint) ?? false, 60_000);
  }

  before(async function () {
    await requireServers(this, 'zookeeper', 'consul', 'istiod');
    [zookeeper, consul] = await Promise.all([startZookeeper(), startConsul()]);
    writeFile();
    writer = await new Writer(zookeeper.port).open();
    for (const index of numbers) await writer.create(dubbo(index));
    for (const index of numbers) await register(index);
    for (const index of [0, 1, 2, 3]) {
      ways.push(await Wire.open(consul.port));
      pontoons.push(await startPontoon(config(index, `${index * 4}-${index * 4 + 3}`)));
    }
    for (let shard = 0; shard < shards; shard++) {
      const owner = pontoons[Math.floor(shard / 4)] as Pontoon;
      doors.push(await Wire.open(owner.xdsPort + shard));
    }
    for (const pontoon of pontoons) await until('that it is synced', () => isSynced(pontoon), 60_000);
  });

  after(async () => {
    sidecar?.close();
    await writer?.close();
    await Promise.all([istiod, ...pontoons, zookeeper, consul].map((server) => server?.stop()));
    await Promise.all([...doors, ...ways].map((wire) => wire.close()));
  });

  it('read a quarter each of what is read service by service', async () => {
    // Two for each interface, in one session; and a few for each Pontoon.
    const watches = Number(/zk_watch_count\s+(\d+)/.exec(await zookeeper.command('mntr'))?.[1]);
    expect(watches, 'watches at ZooKeeper').to.be.within(2 * each, 2 * each + 4 * 20);
    for (const way of ways) expect(way.pieces, 'requests to Consul').to.be.below(each);
    for (const pontoon of pontoons) {
      const reports = await pontoon.registries();
      const [zk, co, file] = reports;
      expect(zk?.services).to.be.within(10, each / 2);
      expect(co?.services).to.be.within(10, each / 2);
      expect([zk?.elsewhere, co?.elsewhere]).to.deep.equal([0, 0]);
      expect(file?.services).to.equal(each);
      expect(file?.elsewhere).to.be.above(each / 2);
      expect(reports.map(({ rejected }) => rejected)).to.deep.equal([0, 0, 0]);
    }
    const [host] = hosts.find(([host]) => host.endsWith('.files') && shard(host) === 15) ?? [''];
    const said = (await pontoons[0]?.get(`/api/v1/explain?q=${host}`)) as Explanations;
    expect(JSON.stringify(said)).to.include(
      `its host ${host} falls into shard 15 of 16, which this Pontoon does not serve (it serves 0-3/16)`,
    );
  });

  it('give one istiod everything, and nothing twice', async () => {
    istiod = await startIstiod({ configSources: doors.map(({ port }) => `xds://127.0.0.1:${port}`) });
    const found = (await entries()).map(({ spec }) => spec.hosts[0]);
    expect(found.sort()).to.deep.equal(hosts.map(([host]) => host).sort());
    sidecar = new Sidecar(istiod.xdsAddress);
    await until('all endpoints at the sidecar', () =>
      hosts.every(([host, port, endpoint]) => sidecar.addresses(host, port)?.includes(endpoint)),
    );
  });

  it('go on when one of them is killed and comes back, and later changes flow', async () => {
    const killed = pontoons[2] as Pontoon;
    const isIts = (host: string) => Math.floor(shard(host) / 4) === 2;
    const index = numbers.find((index) => isIts(`web-${index}.service.consul`)) ?? 0;
    const own = numbers.find((index) => isIts(dubboName(index).toLowerCase())) ?? 0;
    const other = numbers.find((index) => !isIts(dubboName(index).toLowerCase())) ?? 0;
    await keeping(async () => {
      await killed.kill();
      await gets(dubboName(other).toLowerCase(), 20_880, `${address(1, other, 2)}:20880`, () =>
        writer.create(dubbo(other, 2)),
      );
      await register(index, 2);
      await sleep(500);
      await killed.start();
      const late = `${address(2, index, 2)}:8080`;
      const host = `web-${index}.service.consul`;
      await until('what came meanwhile', () => sidecar.addresses(host, 80)?.includes(late) ?? false, 60_000);
      await gets(dubboName(own).toLowerCase(), 20_880, `${address(1, own, 2)}:20880`, () =>
        writer.create(dubbo(own, 2)),
      );
    });
  });

  it('move shards by configuration, while services change, without an endpoint lost', async () => {
    const [first, second] = pontoons as [Pontoon, Pontoon];
    const moved = (host: string) => shard(host) === 4 || shard(host) === 5;
    const churned = numbers.filter((index) => moved(`web-${index}.service.consul`));
    const own = numbers.find((index) => moved(dubboName(index).toLowerCase())) ?? 0;
    let isOver = false;
    const churn = async (): Promise<void> => {
      for (let last = 3; !isOver; last++)
        for (const index of churned) {
          await register(index, last);
          await put(`${consul.url}/v1/agent/service/deregister/web-${index}-${last - 1}`).catch(() => undefined);
          await sleep(20);
        }
    };
    await keeping(async () => {
      // What is registered from the beginning stays; another instance of each comes and goes.
      const churning = churn();
      try {
        await first.reload(config(0, '0-5'));
        await until('that the new owner is synced', () => isSynced(first), 60_000);
        lead(first, 4, 5);
        await second.reload(config(1, '6-7'));
        await sleep(1_000);
      } finally {
        isOver = true;
        await churning;
      }
      expect((await second.registries())[1]?.services).to.be.below((await first.registries())[1]?.services ?? 0);
      await gets(dubboName(own).toLowerCase(), 20_880, `${address(1, own, 7)}:20880`, () =>
        writer.create(dubbo(own, 7)),
      );
      const index = churned[0] ?? 0;
      await gets(`web-${index}.service.consul`, 80, `${address(2, index, 250)}:8080`, () => register(index, 250));
    });
    expect((await entries()).length).to.equal(hosts.length);
  });

  it('and back, without an order: the old owner closes first, and the new one does not answer before it knows all', async () => {
    const [first, second] = pontoons as [Pontoon, Pontoon];
    const own = numbers.find((index) => shard(dubboName(index).toLowerCase()) === 5) ?? 0;
    await keeping(async () => {
      await first.reload(config(0, '0-3'));
      lead(second, 4, 5);
      zookeeper.pause();
      await second.reload(config(1, '4-7'));
      const asks = async () => (await second.clients()).length === 4;
      // An answer without what ZooKeeper holds would have come through by then.
      const isAsked = until('that istiod asks the new owner', asks, 60_000).then(() => sleep(1_000));
      await isAsked.finally(() => zookeeper.resume());
      await until('that it is synced', () => isSynced(second), 60_000);
      await gets(dubboName(own).toLowerCase(), 20_880, `${address(1, own, 8)}:20880`, () =>
        writer.create(dubbo(own, 8)),
      );
    });
  });

  it('say the same as a replica of one of them, and all of it again to an istiod that is restarted', async () => {
    const fourth = pontoons[3] as Pontoon;
    ways.push(await Wire.open(consul.port));
    const replica = await startPontoon(config(4, '12-15'));
    pontoons.push(replica);
    await until('that the replica is synced', () => isSynced(replica), 60_000);
    expect(await replica.serviceEntries()).to.equal(await fourth.serviceEntries());
    const before = await versions();
    await keeping(async () => {
      lead(replica, 12, 15);
      await until('that istiod is there', async () => (await replica.clients()).length === 4, 60_000);
    });
    expect(await versions()).to.deep.equal(before);
    await istiod.kill();
    await istiod.start();
    expect(await versions()).to.deep.equal(before);
  });
});
