import { rm } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Lane } from './lane.js';
import type { Load } from './load.js';
import { halved, instancesEach, removed, shrunk, slowMs } from './services.js';
import type { Watch } from './watch.js';
import type { World } from './world.js';

const second = 1_000;
const slow = `${slowMs / second} s`;

/** What is done to it all, step after step, under load. @param tell gets a line for each thing done */
export async function play(world: World, watch: Watch, load: Load, tell: (line: string) => void): Promise<void> {
  const { zookeeper, nacos, nacosClients, pontoon, lanes, going } = world;
  const over = new AbortController();
  const phase = (title: string) => {
    watch.phases.push(title);
    tell(`\n${watch.phases.length}  ${title}`);
  };
  const restart = async (lane: Lane) => {
    const ms = await lane.restartIstiod(over.signal);
    tell(`   istiod of ${lane.name} was killed and is ready again after ${(ms / second).toFixed(1)} s`);
  };

  phase('All is well');
  await sleep(20 * second);

  phase('Nacos killed');
  await nacos.kill();
  await sleep(15 * second);

  phase('Nacos still down, both istiods killed and restarted');
  const restarts = Promise.all([restart(lanes.pontoon), restart(lanes.peer)]);
  await sleep(15 * second);
  await rm(join(nacos.folder, 'data'), { recursive: true });
  await nacos.start();

  phase(`Nacos back, wiped; clients of 2 of 5 services are away for ${slow}`);
  const back = performance.now();
  await sleep(20 * second);

  phase('Pontoon killed (SIGKILL) and started again 3 s later');
  await pontoon.kill();
  await sleep(3 * second);
  await pontoon.start();
  await sleep(7 * second);

  phase(`Half of ${halved} crashes, one of the 2 whose clients are away`);
  watch.remove(
    `${going.halved.addresses.length} of ${instancesEach} instances of ${halved} crash`,
    going.halved.addresses,
  );
  nacosClients.forget(going.halved.addresses);
  await going.halved.kill();
  await sleep(back + slowMs + 15 * second - performance.now());
  await restarts;

  phase('ZooKeeper killed');
  await zookeeper.kill();
  await sleep(15 * second);
  await rm(join(zookeeper.folder, 'data'), { recursive: true });
  await zookeeper.start();

  phase(`ZooKeeper back, wiped; clients of 2 of 4 services are away for ${slow}`);
  await sleep(slowMs + 15 * second);

  phase(`One instance of ${shrunk} deregistered`);
  watch.remove(`1 instance of ${shrunk} deregistered`, going.shrunk.addresses);
  await nacosClients.deregister(going.shrunk.addresses);
  await sleep(5 * second);
  await going.shrunk.stop();
  await sleep(10 * second);

  phase(`Service ${removed} removed`);
  load.leave(removed);
  watch.remove(`service ${removed} removed: ${instancesEach} instances deregister and end`, going.removed.addresses);
  await nacosClients.deregister(going.removed.addresses);
  await going.removed.stop();
  await sleep(30 * second);
  over.abort();
}
