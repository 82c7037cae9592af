import { statSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { expect } from 'chai';
import { Clock } from '#test/servers/clock.js';
import { SmallDisk } from '#test/servers/disk.js';
import { startPontoon } from '#test/servers/pontoon.js';
import { until } from '#test/servers/probes.js';
import { requireServers } from '#test/servers/require.js';
import { ZooKeeperRegistry } from './registries.js';
import { fault, holdMs, within } from './scene.js';

describe("faults of Pontoon's machine", () => {
  let zookeeper: ZooKeeperRegistry;
  let clock: Clock;
  let disk: SmallDisk | undefined;

  before(async function () {
    await requireServers(this, 'zookeeper', 'istiod', 'libfaketime');
    zookeeper = await ZooKeeperRegistry.start();
  });
  afterEach(async () => {
    await disk?.close();
    disk = undefined;
  });
  after(() => zookeeper?.stop());

  const onSmallDisk = async () => {
    disk = await SmallDisk.mount(512 * 1024);
    return { config: { state: { directory: disk.path } }, isKilled: true };
  };

  fault(
    'its disk is full',
    async (scene) => {
      const small = started(disk);
      const snapshot = join(small.path, 'snapshot');
      const orders = await scene.fleet(zookeeper, 'orders', 12);
      const pay = await scene.fleet(zookeeper, 'pay', 4);
      await scene.begin();
      await until('a snapshot', () => statSync(snapshot).size > 0);

      await scene.does('the disk is full', () => small.fill());
      await orders.add(2);
      await scene.allThere(within.plain);
      await scene.gone(await orders.remove(2), within.plain);
      await until('Pontoon says so', () => /ENOSPC|no space/i.test(scene.pontoon.log()), within.back);
      await scene.middle();
      // What it knows of the disk is older than this.
      await scene.state('zookeeper live');
      await sleep(1_000);
      await scene.does('ZooKeeper is restarted without its data', () => zookeeper.loseData());
      await scene.held(16);
      for (const fleet of [orders, pay]) await fleet.registerAgain();
      await scene.held(0);

      const before = statSync(snapshot).mtimeMs;
      await scene.does('there is room again', () => small.empty());
      await scene.flows();
      await until('a newer snapshot', () => statSync(snapshot).mtimeMs > before, within.back);
    },
    onSmallDisk,
  );

  const withClock = () => {
    clock = new Clock();
    return { start: (config: Parameters<typeof startPontoon>[0]) => startPontoon(config, clock.env) };
  };

  fault(
    'its clock is set two hours forward and back',
    async (scene) => {
      // Large enough that only the service's own guard holds, which ends in time whatever accepts.
      await scene.fleet(zookeeper, 'orders', 40);
      const pay = await scene.fleet(zookeeper, 'pay', 6);
      const cart = await scene.fleet(zookeeper, 'cart', 6);
      await scene.begin();

      for (const [fleet, offset] of [
        [pay, '+2h'],
        [cart, '-2h'],
      ] as const) {
        const leaving = await fleet.leave();
        await scene.held(6);
        await scene.does(`the clock is set to ${offset}`, () => clock.set(offset));
        // The clock of the process looks into its file once a second.
        await sleep(holdMs.service - 2_500);
        expect(scene.observer.held, 'held until the time is over').to.equal(6);
        expect(scene.observer.states).to.equal('zookeeper live');
        await scene.middle();
        // After a restart a hold has the time that it had when it was written down.
        await scene.gone(leaving, (scene.isKilled ? 2 : 1) * holdMs.service + within.plain);
        await scene.flows();
      }
      await scene.does('the clock is right again', () => clock.set('+0'));
      await sleep(2_000);
      await scene.flows();
    },
    withClock,
  );
});

function started<Part>(part: Part | undefined): Part {
  if (part === undefined) throw new Error('not started');
  return part;
}
