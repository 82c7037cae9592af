import { setTimeout as sleep } from 'node:timers/promises';
import type { Bench, Scenario } from '../bench.js';
import { type Load, placesOf } from '../loads/load.js';
import { cpuSeconds, median } from '../measure.js';
import { Changer, medians, type Run, type RunOptions } from '../run.js';

/** Changes in each repeat: half of them add an instance, half take it away. */
const changes = 6;
/** ms between two changes: long enough that the first one is over, whatever it was. */
const rest = 250;

/** How the client is served. */
type Way = Pick<RunOptions, 'shards' | 'protocol'>;

const ways: readonly (Way & { readonly name: string })[] = [
  { name: '64 shards', shards: 64 },
  { name: 'delta', protocol: 'delta' },
  { name: '1 shard', shards: 1 },
];

export const change: Scenario = {
  name: 'one change',
  title: 'one instance comes or goes while nothing else happens, at several sizes of the catalog',
  run: async (bench) => {
    for (const name of bench.scale.registries)
      for (const size of bench.scale.sizes.filter((size) => size <= bench.most(name))) {
        const load = await bench.load(name, size);
        for (const way of ways) await atRest(bench, load, way, `${name}, ${size} services, ${way.name}`);
      }
  },
};

async function atRest(bench: Bench, load: Load, way: Way, what: string): Promise<void> {
  const run = await bench.start({ ...way, loads: [load] });
  const changer = await Changer.open(run, load, 7);
  await changer.add();
  await changer.remove();
  await bench.settle(3_000);
  for (let repeat = 0; repeat < bench.scale.repeats; repeat++) {
    const all = await changer.several(changes, rest);
    bench.take({ what, unit: 'ms', ...medians(all), beside: 'bare watcher' });
    bench.take({
      what: `${what}: beyond the bare watcher`,
      unit: 'ms',
      ours: median(all.map(({ ours, floor }) => Math.max(0, ours - floor))),
      ...(what.includes('1 shard') ? {} : { budget: { of: 'ours', most: 20 } }),
    });
  }
  changer.close();
  await bench.end(run, what);
}

export const large: Scenario = {
  name: 'large service',
  title: 'one instance comes or goes in a service with thousands of them',
  run: async (bench) => {
    const load = await bench.load('zookeeper', bench.scale.peer[0], bench.scale.peer[1]);
    await load.put(7, placesOf(7, bench.scale.large));
    await atRest(bench, load, { shards: 16 }, `${bench.scale.large} instances`);
  },
};

export const replaced: Scenario = {
  name: 'mass restart',
  title: 'every instance of hundreds of services is replaced by another one at once',
  run: async (bench) => {
    const { scale } = bench;
    const load = await bench.load('zookeeper');
    const run = await bench.start({ loads: [load], shards: 16 });
    await bench.settle(3_000);
    const services = Array.from({ length: scale.replaced }, (_, service) => service);
    for (let repeat = 0; repeat < scale.repeats; repeat++) await replace(bench, run, load, services, repeat + 1);
    await replace(bench, run, load, services, 0);
    await bench.end(run, 'at the end');
  },
};

async function replace(bench: Bench, run: Run, load: Load, services: readonly number[], generation: number) {
  const { instances } = bench.scale;
  const [cpu, pushes] = [cpuSeconds(run.pontoon), run.client.pushes];
  let seen = 0;
  const total = services.length;
  const isSeen = new Set<number>();
  const unwatch = await load.watch(services, (service, count, at) => {
    // Its last look shows the new ones alone; in between it sees both or fewer.
    if (count === instances) seen = at;
    isSeen.add(service);
  });
  const begun = performance.now();
  await Promise.all(services.map((service) => load.put(service, placesOf(service, instances, generation))));
  const written = performance.now();
  const isOver = (): boolean => {
    const held = run.client.endpoints();
    return services.every((service) => {
      const places = held.get(load.host(service));
      const wanted = load.expected.get(load.host(service)) ?? new Set();
      return places !== undefined && places.size === wanted.size && [...wanted].every((one) => places.has(one));
    });
  };
  let arrived = written;
  run.told = (_host, _endpoints, at) => {
    arrived = at;
  };
  while (!isOver()) await sleep(50);
  run.told = () => undefined;
  unwatch();
  if (isSeen.size !== total) throw new Error('the bare watcher did not see every service');
  if (generation === 0) return;
  bench.take({
    what: `${total} services × ${instances} replaced: until the client has all`,
    unit: 'ms',
    ours: arrived - begun,
    floor: Math.max(seen, written) - begun,
    beside: 'bare watcher',
  });
  bench.take({ what: 'CPU', unit: 's', ours: cpuSeconds(run.pontoon) - cpu });
  bench.take({ what: 'responses sent (16 shards)', unit: '', ours: run.client.pushes - pushes });
}

export const burst: Scenario = {
  name: 'burst',
  title: '20 new services come at once where 1,200 are, with one shard',
  run: async (bench) => {
    const { scale } = bench;
    const [services, count] = scale.name === 'full' ? [1_200, 20] : [100, 5];
    const load = await bench.load('zookeeper', services, scale.peer[1]);
    const run = await bench.start({ loads: [load] });
    await bench.settle(3_000);
    for (let repeat = 0; repeat < scale.repeats; repeat++) {
      const [cpu, pushes] = [cpuSeconds(run.pontoon), run.client.pushes];
      const fresh = Array.from({ length: count }, (_, number) => services + repeat * count + number);
      const begun = performance.now();
      const arrived = Promise.all(fresh.map((service) => run.has(load.host(service), scale.peer[1])));
      await Promise.all(fresh.map((service) => load.put(service, placesOf(service, scale.peer[1]))));
      const last = Math.max(...(await arrived));
      await sleep(1_000);
      bench.take({ what: 'until the client has all', unit: 'ms', ours: last - begun });
      bench.take({ what: 'full pushes', unit: '', ours: run.client.pushes - pushes, budget: { of: 'ours', most: 9 } });
      bench.take({ what: 'CPU', unit: 's', ours: cpuSeconds(run.pontoon) - cpu });
    }
    await bench.end(run, 'at the end');
  },
};
