import { setTimeout as sleep } from 'node:timers/promises';
import { expect } from 'chai';
import { requireServers } from '#test/servers/require.js';
import { Wire } from '#test/servers/wire.js';
import { Bridge } from './bridge.js';
import { latencies, spread } from './latency.js';
import type { RegistryKeys, RegistryUnderTest, TestInstance } from './registry.js';

const many = 1_000;
/** Changes whose time is taken. */
const rounds = 7;
/** ms. */
const hang = 8_000;
const idle = 12_000;

function at(number: number, metadata: Record<string, string> = { tier: 'a' }): TestInstance {
  return { address: `10.1.2.${number}`, port: 8000 + number, metadata };
}

const place = ({ address, port }: TestInstance) => `${address}:${port}`;

/** What every adapter holds to, shown with its real server. The tests follow one another on one server; each has services of its own. */
export function contract(registry: RegistryUnderTest): void {
  describe(`contract: ${registry.title}`, function () {
    this.timeout(180_000);
    let wire: Wire | undefined;
    let bridge: Bridge;
    const bridges: Bridge[] = [];

    const open = (keys: RegistryKeys, more: RegistryKeys = {}): Bridge => {
      const opened = new Bridge(registry.type, { ...keys, ...more });
      bridges.push(opened);
      return opened;
    };
    /** Reads the server through the wire. */
    const keys = () => registry.keys(wire?.port ?? 0);
    const tier = registry.shown?.('tier') ?? 'tier';

    before(async function () {
      await requireServers(this, ...registry.needs);
      await registry.start();
      const server = registry.server?.();
      if (server !== undefined) wire = await Wire.open(server.port, server.offsets);
    });

    after(async () => {
      await Promise.all(bridges.map((one) => one.stop()));
      await wire?.close();
      await registry.stop();
    });

    it('lists what is there at the start', async () => {
      await registry.register('list-one', at(1));
      await registry.register('list-two', at(1));
      await registry.register('list-two', at(2));
      bridge = open(keys());
      await bridge.until('live', () => bridge.status.state === 'live');
      await bridge.sees('list-one', place(at(1)));
      await bridge.sees('list-two', place(at(1)), place(at(2)));
    });

    it('follows an instance that is added, changes and goes', async () => {
      await registry.register('follow', at(1));
      await bridge.sees('follow', place(at(1)));
      expect(bridge.instances('follow')[0]?.metadata).to.include({ [tier]: 'a' });

      await registry.register('follow', at(2));
      await bridge.sees('follow', place(at(1)), place(at(2)));

      await registry.register('follow', at(1, { tier: 'b' }));
      const tiers = () => bridge.instances('follow').map(({ metadata }) => metadata[tier]);
      await bridge.until('changed', () => tiers().includes('b'));
      expect(bridge.addresses('follow')).to.have.length(2);

      await registry.deregister('follow', at(2));
      await bridge.sees('follow', place(at(1)));
    });

    it('empties a service that has lost its last instance, and no other', async () => {
      await registry.register('emptied', at(1));
      await registry.register('beside', at(1));
      await bridge.sees('emptied', place(at(1)));
      await bridge.sees('beside', place(at(1)));
      const before = bridge.view.services.size;
      await registry.deregister('emptied', at(1));
      await bridge.sees('emptied');
      expect(bridge.addresses('beside')).to.deep.equal([place(at(1))]);
      expect(bridge.view.services.size).to.be.at.least(before - 1);
      await registry.register('emptied', at(3));
      await bridge.sees('emptied', place(at(3)));
    });

    it('shows a malformed record beside good ones, which stay', async () => {
      await registry.register('mixed', at(1));
      await bridge.sees('mixed', place(at(1)));
      await registry.malform('mixed');
      await bridge.until('shown as rejected', () => (bridge.service('mixed')?.rejected.length ?? 0) > 0);
      const [rejection] = bridge.service('mixed')?.rejected ?? [];
      console.log(`      ${rejection?.record}: ${rejection?.reason}`);
      expect(rejection?.reason).to.not.equal('');
      expect(bridge.addresses('mixed')).to.deep.equal([place(at(1))]);
      await registry.register('mixed', at(2));
      await bridge.sees('mixed', place(at(1)), place(at(2)));
    });

    it('changes nothing towards Istio when the registry says the same again', async () => {
      const instances = [at(1), at(2), at(3)];
      for (const instance of instances) await registry.register('again', instance);
      await bridge.sees('again', ...instances.map(place));
      await bridge.quiet(3_000);
      const before = bridge.pushes;
      await registry.repeat('again', instances);
      await sleep(3_000);
      await registry.register('again-after', at(1));
      await bridge.sees('again-after', place(at(1)));
      expect(bridge.pushes - before, 'changes: the one of another service').to.equal(1);
      expect(bridge.addresses('again')).to.deep.equal(instances.map(place));
    });

    it('sees a change when a bare client of the registry does', async () => {
      const { client, catalog } = await latencies(registry, bridge, at(1), rounds);
      console.log(`      ms, min / median / max of ${rounds}: client ${spread(client)}, catalog ${spread(catalog)}`);
      expect(catalog).to.have.length(rounds);
    });

    it('can be added and stopped beside another one at run time', async () => {
      const second = open(keys());
      await second.sees('list-two', place(at(1)), place(at(2)));
      const connections = wire?.connections ?? 0;
      const begun = performance.now();
      await second.stop();
      expect(performance.now() - begun, 'ms to stop').to.be.lessThan(5_000);
      await bridge.until('its connections closed', () => wire === undefined || wire.connections < connections);
      await registry.register('after-stop', at(1));
      await bridge.sees('after-stop', place(at(1)));
      expect(second.service('after-stop'), 'read after it was stopped').to.equal(undefined);
    });

    const server = registry.server?.bind(registry);
    if (server !== undefined) {
      it('keeps everything while the server hangs, says so, and goes on afterwards', async () => {
        const { process } = server();
        const watching = open(keys(), { staleAfter: '3s' });
        await watching.sees('list-two', place(at(1)), place(at(2)));
        const fewest = watchFewest(watching);
        process.pause();
        try {
          await watching.until('stale', () => watching.status.state === 'stale', 60_000);
          console.log(`      ${watching.status.error}`);
          await sleep(hang);
        } finally {
          process.resume();
        }
        await watching.until('live again', () => watching.status.state === 'live');
        await registry.register('after-hang', at(1));
        await watching.sees('after-hang', place(at(1)));
        await bridge.sees('after-hang', place(at(1)));
        expect(fewest()).to.deep.equal(watching.addresses('list-two'));
        await watching.stop();
      });

      it('keeps everything while the server is killed and started again', async () => {
        const { process } = server();
        const fewest = watchFewest(bridge);
        await process.kill();
        await bridge.until('stale', () => bridge.status.state === 'stale');
        await process.start();
        await bridge.until('live again', () => bridge.status.state === 'live');
        await registry.register('after-restart', at(1));
        await bridge.sees('after-restart', place(at(1)));
        expect(fewest()).to.deep.equal([place(at(1)), place(at(2))]);
        expect(bridge.addresses('follow')).to.deep.equal([place(at(1))]);
      });
    }

    it('says that its credentials are wrong, without showing them', async () => {
      const guarded = await registry.guarded();
      try {
        const wrong = open(guarded.wrong);
        await wrong.until('failed', () => wrong.status.state === 'failed');
        console.log(`      ${wrong.status.error}`);
        expect(JSON.stringify(wrong.status)).to.not.include(guarded.secret);
        expect(wrong.view.complete).to.equal(false);
        await wrong.stop();
        const right = open(guarded.right);
        await right.until('live', () => right.status.state === 'live');
        await right.stop();
      } finally {
        await guarded.stop();
      }
    });

    it(`reads ${many} services at the start, and costs little while nothing changes`, async () => {
      const names = Array.from({ length: many }, (_, index) => `many-${letters(index)}`);
      if (registry.registerMany !== undefined) await registry.registerMany(names, at(9));
      else for (const name of names) await registry.register(name, at(9));
      await bridge.until('all followed', () => names.every((name) => bridge.instances(name).length === 1), 120_000);
      await bridge.stop();
      const before = wire?.pieces ?? 0;
      const begun = performance.now();
      bridge = open(keys());
      await bridge.until('live', () => bridge.status.state === 'live', 120_000);
      await bridge.until('all listed', () => names.every((name) => bridge.instances(name).length === 1), 120_000);
      const requests = (wire?.pieces ?? 0) - before;
      console.log(`      ${many} services after ${(performance.now() - begun).toFixed(0)} ms, ${requests} requests`);
      await bridge.quiet(2_000);
      // A server under load may still be repeating what it said at the start, for up to half a minute.
      let perMinute = Number.POSITIVE_INFINITY;
      for (let round = 0; round < 4 && perMinute > registry.idleRequestsPerMinute; round++) {
        const start = wire?.pieces ?? 0;
        const cpu = process.cpuUsage();
        await sleep(idle);
        const { user, system } = process.cpuUsage(cpu);
        perMinute = ((wire?.pieces ?? 0) - start) * (60_000 / idle);
        const share = ((user + system) / idle / 10).toFixed(1);
        console.log(`      idle: ${perMinute} requests a minute, ${share} % of a core`);
      }
      expect(perMinute).to.be.at.most(registry.idleRequestsPerMinute);
    });
  });
}

/** Watches `list-two`; the fewest instances that it had since. */
function watchFewest(bridge: Bridge): () => string[] {
  let fewest = bridge.addresses('list-two');
  bridge.changed = () => {
    const now = bridge.addresses('list-two');
    if (now.length < fewest.length) fewest = now;
  };
  return () => fewest;
}

/** A number as letters, since not every registry takes digits in each place. */
function letters(index: number): string {
  return String(index)
    .split('')
    .map((digit) => 'abcdefghij'[Number(digit)])
    .join('');
}
