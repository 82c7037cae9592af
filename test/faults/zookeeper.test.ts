import { setTimeout as sleep } from 'node:timers/promises';
import { requireServers } from '#test/servers/require.js';
import { ZooKeeperRegistry } from './registries.js';
import { blinks, fault, killed, outageMs, within } from './scene.js';

describe('faults of ZooKeeper', () => {
  let zookeeper: ZooKeeperRegistry;

  before(async function () {
    await requireServers(this, 'zookeeper', 'istiod');
    zookeeper = await ZooKeeperRegistry.start();
  });
  after(() => zookeeper?.stop());

  fault(
    'ZooKeeper is wiped',
    async (scene) => {
      const orders = await scene.fleet(zookeeper, 'orders', 12);
      const pay = await scene.fleet(zookeeper, 'pay', 4);
      const cart = await scene.fleet(zookeeper, 'cart', 1);
      await scene.begin();

      // One znode after the other: what goes before the guard sees a fall comes back as soon as it was asked.
      await scene.does('/dubbo is deleted; all providers live', () => zookeeper.wipe());
      await scene.held(17);
      await scene.middle();
      await scene.gone(orders.die(2), within.dead);
      await scene.gone(pay.die(1), within.dead);
      await scene.outlasts();

      for (const fleet of [orders, pay, cart]) await fleet.registerAgain();
      await scene.held(0);
      await scene.flows();
    },
    blinks,
  );

  fault(
    'ZooKeeper is restarted without its data',
    async (scene) => {
      const orders = await scene.fleet(zookeeper, 'orders', 12);
      const pay = await scene.fleet(zookeeper, 'pay', 4);
      await scene.begin();

      const dead = orders.die(3);
      await scene.does('ZooKeeper is restarted without its data', () => zookeeper.loseData());
      await scene.held('something');
      await scene.middle();
      await scene.gone(dead, within.back);

      await orders.registerAgain();
      await sleep(2_000);
      await pay.registerAgain();
      await scene.held(0);
      await scene.flows();
    },
    killed,
  );

  fault("Pontoon's session expires while half of the instances change", async (scene) => {
    const orders = await scene.fleet(zookeeper, 'orders', 12);
    const pay = await scene.fleet(zookeeper, 'pay', 4);
    await scene.begin();

    await scene.does('Pontoon is stopped, for longer than its session', () => scene.pontoon.pause());
    await orders.add(6);
    const half = [await orders.remove(6), await pay.remove(2)];
    await sleep(Math.max(8_000, outageMs));
    await scene.does('Pontoon goes on', () => scene.pontoon.resume());
    await scene.middle();
    await scene.allThere(within.back);
    for (const departure of half) await scene.gone(departure, within.back);
    await scene.flows();
  });
});
