import { expect } from 'chai';
import pLimit from 'p-limit';
import { until } from '#test/servers/probes.js';
import { requireServers } from '#test/servers/require.js';
import { startZookeeper, type Zookeeper } from '#test/servers/zookeeper.js';
import { Reading, urlNode, Writer } from './harness.js';

/** As many znodes are watched for each: the interface's own, providers, consumers and configurators. */
const watched = 4;
const interfaces = 10_000;

function name(index: number): string {
  return `com.example.commerce.warehouse.api.Service${index}`;
}

function provider(index: number, host = 1): string {
  const query = `application=app${index}&interface=${name(index)}&side=provider&timestamp=1795386537623&version=1.0.0`;
  return urlNode(
    '/dubbo',
    name(index),
    `dubbo://10.${index >> 8}.${index & 255}.${host}:20880/${name(index)}?${query}`,
  );
}

/** Share of one core that this process takes over some seconds. */
async function load(seconds: number): Promise<number> {
  const before = process.cpuUsage();
  await new Promise((resolve) => setTimeout(resolve, seconds * 1000));
  const { user, system } = process.cpuUsage(before);
  return (user + system) / (seconds * 1e6);
}

describe('ZooKeeper source with 40,000 watches', function () {
  this.timeout(120_000);
  let server: Zookeeper;
  let writer: Writer;
  let reading: Reading;

  before(async function () {
    await requireServers(this, 'zookeeper');
    server = await startZookeeper({ settings: { maxSessionTimeout: 40_000 } });
    writer = await new Writer(server.port).open();
    await writer.create('/dubbo');
    const limit = pLimit(500);
    const fill = async (index: number) => {
      await writer.createAt(`/dubbo/${name(index)}`);
      await Promise.all([
        writer.createAt(`/dubbo/${name(index)}/providers`),
        writer.createAt(`/dubbo/${name(index)}/consumers`),
        writer.createAt(`/dubbo/${name(index)}/configurators`),
        writer.createAt(provider(index)),
      ]);
    };
    await Promise.all(Array.from({ length: interfaces }, (_, index) => limit(fill, index)));
  });

  after(async () => {
    await reading?.stop();
    await writer?.close();
    await server?.stop();
  });

  it('lists all within seconds, and never holds up others for long', async () => {
    const start = performance.now();
    let longest = 0;
    let last = start;
    const beat = setInterval(() => {
      const now = performance.now();
      longest = Math.max(longest, now - last);
      last = now;
    }, 5);
    const before = await packets();
    reading = new Reading({ servers: [server.connectString], sessionTimeout: '30s', probe: 'off' });
    await reading.is('live', 90_000);
    clearInterval(beat);
    const took = Math.round(performance.now() - start);
    const requests = (await packets()) - before;
    console.log(
      `      ${interfaces} interfaces listed in ${took} ms with ${requests} requests, longest stall ${Math.round(longest)} ms`,
    );
    expect(reading.view.said.size).to.equal(interfaces);
    expect(await watches()).to.be.at.least(watched * interfaces);
    // One for each watch, and few others: nothing is asked twice.
    expect(requests).to.be.below((watched + 1) * interfaces);
  });

  async function figure(name: string): Promise<number> {
    return Number(new RegExp(`${name}\\s+(\\d+)`).exec(await server.command('mntr'))?.[1]);
  }

  const watches = () => figure('zk_watch_count');
  const packets = () => figure('zk_packets_received');

  it('is nearly idle when nothing happens', async () => {
    const share = await load(4);
    console.log(`      idle: ${(share * 100).toFixed(2)} % of a core`);
    expect(share).to.be.below(0.05);
  });

  it('costs hardly anything while its server is away', async () => {
    await server.kill();
    await reading.is('stale');
    const share = await load(5);
    console.log(`      server away: ${(share * 100).toFixed(2)} % of a core`);
    expect(share).to.be.below(0.1);
  });

  it('survives the restart of its server with all of them, within the same sessions', async () => {
    reading.changes.length = 0;
    await server.start();
    await reading.is('live', 40_000);
    expect(reading.status.runs).to.equal(1);
    expect(reading.changes).to.deep.equal([]);
    expect(reading.view.said.size).to.equal(interfaces);
    await until('all watches', async () => (await watches()) >= watched * interfaces);
    for (const index of [0, 6_000, interfaces - 1]) {
      await writer.create(provider(index, 2));
      await until('the change', () => reading.services(name(index))[0]?.instances.length === 2);
    }
    const share = await load(3);
    expect(share).to.be.below(0.1);
  });
});
