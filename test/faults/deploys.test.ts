import { setTimeout as sleep } from 'node:timers/promises';
import { requireServers } from '#test/servers/require.js';
import type { Departure } from './fleet.js';
import { ConsulRegistry, type FaultRegistry, ZooKeeperRegistry } from './registries.js';
import { fault, within } from './scene.js';

const kinds = [
  { name: 'zookeeper', start: () => ZooKeeperRegistry.start() },
  { name: 'consul', start: () => ConsulRegistry.start() },
];

for (const { name, start } of kinds)
  describe(`deploys on ${name}`, () => {
    let registry: FaultRegistry;

    before(async function () {
      await requireServers(this, name, 'istiod');
      registry = await start();
    });
    after(() => registry?.stop());

    fault('a deploy takes half of the instances', async (scene) => {
      const orders = await scene.fleet(registry, 'orders', 12);
      await scene.fleet(registry, 'pay', 4);
      await scene.begin();

      const half = await orders.remove(6);
      await scene.middle();
      // Above the limit of the registry: held, asked, and dead.
      await scene.gone(half, within.dead);
      await orders.add(6);
      await scene.allThere(within.plain);
      await scene.held(0);
      await scene.flows();
    });

    fault('a deploy replaces all instances within seconds', async (scene) => {
      const orders = await scene.fleet(registry, 'orders', 12);
      await scene.fleet(registry, 'pay', 4);
      await scene.begin();

      // One after the other: nothing is held.
      const left: Departure[] = [];
      for (let round = 0; round < 4; round++) {
        await orders.add(3);
        await scene.allThere(within.plain);
        left.push(await orders.remove(3));
      }
      for (const departure of left) await scene.gone(departure, within.plain);

      // All at once, and the new ones three seconds later.
      const old = await orders.remove(12);
      await scene.middle();
      await sleep(3_000);
      await orders.add(12);
      await scene.allThere(within.back);
      await scene.gone(old, within.dead);
      await scene.held(0);
      await scene.flows();
    });
  });
