import { setTimeout as sleep } from 'node:timers/promises';
import { requireServers } from '#test/servers/require.js';
import { EurekaRegistry } from './registries.js';
import { fault, holdMs, killed, within } from './scene.js';

describe('faults of Eureka', () => {
  let eureka: EurekaRegistry;

  before(async function () {
    await requireServers(this, 'eureka', 'istiod');
    this.timeout(300_000);
    eureka = await EurekaRegistry.start(3);
  });
  after(() => eureka?.stop());

  fault(
    'Eureka is restarted with an empty registry',
    async (scene) => {
      const orders = await scene.fleet(eureka, 'orders', 12);
      const pay = await scene.fleet(eureka, 'pay', 4);
      await scene.begin();

      const dead = orders.die(2);
      await scene.does('all servers are restarted; nobody renews for a while', () => eureka.restartEmpty());
      await scene.held('something');
      await scene.middle();
      await scene.gone(dead, within.stale);
      await scene.outlasts();

      await orders.registerAgain();
      await pay.registerAgain();
      await scene.held(0);
      await scene.flows();
    },
    killed,
  );

  fault('1 of 3 Eureka nodes lies', async (scene) => {
    const orders = await scene.fleet(eureka, 'orders', 12);
    await scene.fleet(eureka, 'pay', 4);
    await scene.begin();

    await scene.does('the first server is restarted; it has no peers, and nobody registers there', () => eureka.lie(0));
    await scene.middle();
    // Longer than `settleTime` and than the holds.
    await sleep(holdMs.registry + 8_000);
    await scene.gone(await orders.remove(2), within.plain);
    await scene.flows();
  });
});
