import { setTimeout as sleep } from 'node:timers/promises';
import { freePort } from '#test/servers/ports.js';
import { until } from '#test/servers/probes.js';
import type { Scenario } from '../bench.js';
import { MeshClient } from '../client/client.js';
import { placesOf } from '../loads/load.js';
import { NacosLoad } from '../loads/nacos.js';
import { cpuSeconds, median, residentMegabytes } from '../measure.js';
import { Changer, medians } from '../run.js';

const changes = 6;

export const nacosPeer: Scenario = {
  name: "beside Nacos's own",
  title: "Nacos 2.3.2's own MCP server and Pontoon: the same Nacos, the same changes, the same client",
  run: async (bench) => {
    const { scale } = bench;
    const [services, instances] = scale.peer;
    const port = await freePort();
    const load = new NacosLoad({
      'nacos.extension.naming.istio.enabled': true,
      'nacos.istio.mcp.server.enabled': true,
      'nacos.istio.mcp.server.port': port,
      'nacos.istio.mcp.push.interval': 500,
    });
    await load.start();
    try {
      await load.fill(services, instances);
      let seen: ((at: number) => void) | undefined;
      let wanted = 0;
      const connect = () =>
        new MeshClient({
          addresses: [`127.0.0.1:${port}`],
          typeUrl: 'networking.istio.io/v1alpha3/ServiceEntry',
          changed: (host, endpoints, at) => {
            if (/bench-7\b/i.test(host) && endpoints === wanted) seen?.(at);
          },
        });
      const alone = residentMegabytes(load.server);
      let peer = connect();
      await until("Nacos's own to have all", () => peer.services >= services, 120_000, 100);
      const memory = residentMegabytes(load.server) - alone;
      const run = await bench.start({ loads: [load] });
      bench.take({
        what: 'resident',
        unit: 'MB',
        ours: residentMegabytes(run.pontoon),
        floor: Math.max(1, memory),
        beside: 'what Nacos’s own adds to Nacos',
      });
      const changer = await Changer.open(run, load, 7);
      for (let repeat = 0; repeat < scale.repeats; repeat++) {
        const ours: number[] = [];
        const theirs: number[] = [];
        for (let change = 0; change < changes; change++) {
          await sleep(1_000);
          wanted = change % 2 === 0 ? instances + 1 : instances;
          const arrived = new Promise<number>((resolve) => {
            seen = resolve;
          });
          const begun = performance.now();
          const timed = await (change % 2 === 0 ? changer.add() : changer.remove());
          ours.push(timed.ours);
          theirs.push((await arrived) - begun);
        }
        bench.take({
          what: 'one change',
          unit: 'ms',
          ours: median(ours),
          floor: median(theirs),
          beside: 'Nacos’s own',
        });
      }
      // Each alone, for what it costs.
      const count = scale.name === 'full' ? 40 : 4;
      const cost = async (used: () => number): Promise<number> => {
        const before = used();
        await spend(load, count, instances);
        return (1_000 * (used() - before)) / count;
      };
      peer.close();
      const ours = await cost(() => cpuSeconds(run.pontoon) + cpuSeconds(load.server));
      run.leave();
      peer = connect();
      await until("Nacos's own to have all", () => peer.services >= services, 120_000, 100);
      const idle = cpuSeconds(run.pontoon);
      const theirs = await cost(() => cpuSeconds(load.server));
      bench.tell(
        `  Pontoon without a client used ${(cpuSeconds(run.pontoon) - idle).toFixed(2)} s meanwhile, which is not in the peer's`,
      );
      bench.take({
        what: 'CPU of one change: Nacos and the bridge',
        unit: 'ms',
        ours,
        floor: theirs,
        beside: 'Nacos with its own',
      });
      peer.close();
      changer.close();
      await bench.end(run, 'at the end');
    } finally {
      await load.stop();
    }
  },
};

/** Changes while nobody is waited for. */
async function spend(load: NacosLoad, count: number, instances: number): Promise<void> {
  for (let change = 0; change < count; change++) {
    await load.put(7, placesOf(7, instances + (change % 2 === 0 ? 1 : 0)));
    await sleep(250);
  }
}

export const meshregistry: Scenario = {
  name: 'beside meshregistry',
  title:
    "one ZooKeeper and one client, as slime's meshregistry was measured: 39 to 51 ms with full pushes, 3 to 5 ms incremental, 134 to 151 MB, ready after 2.2 s with 0.4 s of CPU",
  run: async (bench) => {
    const { scale } = bench;
    const load = await bench.load('zookeeper', ...scale.peer);
    for (let repeat = 0; repeat < scale.repeats; repeat++)
      for (const protocol of ['sotw', 'delta'] as const) {
        const run = await bench.start({ loads: [load], protocol });
        const cpu = cpuSeconds(run.pontoon);
        await bench.settle(2_000);
        const changer = await Changer.open(run, load, 7);
        const all = await changer.several(changes, 300);
        const what = `one change, ${protocol === 'sotw' ? 'full pushes' : 'delta'}`;
        bench.take({
          what,
          unit: 'ms',
          ...medians(all),
          beside: 'bare watcher',
          budget: { of: 'ours', most: protocol === 'sotw' ? 39 : 5 },
        });
        bench.take({
          what: 'complete set at the client',
          unit: 's',
          ours: run.coldMs / 1_000,
          budget: { of: 'ours', most: 2.2 },
        });
        bench.take({ what: 'CPU until then', unit: 's', ours: cpu });
        bench.take({
          what: 'resident',
          unit: 'MB',
          ours: residentMegabytes(run.pontoon),
          budget: { of: 'ours', most: 151 },
        });
        changer.close();
        await bench.end(run, what);
      }
  },
};
