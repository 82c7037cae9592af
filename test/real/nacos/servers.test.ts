import { expect } from 'chai';
import { type Nacos, startNacos } from '#test/servers/nacos.js';
import { freePort } from '#test/servers/ports.js';
import { until } from '#test/servers/probes.js';
import { requireServers } from '#test/servers/require.js';
import { Wire } from '#test/servers/wire.js';
import { ports, readFrom, versions } from './read.js';
import type { NacosRun } from './recorder.js';
import { Registrations } from './registrations.js';
import { reload } from './reload.js';

for (const version of versions)
  describe(`Nacos ${version}, several servers`, function () {
    this.timeout(120_000);
    let servers: Nacos[] = [];
    let wires: Wire[] = [];
    let recorder: NacosRun | undefined;

    before(async function () {
      await requireServers(this, version === '3.1.0' ? 'nacos3' : 'nacos2');
      this.timeout(200_000);
      servers = await Promise.all([startNacos({ version }), startNacos({ version })]);
      // No cluster: each has what the test gives it.
      for (const server of servers) await new Registrations(server).register({ service: 'orders', port: 9_001 });
    });
    after(async () => {
      await Promise.all(servers.map((server) => server.stop()));
    });
    beforeEach(async () => {
      wires = await Promise.all(servers.map(({ port }) => Wire.open(port, [1_000])));
    });
    afterEach(async () => {
      expect(await recorder?.stop()).to.be.below(2_000);
      for (const wire of wires) await wire.close();
    });

    const addresses = () => wires.map(({ port }) => `127.0.0.1:${port}`);
    const connected = () => wires.findIndex(({ connections }) => connections > 0);
    const live = async (listed: readonly string[], config: Record<string, unknown> = {}) => {
      recorder = readFrom(listed, config);
      await recorder.wait('live', ({ lastState }) => lastState?.kind === 'live');
      return recorder;
    };

    it('passes over a server that is dead', async () => {
      const dead = `127.0.0.1:${await freePort()}`;
      for (const api of ['grpc', 'http']) {
        const run = await live([dead, ...addresses()], { api });
        expect(ports(run.named('orders'))).to.deep.equal([9_001]);
        await run.stop();
      }
    });

    it('goes to another server when it loses one, and loses nothing on the way', async () => {
      const run = await live(addresses());
      const first = connected();
      run.fewest = run.services.size;
      await wires[first]?.close();
      await run.wait('live again', ({ states }) => states.length > 3 && states.at(-1)?.kind === 'live');
      expect(connected()).to.equal(1 - first);
      expect(run.fewest).to.equal(run.services.size);
      await new Registrations(servers[1 - first] as Nacos).register({ service: 'orders', port: 9_002 });
      await run.wait('pushed', ({ named }) => ports(named.call(run, 'orders'))?.length === 2, 5_000);
      await new Registrations(servers[1 - first] as Nacos).deregister({ service: 'orders', port: 9_002 });
      await run.wait('as before', ({ named }) => ports(named.call(run, 'orders'))?.length === 1, 10_000);
    });

    it('goes where its server sends it, and is not stale on the way', async () => {
      // Three ways to two servers: without being told where to go, it would go to the next one.
      const [first, second] = addresses() as [string, string];
      const dead = `127.0.0.1:${await freePort()}`;
      const run = await live([first, dead, second]);
      const seen = run.states.length;
      await reload(servers[0] as Nacos, second);
      await until('a connection to the other server', () => connected() === 1, 10_000);
      await run.wait('listed again', ({ listings }) => listings === 2);
      expect(run.states.slice(seen).map(({ kind }) => kind)).to.deep.equal(['live']);
      expect(run.events.join()).not.to.include(dead);
    });

    it('leaves a server that sends it to one that it was not told of, and reads on', async () => {
      const run = await live(addresses());
      await reload(servers[0] as Nacos, '192.0.2.1:8848');
      await run.wait('listed again', ({ listings }) => listings === 2);
      expect(connected()).to.equal(1);
      expect(ports(run.named('orders'))).to.deep.equal([9_001]);
    });
  });
