import { setTimeout as sleep } from 'node:timers/promises';
import { requireServers } from '#test/servers/require.js';
import { ConsulRegistry } from './registries.js';
import { blinks, fault, outageMs, within } from './scene.js';

describe('faults of Consul', () => {
  let consul: ConsulRegistry;

  before(async function () {
    await requireServers(this, 'consul', 'istiod');
    consul = await ConsulRegistry.start();
  });
  after(() => consul?.stop());

  fault("Consul's server is gone", async (scene) => {
    const orders = await scene.fleet(consul, 'orders', 12);
    await scene.fleet(consul, 'pay', 4);
    await scene.begin();

    await scene.does('Consul is killed', () => consul.server.kill());
    await scene.state('consul stale');
    await scene.middle();
    await sleep(outageMs);
    await scene.does('Consul is started again', () => consul.server.start());
    await orders.add(2);
    const removed = await orders.remove(2);
    await scene.state('consul live');
    await scene.allThere(within.back);
    await scene.gone(removed, within.back);
    await scene.flows();
  });

  fault(
    "Consul's index has fallen after a restore",
    async (scene) => {
      const orders = await scene.fleet(consul, 'orders', 6);
      const pay = await scene.fleet(consul, 'pay', 0);
      const cart = await scene.fleet(consul, 'cart', 1);
      await scene.begin();
      const old = await consul.snapshot();
      await pay.add(8);
      await orders.add(6);
      await scene.allThere(within.plain);

      await scene.does('a snapshot from before `pay` is restored; all live', () => consul.restore(old));
      await scene.held(14);
      await scene.middle();
      await scene.gone(pay.die(2), within.dead);
      await scene.outlasts();

      for (const fleet of [orders, pay, cart]) await fleet.registerAgain();
      await scene.held(0);
      await scene.flows();
    },
    () => ({ ...blinks(), isKilled: true }),
  );

  fault(
    'Consul begins anew with nothing, and its instances come back one by one',
    async (scene) => {
      const orders = await scene.fleet(consul, 'orders', 12);
      const pay = await scene.fleet(consul, 'pay', 4);
      await scene.begin();

      await scene.does('Consul is restarted without its data', () => consul.loseData());
      await scene.held(16);
      await scene.middle();
      await orders.registerAgain();
      await sleep(2_000);
      await pay.registerAgain();
      await scene.held(0);
      await scene.flows();
    },
    blinks,
  );
});
