import { setTimeout as sleep } from 'node:timers/promises';
import { startIstiod } from '#test/servers/istiod.js';
import type { Scenario } from '../bench.js';
import { EndpointWatcher } from '../client/endpoints.js';
import { place } from '../loads/load.js';
import { cpuSeconds, median, residentMegabytes } from '../measure.js';

const pauseMs = 200;
const service = 7;

export const istiod: Scenario = {
  name: 'real istiod',
  title: 'one instance comes or goes: when its endpoints leave istiod for a sidecar, and what that costs istiod',
  run: async (bench) => {
    const { scale } = bench;
    const load = await bench.load('zookeeper');
    const [idleMs, changes] = scale.name === 'full' ? [5_000, 12] : [500, 4];
    for (const shards of scale.shards) {
      const run = await bench.start({ loads: [load], shards });
      run.leave();
      const istiod = await startIstiod({ configSources: run.configSources });
      const watcher = new EndpointWatcher(istiod.xdsAddress, `outbound|20880||${load.host(service)}`);
      const base = load.places(service);
      await watcher.has(base.length);
      await sleep(2 * idleMs);
      const idleFrom = cpuSeconds(istiod);
      await sleep(idleMs);
      const idlePerMs = (cpuSeconds(istiod) - idleFrom) / idleMs;
      for (let repeat = 0; repeat < scale.repeats; repeat++) {
        const latencies: number[] = [];
        const [cpu, begun] = [cpuSeconds(istiod), performance.now()];
        for (let change = 0; change < changes; change++) {
          const start = performance.now();
          const next = change % 2 === 0 ? [...base, place(service, base.length)] : base;
          await Promise.all([load.put(service, next), watcher.has(next.length)]);
          latencies.push(performance.now() - start);
          await sleep(Math.max(0, pauseMs - (performance.now() - start)));
        }
        const used = cpuSeconds(istiod) - cpu - idlePerMs * (performance.now() - begun);
        const most = new Map([
          [64, 10],
          [16, 25],
        ]).get(shards);
        const budget = most === undefined ? {} : { budget: { of: 'ours', most } as const };
        bench.take({
          what: `${shards} shards: endpoints at a sidecar (istiod's debounce is 100)`,
          unit: 'ms',
          ours: median(latencies),
        });
        bench.take({
          what: `${shards} shards: istiod's CPU of one change`,
          unit: 'ms',
          ours: (1_000 * used) / changes,
          ...budget,
        });
      }
      bench.take({ what: `${shards} shards: istiod's memory`, unit: 'MB', ours: residentMegabytes(istiod) });
      watcher.close();
      await istiod.stop();
      await bench.end(run, `${shards} shards`);
    }
  },
};
