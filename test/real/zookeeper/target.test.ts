import { mkdtempSync, readFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { isDeepStrictEqual } from 'node:util';
import { expect } from 'chai';
import pLimit from 'p-limit';
import { Driver, type SessionName } from '#adapters/zookeeper/driver.js';
import type { Placed } from '#publish/contract.js';
import { until } from '#test/servers/probes.js';
import { requireServers } from '#test/servers/require.js';
import { startZookeeper, type Zookeeper } from '#test/servers/zookeeper.js';
import { Reading, urlNode, Writer } from './harness.js';
import { asPlaced, instance, Publisher } from './publisher.js';

/** How many services the test of many writes. */
const services = Number(process.env.PONTOON_TEST_SERVICES ?? 100);

/** ms that the server keeps what has no connection. */
const sessionTimeout = 4_000;

describe('ZooKeeper as a target', function () {
  this.timeout(60_000);
  let server: Zookeeper;
  let writer: Writer;
  let reading: Reading;
  const publishers: Publisher[] = [];

  before(async function () {
    await requireServers(this, 'zookeeper');
    server = await startZookeeper({ settings: { maxSessionTimeout: sessionTimeout } });
    writer = await new Writer(server.port).open();
    reading = new Reading({ servers: [server.connectString] });
    await reading.is('live');
  });

  after(async () => {
    await reading?.stop();
    await writer?.close();
    await server?.stop();
  });

  afterEach(async () => {
    await Promise.all(publishers.splice(0).map((one) => one.close()));
  });

  function publish(directory?: string): Publisher {
    const one = new Publisher(server.port, directory);
    publishers.push(one);
    return one;
  }

  /** Waits until the source reads what was placed, and nothing else. */
  async function reads(name: string, placed: readonly Placed[]): Promise<void> {
    const found = () => reading.services(name).flatMap(({ instances }) => instances.map(asPlaced));
    const byId = (all: readonly Placed[]) => [...all].sort((a, b) => (a.id < b.id ? -1 : 1));
    await until(`${name} as placed`, () => isDeepStrictEqual(byId(found()), byId(placed)), 20_000, 20).catch(
      (error) => {
        expect(byId(found()), error.message).to.deep.equal(byId(placed));
        throw error;
      },
    );
  }

  /** Every list of children that a consumer saw. */
  function follow(path: string): { readonly seen: string[][]; stop(): void } {
    const seen: string[][] = [];
    let isOver = false;
    const read = (): void => {
      if (!isOver)
        writer.client.getChildren(path, read, (error, children) => void (error || seen.push(children.sort())));
    };
    read();
    return {
      seen,
      stop: () => {
        isOver = true;
      },
    };
  }

  const blocks = [
    { level: 'all' },
    { level: 'interface', group: 'g1', version: '1.0.0' },
    { level: 'application', group: 'g1', version: '1.0.0', protocol: 'tri' },
    { layout: 'springCloud' },
  ] as const;
  for (const [index, block] of blocks.entries())
    it(`is read back as placed, and goes: ${Object.values(block).join(' ')}`, async () => {
      const publisher = publish();
      const name = `shop.Orders${index}`;
      const one = instance('10.9.0.1', 80, { metadata: { zone: 'z1', note: 'a=b c%d', 'odd key': 'x', also: 'a&b' } });
      const two = instance('fd00::1', 81, { weight: 250 });
      const three = instance('late.example.org', 82, { isUp: false });
      const first = await publisher.write(name, block, one, two, three);
      expect(first.refused).to.deep.equal([]);
      expect(first.placed.map(({ instance: { isUp } }) => isUp)).to.deep.equal([true, true, false]);
      expect(first.placed[0]?.instance.metadata).to.include({ zone: 'z1', note: 'a=b c%d', 'pontoon-owner': 'a' });
      if (!('layout' in block)) expect(first.placed[1]?.instance.weight).to.equal(250);
      await reads(name, first.placed);
      const requests = publisher.requests;
      await publisher.write(name, block, one, two, three);
      expect(publisher.requests, 'nothing differs').to.equal(requests);
      expect(await publisher.renew(name)).to.equal(true);
      // Another run's mark is no difference either.
      const otherRun = { ...one, metadata: { ...one.metadata, 'pontoon-run': '2' } };
      await publisher.write(name, block, otherRun, two, three);
      expect(publisher.requests).to.equal(requests);
      const second = await publisher.write(name, block, { ...one, isUp: false }, { ...two, weight: 50 });
      await reads(name, second.placed);
      expect(second.placed).to.have.length(2);
      await publisher.write(name, block);
      await reads(name, []);
    });

  it('keeps other applications in the mapping, and takes out its own with its last instance', async () => {
    const name = 'shop.Mapped';
    await writer.put(`/dubbo/mapping/${name}`, 'other-app');
    const publisher = publish();
    await Promise.all([
      publisher.write(name, {}, instance('10.9.0.1', 80)),
      publish().write(name, { version: '2', application: 'second' }, instance('10.9.0.2', 80)),
    ]);
    expect((await writer.data(`/dubbo/mapping/${name}`)).split(',').sort()).to.deep.equal([
      'other-app',
      'second',
      name,
    ]);
    await publisher.write(name, {});
    expect((await writer.data(`/dubbo/mapping/${name}`)).split(',').sort()).to.deep.equal(['other-app', 'second']);
    expect(await writer.children(`/dubbo/metadata/${name}`)).to.deep.equal([]);
  });

  it('never touches what others have there', async () => {
    const name = 'shop.Foreign';
    const foreign = urlNode('/dubbo', name, `dubbo://10.9.0.1:80/${name}?interface=${name}&side=provider`);
    const marked = urlNode('/dubbo', name, `dubbo://10.9.0.2:80/${name}?interface=${name}&pontoon-owner=b`);
    for (const path of [foreign, marked]) await writer.create(path);
    const application = `/services/${name}/10.9.0.3:80`;
    await writer.create(application, '{"name":"somebody"}');
    const publisher = publish();
    const all = [1, 2, 3, 4].map((n) => instance(`10.9.0.${n}`, 80));
    const { placed, refused } = await publisher.write(name, {}, ...all);
    expect(placed.map(({ id }) => id)).to.deep.equal([`dubbo://10.9.0.4:80/${name}`]);
    expect(refused.map(({ record }) => record)).to.deep.equal(['10.9.0.1:80', '10.9.0.2:80', '10.9.0.3:80']);
    expect(refused[0]?.reason).to.match(/registered itself/);
    expect(refused[1]?.reason).to.match(/Pontoon "b"/);
    await publisher.write(name, {});
    for (const path of [foreign, marked, application]) expect(await writer.exists(path), path).to.equal(true);
    // What stays in the way of nobody is gone.
    expect(await writer.children(`/dubbo/${name}/providers`)).to.have.length(2);
  });

  it('goes on with its session after a restart, and writes nothing', async () => {
    const name = 'shop.Resumed';
    const directory = mkdtempSync(join(tmpdir(), 'pontoon-'));
    const one = publish(directory);
    const { placed } = await one.write(name, {}, instance('10.9.0.1', 80), instance('10.9.0.2', 80));
    const { seen, stop } = follow(`/dubbo/${name}/providers`);
    await one.close();
    const two = publish(directory);
    two.takeOver(one, name);
    expect(await two.renew(name), 'it has to be looked at once').to.equal(false);
    const again = await two.write(name, {}, instance('10.9.0.1', 80), instance('10.9.0.2', 80));
    expect(two.requests).to.equal(0);
    expect(again.placed).to.deep.equal(placed);
    expect(await two.renew(name)).to.equal(true);
    await sleep(sessionTimeout + 1_500);
    stop();
    expect(seen.every((children) => children.length === 2)).to.equal(true);
    await reads(name, placed);
  });

  it('takes over from another session at once, and consumers see no change', async () => {
    const name = 'shop.Taken';
    const one = publish();
    const { placed } = await one.write(name, {}, instance('10.9.0.1', 80), instance('10.9.0.2', 80));
    const { seen, stop } = follow(`/dubbo/${name}/providers`);
    await one.close();
    const two = publish();
    two.takeOver(one, name);
    await two.write(name, {}, instance('10.9.0.1', 80), instance('10.9.0.2', 80));
    // One for each level.
    expect(two.requests).to.equal(2);
    await sleep(sessionTimeout + 1_500);
    stop();
    expect(seen.every((children) => isDeepStrictEqual(children, seen[0]) && children.length === 2)).to.equal(true);
    await reads(name, placed);
  });

  it('writes everything again when its session has expired', async () => {
    const name = 'shop.Expired';
    const directory = mkdtempSync(join(tmpdir(), 'pontoon-'));
    const publisher = publish(directory);
    const { placed } = await publisher.write(name, {}, instance('10.9.0.1', 80));
    await reads(name, placed);
    const path = `/services/${name}/10.9.0.1:80`;
    const owner = await ephemeralOwner(path);
    // Whoever has its name may end it.
    const kept = JSON.parse(readFileSync(join(directory, 'zookeeper-zk.json'), 'utf8'));
    expect(kept.id).to.equal(owner);
    const isOther = async () => ![owner, ''].includes(await ephemeralOwner(path));
    // Its owner may take it back before it is ended.
    for (let tries = 0; tries < 10 && !(await isOther()); tries++) {
      const { client, ...other } = ending(kept);
      const connected = new Promise<void>((resolve) => client.once('connected', () => resolve()));
      client.connect();
      await Promise.race([connected, sleep(2_000)]);
      await other.close();
      await sleep(500);
    }
    await until('another session', isOther, 30_000, 50);
    await reads(name, placed);
    expect(await publisher.renew(name)).to.equal(true);
  });

  function ending(name: SessionName) {
    const driver = new Driver([{ host: '127.0.0.1', port: server.port }], 10_000, () => undefined, undefined, name);
    return { client: driver.client, close: () => driver.close() };
  }

  function ephemeralOwner(path: string): Promise<string> {
    return new Promise((resolve) =>
      writer.client.exists(path, (_, stat) =>
        resolve((stat as unknown as { ephemeralOwner?: Buffer } | null)?.ephemeralOwner?.toString('hex') ?? ''),
      ),
    );
  }

  it(`writes ${services} services of 10 instances, and knows them again`, async () => {
    const publisher = publish();
    const limit = pLimit(16);
    const instances = Array.from({ length: 10 }, (_, n) => instance('10.8.0.1', 1000 + n));
    const all = Array.from({ length: services }, (_, n) => `many.Service${n}`);
    const write = (one: Publisher) => Promise.all(all.map((name) => limit(() => one.write(name, {}, ...instances))));
    const rounds: string[] = [];
    const timed = async (what: string, one: Publisher) => {
      const before = performance.now();
      const requests = one.requests;
      await write(one);
      rounds.push(`${what} ${Math.round(performance.now() - before)} ms, ${one.requests - requests} requests`);
    };
    await timed('written in', publisher);
    await timed('looked at again in', publisher);
    expect(await publisher.renew(all[0] ?? '')).to.equal(true);
    const other = publish();
    for (const name of all) other.takeOver(publisher, name);
    await timed('taken over in', other);
    console.log(`      ${rounds.join('; ')}`);
    expect(await writer.children(`/services/${all.at(-1)}`)).to.have.length(10);
    await Promise.all(all.map((name) => limit(() => other.write(name, {}))));
    expect(await writer.children(`/services/${all.at(-1)}`)).to.have.length(0);
  });
});
