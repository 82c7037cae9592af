import { createServer, type Server } from 'node:net';
import { expect } from 'chai';
import pLimit from 'p-limit';
import { freePort } from '#test/servers/ports.js';
import { until } from '#test/servers/probes.js';
import { requireServers } from '#test/servers/require.js';
import { startZookeeper, type Zookeeper } from '#test/servers/zookeeper.js';
import { Reading, urlNode, Writer } from './harness.js';

describe('ZooKeeper source with persistent nodes', function () {
  this.timeout(120_000);
  /** The interface of the test that runs; each has its own. */
  let name = '';
  let server: Zookeeper;
  let writer: Writer;

  before(async function () {
    await requireServers(this, 'zookeeper');
    server = await startZookeeper();
    writer = await new Writer(server.port).open();
  });

  after(async () => {
    await writer?.close();
    await server?.stop();
  });

  let count = 0;
  beforeEach(() => {
    name = `shop.Left${++count}`;
  });

  const provider = (port: number) => urlNode('/dubbo', name, `dubbo://127.0.0.1:${port}/${name}`);

  function listen(port: number): Promise<Server> {
    const listener = createServer((socket) => socket.destroy());
    return new Promise((resolve) => listener.listen(port, '127.0.0.1', () => resolve(listener)));
  }

  it('notes a dead one, keeps it, and takes the note back when it listens again', async () => {
    const [alive, dead, ephemeral] = [await freePort(), await freePort(), await freePort()];
    const listener = await listen(alive);
    await writer.create(provider(alive));
    await writer.create(provider(dead));
    await writer.create(provider(ephemeral), '', { ephemeral: true });
    const reading = new Reading({ servers: [server.connectString] }, [], { unreadable: 30_000, probes: 500 });
    const notes = () => reading.services(name)[0]?.notes ?? [];
    try {
      await until('a note', () => notes().length > 0);
      const [note] = notes();
      console.log(`      ${note?.record}: ${note?.text}`);
      expect(notes().map(({ record }) => record)).to.deep.equal([`dubbo://127.0.0.1:${dead}/${name}`]);
      expect(note?.text).to.match(/persistent.*nothing listens there since 2/);
      expect(reading.services(name)[0]?.instances).to.have.lengthOf(3);
      const back = await listen(dead);
      await until('no note', () => notes().length === 0);
      await new Promise((resolve) => back.close(resolve));
      await until('the note again', () => notes().length === 1);
      await writer.remove(provider(dead));
      await until(
        'no note and no instance',
        () => notes().length + (reading.services(name)[0]?.instances.length ?? 0) === 2,
      );
    } finally {
      await reading.stop();
      await new Promise((resolve) => listener.close(resolve));
    }
  });

  it('notes a dead one of Spring Cloud, and of Dubbo by application', async () => {
    const [spring, dubbo] = [await freePort(), await freePort()];
    const instance = (port: number, metadata: object) =>
      JSON.stringify({ name: 'left', id: 'x', address: '127.0.0.1', port, payload: { metadata } });
    await writer.put('/services/left/spring', instance(spring, {}));
    const endpoints = JSON.stringify([{ port: dubbo, protocol: 'dubbo' }]);
    await writer.put('/services/left/dubbo', instance(dubbo, { 'dubbo.endpoints': endpoints }));
    await writer.put('/dubbo/mapping/shop.ByApplication', 'left');
    const reading = new Reading({ servers: [server.connectString] });
    try {
      for (const service of ['left', 'shop.ByApplication'])
        await until(`the note on ${service}`, () => reading.services(service)[0]?.notes?.length === 1);
      // It says another port now, where somebody listens.
      const alive = await freePort();
      const listener = await listen(alive);
      await writer.set('/services/left/spring', instance(alive, {}));
      await until('no note', () => reading.services('left')[0]?.notes?.length === 0);
      expect(reading.services('shop.ByApplication')[0]?.notes).to.have.lengthOf(1);
      await new Promise((resolve) => listener.close(resolve));
    } finally {
      await reading.stop();
    }
  });

  it('asks nothing with probe: off', async () => {
    await writer.create(provider(await freePort()));
    const reading = new Reading({ servers: [server.connectString], probe: 'off' }, [], {
      unreadable: 30_000,
      probes: 100,
    });
    await reading.is('live');
    await new Promise((resolve) => setTimeout(resolve, 6_000));
    expect(reading.services(name)[0]?.notes ?? []).to.deep.equal([]);
    await reading.stop();
  });

  it('finds the dead among 10,000 nodes at little cost', async () => {
    const [alive, dead] = [await freePort(), await freePort()];
    const listener = await listen(alive);
    const limit = pLimit(200);
    const interfaces = Array.from({ length: 1_000 }, (_, index) => `shop.Many${index}`);
    const fill = async (service: string, index: number) => {
      await writer.create(`/dubbo/${service}/providers`);
      // Each at an endpoint of its own: all of 127.0.0.0/8 is this machine, and the listener is at one of them alone.
      for (let each = 0; each < 10; each++) {
        const place = each === 0 ? `127.0.0.1:${alive}` : `127.${each}.${index >> 8}.${index & 255}:${dead}`;
        await writer.createAt(urlNode('/dubbo', service, `dubbo://${place}/${service}`));
      }
    };
    await Promise.all(interfaces.map((service, index) => limit(fill, service, index)));
    const reading = new Reading({ servers: [server.connectString] });
    try {
      await reading.is('live');
      const cpu = process.cpuUsage();
      const start = performance.now();
      const noted = () => [...reading.view.said.values()].filter(({ notes }) => notes?.length === 9).length;
      await until('all noted', () => noted() === interfaces.length, 110_000, 500);
      const { user, system } = process.cpuUsage(cpu);
      const seconds = (performance.now() - start) / 1000;
      const share = (user + system) / seconds / 1e4;
      console.log(
        `      9,000 of 10,000 noted after ${seconds.toFixed(0)} s, ${share.toFixed(1)} % of a core until then`,
      );
      expect(share).to.be.below(50);
    } finally {
      await reading.stop();
      await new Promise((resolve) => listener.close(resolve));
    }
  });
});
