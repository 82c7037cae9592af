import { rm } from 'node:fs/promises';
import { setTimeout as sleep } from 'node:timers/promises';
import { expect } from 'chai';
import { type Pontoon, type PontoonConfig, startPontoon } from '#test/servers/pontoon.js';
import { freePort } from '#test/servers/ports.js';
import { until } from '#test/servers/probes.js';
import { serverFolder } from '#test/servers/process.js';
import { requireServers } from '#test/servers/require.js';
import { Wire } from '#test/servers/wire.js';
import { ZooKeeperRegistry } from './registries.js';
import { fault, type Scene, within } from './scene.js';

describe('faults of replicas', () => {
  let zookeeper: ZooKeeperRegistry;
  /** The way of the second replica to ZooKeeper. */
  let wire: Wire;
  /** The one address of both, as a Kubernetes Service. */
  let service: Wire;
  let second: Pontoon;
  const directory = serverFolder('second');

  before(async function () {
    await requireServers(this, 'zookeeper', 'istiod');
    zookeeper = await ZooKeeperRegistry.start();
    wire = await Wire.open(zookeeper.server.port);
  });
  afterEach(async () => {
    await service?.close();
    await second?.stop();
    await rm(directory, { recursive: true, force: true });
    wire.mend();
  });
  after(async () => {
    await wire?.close();
    await zookeeper?.stop();
  });

  const start = async (config: PontoonConfig): Promise<Pontoon> => {
    const ports = [await freePort(), await freePort()];
    const state = (own: number, other: number) => ({
      listen: `127.0.0.1:${ports[own]}`,
      peers: [`127.0.0.1:${ports[other]}`],
    });
    const first = await startPontoon({ ...config, state: { ...config.state, ...state(0, 1) } });
    const registries = [zookeeper.config(wire.port)];
    second = await startPontoon({ ...config, registries, state: { directory, ...state(1, 0) } });
    return first;
  };
  const configSource = async (first: Pontoon): Promise<string> => {
    service = await Wire.open(portOf(first));
    return `xds://127.0.0.1:${service.port}`;
  };

  /** istiod goes over to a replica, which is what a Service does when the other one is away. */
  const moves = async (scene: Scene, name: string, to: Pontoon) => {
    await scene.does(`istiod moves to the ${name} replica`, () => service.turn(portOf(to)));
    await until('istiod is there', async () => (await to.clients()).length > 0, within.back);
    await sleep(2_000);
  };

  fault(
    'one of two replicas is isolated while ZooKeeper is restarted without its data',
    async (scene) => {
      const orders = await scene.fleet(zookeeper, 'orders', 12);
      const pay = await scene.fleet(zookeeper, 'pay', 4);
      await scene.begin();
      const { versions } = scene.observer;
      const before = new Map(versions);

      await scene.does('the second replica is cut off from ZooKeeper', () => wire.cut());
      await scene.does('ZooKeeper is restarted without its data', () => zookeeper.loseData());
      await scene.held(16);
      await moves(scene, 'second', second);
      await scene.middle();
      await scene.does('the second replica is back at ZooKeeper', () => wire.mend());
      await until('both hold', async () => (await heldBy(second)) === 16, within.back);
      await moves(scene, 'first', scene.pontoon);

      await scene.does('the second replica is killed, loses its disk, and starts again', async () => {
        await second.kill();
        await rm(directory, { recursive: true });
        await second.start();
      });
      await until('it holds what the first one held', async () => (await heldBy(second)) === 16, within.back);
      await moves(scene, 'second', second);
      expect(versions, "istiod's resources were never others").to.deep.equal(before);

      await scene.gone(orders.die(2), within.dead);
      await orders.registerAgain();
      await pay.registerAgain();
      await scene.held(0);
      await until('nothing is held by either', async () => (await heldBy(second)) === 0, within.back);
      await scene.flows();
      await moves(scene, 'first', scene.pontoon);
      await scene.flows();
    },
    () => ({ start, configSource }),
  );
});

function portOf({ configSource }: Pontoon): number {
  return Number(configSource.slice(configSource.lastIndexOf(':') + 1));
}

async function heldBy(pontoon: Pontoon): Promise<number> {
  return (await pontoon.guards()).holds.reduce((sum, { instances }) => sum + instances.length, 0);
}
