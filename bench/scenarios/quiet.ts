import { Wire } from '#test/servers/wire.js';
import type { Scenario } from '../bench.js';
import { coreShare } from '../measure.js';

export const idle: Scenario = {
  name: 'idle',
  title: 'nothing happens: CPU, and what is asked of the registry',
  run: async (bench) => {
    const { scale } = bench;
    for (const name of scale.registries) {
      const load = await bench.load(name);
      const wire = await Wire.open(portOf(load.config), name === 'nacos' ? [1_000] : []);
      const run = await bench.start({
        loads: [{ config: through(load.config, wire.port), expected: load.expected }],
        shards: 16,
      });
      // After a start there is more to find out than what is served: which znodes are persistent, what a young registry's deltas name.
      const begun = performance.now();
      while (
        performance.now() - begun < scale.idleSeconds * 7_000 &&
        (await coreShare(run.pontoon, scale.idleSeconds * 250)) > 1
      );
      bench.take({
        what: `${name}, ${load.expected.size} services: until it is idle`,
        unit: 's',
        ours: (performance.now() - begun) / 1_000,
      });
      const { pieces } = wire;
      const share = await coreShare(run.pontoon, scale.idleSeconds * 1_000);
      bench.take({
        what: `${name}, ${load.expected.size} services: CPU`,
        unit: '% of a core',
        ours: share,
        budget: { of: 'ours', most: 1 },
      });
      bench.take({
        what: `${name}: requests a minute`,
        unit: '',
        ours: ((wire.pieces - pieces) * 60) / scale.idleSeconds,
      });
      await bench.end(run, name);
      await wire.close();
    }
  },
};

export const down: Scenario = {
  name: 'registry down',
  title: 'the registry is killed: CPU while it is away, and nothing is lost',
  run: async (bench) => {
    const { scale } = bench;
    for (const name of scale.registries) {
      const load = await bench.ownLoad(name, Math.min(1_000, bench.most(name)));
      const run = await bench.start({ loads: [load], shards: 16 });
      await load.kill();
      await bench.settle(5_000);
      const share = await coreShare(run.pontoon, (scale.idleSeconds * 1_000) / 2);
      bench.take({ what: `${name}: CPU`, unit: '% of a core', ours: share, budget: { of: 'ours', most: 1 } });
      await bench.end(run, name);
    }
  },
};

interface Servers {
  readonly servers: readonly string[];
}

function portOf(config: object): number {
  return Number(/:(\d+)/.exec((config as Servers).servers[0]?.replace('://', '') ?? '')?.[1]);
}

/** The same registry, reached by another port. */
function through(config: object, port: number): object {
  const servers = (config as Servers).servers.map((server) => server.replace(`:${portOf(config)}`, `:${port}`));
  return { ...config, servers };
}
