import { setTimeout as sleep } from 'node:timers/promises';
import { requireServers } from '#test/servers/require.js';
import { NacosRegistry } from './registries.js';
import { fault, killed, outageMs, within } from './scene.js';

describe('faults of Nacos', () => {
  let nacos: NacosRegistry;

  before(async function () {
    await requireServers(this, 'nacos2', 'istiod');
    this.timeout(300_000);
    nacos = await NacosRegistry.start();
  });
  after(() => nacos?.stop());

  fault(
    'Nacos is restarted empty',
    async (scene) => {
      const orders = await scene.fleet(nacos, 'orders', 12);
      const pay = await scene.fleet(nacos, 'pay', 4);
      await scene.begin();

      const dead = orders.die(2);
      await scene.does('Nacos is restarted without its database', () => nacos.loseData());
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

  fault('Nacos is up and refuses', async (scene) => {
    const orders = await scene.fleet(nacos, 'orders', 12);
    await scene.fleet(nacos, 'pay', 4);
    await scene.begin();

    await scene.does('Nacos is restarted with authentication', () => nacos.refuse(true));
    await scene.state('nacos stale');
    await scene.middle();
    await sleep(outageMs);
    await scene.does('Nacos is restarted without it', () => nacos.refuse(false));
    await scene.state('nacos live');
    await scene.gone(await orders.remove(2), within.back);
    await scene.flows();
  });
});
