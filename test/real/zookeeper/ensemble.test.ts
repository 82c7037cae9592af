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

  /** The server that a session of the process is with, by what each says of its connections. */
  async function inUse(): Promise<Zookeeper> {
    for (const server of servers) if (server.running && (await server.command('cons')).includes('sid=')) return server;
    throw new Error('no server has a session');
  }

  it('goes on with another server when its own is killed, with the same session', async () => {
    const reading = new Reading({ servers: servers.slice(0, 3).map(({ connectString }) => connectString) });
    try {
      await reading.is('live');
      const own = await inUse();
      const writer = await write(provider(1), own);
      await reading.sees(name, places(1));
      reading.changes.length = 0;
      await own.kill();
      await until('a session elsewhere', async () => (await inUse()) !== own);
      await reading.is('live');
      expect(reading.status.runs).to.equal(1);
      await writer.create(provider(2));
      await reading.sees(name, places(1, 2));
      expect(reading.changes.flatMap(({ ids }) => ids)).to.have.lengthOf(1);
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
