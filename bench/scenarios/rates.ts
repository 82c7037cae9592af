import { startIstiod } from '#test/servers/istiod.js';
import type { Scenario } from '../bench.js';
import { cpuSeconds, median, quantile, residentMegabytes } from '../measure.js';
import { longestStalls } from '../stalls.js';
import { ChangeStream } from '../stream.js';

export const rates: Scenario = {
  name: 'changes per second',
  title: 'instances come and go all the time; a real istiod and one more client take all',
  run: async (bench) => {
    const { scale } = bench;
    const load = await bench.load('zookeeper');
    for (const { shards, protocol } of [...scale.shards.map(sotw), { shards: 1, protocol: 'delta' } as const]) {
      const run = await bench.start({ loads: [load], shards, protocol });
      // It does not ask a config source for changes.
      const istiod = protocol === 'delta' ? undefined : await startIstiod({ configSources: run.configSources });
      const stream = await ChangeStream.open(run, load, scale.services);
      await bench.settle(10_000);
      for (const rate of scale.rates) {
        const of = `${rate} a second, ${protocol === 'delta' ? 'delta' : `${shards} shards`}`;
        const seconds = scale.rateSeconds / scale.repeats;
        for (let repeat = 0; repeat < scale.repeats; repeat++) {
          stream.reset();
          await longestStalls(bench, run);
          const before = { own: cpuSeconds(run.pontoon), istiod: istiod === undefined ? 0 : cpuSeconds(istiod) };
          const [pushes, bytes] = [run.client.pushes, run.client.bytes];
          await stream.run(rate, seconds);
          const changes = rate * seconds;
          const { ours, floor } = stream;
          bench.take({
            what: `${of}: median`,
            unit: 'ms',
            ours: median(ours),
            floor: median(floor),
            beside: 'bare watcher',
          });
          bench.take({
            what: `${of}: 99th percentile`,
            unit: 'ms',
            ours: quantile(ours, 0.99),
            floor: quantile(floor, 0.99),
            beside: 'bare watcher',
            ...(rate === 1_000 && (shards > 1 || protocol === 'delta') ? { budget: { of: 'ours', most: 150 } } : {}),
          });
          bench.take({
            what: `${of}: CPU per 1,000 changes`,
            unit: 's',
            ours: (1_000 * (cpuSeconds(run.pontoon) - before.own)) / changes,
          });
          if (istiod !== undefined)
            bench.take({
              what: `${of}: istiod's CPU per 1,000 changes`,
              unit: 's',
              ours: (1_000 * (cpuSeconds(istiod) - before.istiod)) / changes,
            });
          bench.take({ what: `${of}: responses a second`, unit: '', ours: (run.client.pushes - pushes) / seconds });
          bench.take({
            what: `${of}: MB a second to one client`,
            unit: 'MB',
            ours: (run.client.bytes - bytes) / seconds / 1e6,
          });
          const { ours: stall, floor: alone } = await longestStalls(bench, run);
          bench.take({
            what: `${of}: longest stall`,
            unit: 'ms',
            ours: stall,
            floor: alone,
            beside: 'a process that does nothing',
          });
        }
        // What the fastest leave behind is no part of the next one.
        await bench.settle(3_000);
      }
      await stream.close();
      await istiod?.stop();
      await bench.end(run, `${shards} shards, ${protocol}`);
    }
  },
};

function sotw(shards: number): { readonly shards: number; readonly protocol: 'sotw' } {
  return { shards, protocol: 'sotw' };
}

export const churn: Scenario = {
  name: 'churn',
  title: 'as many changes as an hour has at ten a second, compressed: does memory grow?',
  run: async (bench) => {
    const { scale } = bench;
    const load = await bench.load('zookeeper');
    const run = await bench.start({ loads: [load], shards: 16 });
    const stream = await ChangeStream.open(run, load, scale.services);
    const rate = 150;
    const parts = 12;
    const resident: number[] = [];
    for (let part = 0; part < parts; part++) {
      await stream.run(rate, scale.churnSeconds / parts);
      stream.reset();
      resident.push(residentMegabytes(run.pontoon));
    }
    const third = parts / 3;
    bench.take({
      what: `${rate * scale.churnSeconds} changes: resident in the last third`,
      unit: 'MB',
      ours: median(resident.slice(-third)),
      floor: median(resident.slice(third, 2 * third)),
      beside: 'in the third before',
      budget: { of: 'ratio', most: 1.05 },
    });
    await stream.close();
    await bench.end(run, 'at the end');
  },
};
