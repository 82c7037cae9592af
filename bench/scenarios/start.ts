import { fork } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { snapshotName } from '#snapshot/file.js';
import { until } from '#test/servers/probes.js';
import type { Bench, Scenario } from '../bench.js';
import type { Load } from '../loads/load.js';
import { cpuSeconds, residentMegabytes, timed } from '../measure.js';
import { stalls } from '../stalls.js';

export const cold: Scenario = {
  name: 'cold start',
  title: 'from the start of the process to the complete set at an xDS client, per registry and all together',
  run: async (bench) => {
    for (const name of bench.scale.registries) await start(bench, name, [await bench.load(name)]);
    if (bench.scale.registries.length > 1)
      await start(bench, 'all together', await Promise.all(bench.scale.registries.map((name) => bench.load(name))));
  },
};

async function start(bench: Bench, what: string, loads: readonly Load[]): Promise<void> {
  const { scale } = bench;
  const services = loads.reduce((sum, { expected }) => sum + expected.size, 0);
  for (let repeat = 0; repeat < scale.repeats; repeat++) {
    const floor = await timed(() => Promise.all(loads.map((load) => load.readAll())));
    const run = await bench.start({ loads, shards: 16 });
    const size = `${what}, ${services} × ${scale.instances}`;
    bench.take({
      what: `${size}: complete set at the client`,
      unit: 's',
      ours: run.coldMs / 1_000,
      floor: floor / 1_000,
      beside: 'bare clients read all',
    });
    bench.take({ what: `${size}: CPU until then`, unit: 's', ours: cpuSeconds(run.pontoon) });
    await stalls(bench, run, `${size}: longest stall of the event loop`);
    const plain = await plainMemory(services, scale.instances);
    bench.take({
      what: `${size}: resident`,
      unit: 'MB',
      ours: residentMegabytes(run.pontoon),
      floor: plain,
      beside: 'the same as plain objects in a bare process',
      ...(loads.length === 1 ? { budget: { of: 'ratio', most: 2 } } : {}),
    });
    await bench.end(run, size);
  }
}

/** MB of a bare process that holds as many instances as plain objects. */
async function plainMemory(services: number, instances: number): Promise<number> {
  const program = fileURLToPath(new URL('../floors/plain.js', import.meta.url));
  const child = fork(program, [String(services), String(instances)], { execArgv: ['--expose-gc'] });
  await once(child, 'message');
  const resident = residentMegabytes(child);
  child.kill();
  return resident;
}

export const restart: Scenario = {
  name: 'restart',
  title: 'from the start of the process to the complete set at an xDS client, from a snapshot',
  run: async (bench) => {
    const load = await bench.load('zookeeper');
    const directory = mkdtempSync(join(tmpdir(), 'pontoon-bench-'));
    const config = { state: { directory } };
    const first = await bench.start({ loads: [load], shards: 16, config });
    await until('a snapshot', () => existsSync(join(directory, snapshotName)), 120_000, 200);
    await bench.end(first, 'before');
    const plain = join(directory, 'plain.json');
    writeFileSync(plain, JSON.stringify([...load.expected].map(([host, places]) => [host, [...places]])));
    for (let repeat = 0; repeat < bench.scale.repeats; repeat++) {
      const floor = await timed(async () => {
        const child = fork(fileURLToPath(new URL('../floors/json.js', import.meta.url)), [plain]);
        await once(child, 'message');
        child.kill();
      });
      const run = await bench.start({ loads: [load], shards: 16, config });
      bench.take({
        what: 'complete set at the client',
        unit: 's',
        ours: run.coldMs / 1_000,
        floor: floor / 1_000,
        beside: 'a bare process that starts and parses the addresses as JSON',
        budget: { of: 'ours', most: 2 },
      });
      await bench.end(run, 'after');
    }
    bench.tell(`  ${readFileSync(plain).length} bytes as plain JSON`);
    rmSync(directory, { recursive: true });
  },
};
