import { rm } from 'node:fs/promises';
import { setTimeout as sleep } from 'node:timers/promises';
import { expect } from 'chai';
import type { Pontoon } from '#test/servers/pontoon.js';
import { freePort } from '#test/servers/ports.js';
import { until } from '#test/servers/probes.js';
import { requireServers } from '#test/servers/require.js';
import { ConsulRegistry, ZooKeeperRegistry } from './registries.js';
import { fault, outageMs, type Scene, within } from './scene.js';

/** What `/readyz` says. */
async function readiness(pontoon: Pontoon): Promise<unknown> {
  const response = await fetch(`${pontoon.url}/readyz`);
  return { status: response.status, ...((await response.json()) as object) };
}

/** What an operator does who does not want to wait for ZooKeeper. */
async function release(pontoon: Pontoon): Promise<void> {
  const headers = { 'content-type': 'application/json' };
  const body = JSON.stringify({ registry: 'zookeeper' });
  const answer = await fetch(`${pontoon.url}/api/v1/start/release`, { method: 'POST', headers, body });
  expect(answer.status).to.equal(200);
}

const waiting = { status: 503, ready: false, waitingFor: ['zookeeper'] };

describe('faults of the start', () => {
  let zookeeper: ZooKeeperRegistry;
  let consul: ConsulRegistry;

  before(async function () {
    await requireServers(this, 'zookeeper', 'consul', 'istiod');
    zookeeper = await ZooKeeperRegistry.start();
    consul = await ConsulRegistry.start();
  });
  beforeEach(async () => {
    if (!zookeeper.server.running) await zookeeper.up();
  });
  after(async () => {
    await zookeeper?.stop();
    await consul?.stop();
  });

  const two = async (scene: Scene) => {
    const orders = await scene.fleet(consul, 'orders', 6);
    const pay = await scene.fleet(zookeeper, 'pay', 6);
    await scene.begin();
    return { orders, pay };
  };

  fault('a registry is gone at a start with a snapshot', async (scene) => {
    const { orders, pay } = await two(scene);

    await scene.does('Pontoon and ZooKeeper are killed', () => Promise.all([scene.pontoon.kill(), zookeeper.down()]));
    await orders.add(1);
    await scene.does('Pontoon is started; ZooKeeper is not', () => scene.pontoon.start());
    await until('ready', async () => (await fetch(`${scene.pontoon.url}/readyz`)).ok, within.plain);
    // It waits a while before it tries Pontoon again.
    await scene.allThere(within.back);
    await scene.newIstiod();
    await scene.middle();
    await sleep(3_000);
    await scene.allThere(within.back);

    await scene.does('ZooKeeper is started', () => zookeeper.up());
    await pay.registerAgain();
    await scene.state('zookeeper live');
    await scene.flows();
    await scene.gone(await pay.remove(1), within.plain);
  });

  fault('a registry is gone at a start without a snapshot', async (scene) => {
    const { orders, pay } = await two(scene);

    await scene.does('Pontoon is killed, its disk is lost, ZooKeeper is gone', async () => {
      await Promise.all([scene.pontoon.kill(), zookeeper.down()]);
      await rm(scene.stateDirectory, { recursive: true });
    });
    await scene.does('Pontoon is started', () => scene.pontoon.start());
    await scene.state('consul live');
    await sleep(outageMs);
    expect(await readiness(scene.pontoon)).to.deep.equal(waiting);
    await scene.middle();

    await scene.does('ZooKeeper is started', () => zookeeper.up());
    await pay.registerAgain();
    await orders.add(1);
    await scene.allThere(within.back);
    await scene.flows();
  });

  /** Releases ZooKeeper, which never came, five seconds after istiod has begun to start. */
  let releasedAfter = 0;
  const released = async (pontoon: Pontoon) => {
    await until('Consul was read', async () => (await pontoon.registries()).some(({ state }) => state === 'live'));
    expect(await readiness(pontoon)).to.deep.equal(waiting);
    const later = async () => {
      const begun = performance.now();
      await sleep(5_000);
      await release(pontoon);
      releasedAfter = performance.now() - begun;
    };
    void later();
    return pontoon.configSource;
  };
  const first = async () => {
    releasedAfter = 0;
    const registries = [consul.config(), zookeeper.config(await freePort())];
    return { registries, configSource: released };
  };

  fault(
    'a registry is gone at the first start of all, until an operator releases it',
    async (scene) => {
      const orders = await scene.fleet(consul, 'orders', 6);
      // istiod is ready once it was given its first set.
      await scene.begin();
      expect(releasedAfter, 'ms until it was released').to.be.above(5_000);
      await scene.middle();
      await sleep(5_000);
      // A release is for one start.
      if (scene.isKilled) await scene.does('the operator releases it again', () => release(scene.pontoon));
      await scene.gone(await orders.remove(1), within.plain);
      await scene.flows();
    },
    first,
  );
});
