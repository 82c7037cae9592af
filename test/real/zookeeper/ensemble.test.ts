import { expect } from 'chai';
import { until } from '#test/servers/probes.js';
import { requireServers } from '#test/servers/require.js';
import { startEnsemble, type Zookeeper } from '#test/servers/zookeeper.js';
import { Reading, urlNode, Writer } from './harness.js';

describe('ZooKeeper source with an ensemble of three and an observer', function () {
  this.timeout(120_000);
  let servers: Zookeeper[];
  const name = 'shop.Ensemble';
  const provider = (number: number) => urlNode('/dubbo', name, `dubbo://10.0.0.${number}:1/${name}`);
  const places = (...numbers: number[]) => ({ '/': numbers.map((number) => `dubbo://10.0.0.${number}:1`) });

  before(async function () {
    await requireServers(this, 'zookeeper');
    servers = await startEnsemble();
  });

  after(() => Promise.all((servers ?? []).map((server) => server.stop())));

  /** The one of these servers that has a session, by what each says of its connections. */
  async function inUse(among: readonly Zookeeper[]): Promise<Zookeeper> {
    for (const server of among) if (server.running && (await server.command('cons')).includes('sid=')) return server;
    throw new Error('no server has a session');
  }

  it('goes on with another server when its own is killed, with the same session', async () => {
    // The leader stays, and writes: without one nobody's session goes on.
    const modes = await Promise.all(servers.map((server) => server.command('srvr')));
    const followers = servers.filter((_, index) => modes[index]?.includes('Mode: follower'));
    const leader = servers.find((_, index) => modes[index]?.includes('Mode: leader')) as Zookeeper;
    const reading = new Reading({ servers: followers.map(({ connectString }) => connectString) });
    try {
      await reading.is('live');
      const own = await inUse(followers);
      const writer = await new Writer(leader.port).open();
      await writer.create(provider(1));
      await reading.sees(name, places(1));
      reading.changes.length = 0;
      await own.kill();
      await until('a session elsewhere', async () => (await inUse(followers)) !== own);
      await reading.is('live');
      expect(reading.status.runs).to.equal(1);
      await writer.create(provider(2));
      await reading.sees(name, places(1, 2));
      expect(new Set(reading.changes.flatMap(({ ids }) => ids)).size, 'services that changed').to.equal(1);
      await writer.close();
      await own.start();
    } finally {
      await reading.stop();
    }
  });

  it('reads an observer, and keeps everything while that is away', async () => {
    const observer = servers[3] as Zookeeper;
    expect(await observer.command('srvr')).to.include('Mode: observer');
    const reading = new Reading({ servers: [observer.connectString], sessionTimeout: '4s' });
    try {
      await reading.sees(name, places(1, 2));
      await observer.kill();
      await reading.is('stale');
      const writer = await write(provider(3), observer);
      expect(reading.of(name)).to.deep.equal(places(1, 2));
      await observer.start();
      await reading.sees(name, places(1, 2, 3), 60_000);
      await writer.close();
    } finally {
      await reading.stop();
    }
  });

  /** Writes by another server than the one that is to be killed. */
  async function write(path: string, not: Zookeeper): Promise<Writer> {
    const server = servers.find((one) => one !== not) as Zookeeper;
    const writer = await new Writer(server.port).open();
    await writer.create(path);
    return writer;
  }
});
