import { fork } from 'node:child_process';
import { once } from 'node:events';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { Client, credentials } from '@grpc/grpc-js';
import { startIstiod } from '#test/servers/istiod.js';
import type { Scenario } from '../bench.js';
import { MeshClient } from '../client/client.js';
import { cpuSeconds, median, quantile, residentMegabytes } from '../measure.js';
import { Changer } from '../run.js';
import { ChangeStream } from '../stream.js';

export const istiods: Scenario = {
  name: 'several istiods',
  title: 'one real istiod, and further clients that do what it does, at 100 changes a second and 16 shards',
  run: async (bench) => {
    const { scale } = bench;
    const load = await bench.load('zookeeper');
    for (const count of scale.istiods) {
      const run = await bench.start({ loads: [load], shards: 16, clients: Math.max(1, count - 1) });
      const istiod = await startIstiod({ configSources: run.configSources });
      const stream = await ChangeStream.open(run, load, scale.services);
      await bench.settle(8_000);
      for (let repeat = 0; repeat < scale.repeats; repeat++) {
        stream.reset();
        const cpu = cpuSeconds(run.pontoon);
        const seconds = scale.name === 'full' ? 5 : 2;
        await stream.run(100, seconds);
        const of = `${count} istiods`;
        bench.take({
          what: `${of}: median`,
          unit: 'ms',
          ours: median(stream.ours),
          floor: median(stream.floor),
          beside: 'bare watcher',
        });
        bench.take({
          what: `${of}: CPU per 1,000 changes`,
          unit: 's',
          ours: (10 * (cpuSeconds(run.pontoon) - cpu)) / seconds,
        });
      }
      bench.take({ what: `${count} istiods: resident`, unit: 'MB', ours: residentMegabytes(run.pontoon) });
      await stream.close();
      await istiod.stop();
      await bench.end(run, `${count} istiods`);
    }
  },
};

export const slow: Scenario = {
  name: 'slow istiod',
  title: 'a client that takes nothing beside one that does, at 100 changes a second',
  run: async (bench) => {
    const { scale } = bench;
    const load = await bench.load('zookeeper');
    const run = await bench.start({ loads: [load], shards: 16, clients: 2 });
    const stream = await ChangeStream.open(run, load, scale.services);
    const seconds = scale.name === 'full' ? 6 : 2;
    const measure = async () => {
      stream.reset();
      await stream.run(100, seconds);
      return {
        median: median(stream.ours),
        late: quantile(stream.ours, 0.99),
        resident: residentMegabytes(run.pontoon),
      };
    };
    await measure();
    for (let repeat = 0; repeat < scale.repeats; repeat++) {
      const both = await measure();
      run.clients[1]?.pause();
      await sleep(500);
      const one = await measure();
      run.clients[1]?.resume();
      await bench.settle(3_000);
      const beside = 'while both take what they are sent';
      bench.take({ what: 'median at the fast one', unit: 'ms', ours: one.median, floor: both.median, beside });
      bench.take({ what: '99th percentile at the fast one', unit: 'ms', ours: one.late, floor: both.late, beside });
      bench.take({ what: 'resident', unit: 'MB', ours: one.resident, floor: both.resident, beside });
    }
    await stream.close();
    await bench.end(run, 'at the end');
  },
};

export const push: Scenario = {
  name: 'full push',
  title: 'the complete set to a client that comes anew',
  run: async (bench) => {
    const { scale } = bench;
    const load = await bench.load('zookeeper');
    for (const shards of [1, 16]) {
      const run = await bench.start({ loads: [load], shards });
      const changer = await Changer.open(run, load, 7);
      await bench.settle(3_000);
      for (let repeat = 0; repeat < scale.repeats; repeat++) {
        const size = run.client.services;
        // After a change the first one has to be put together anew.
        await (repeat % 2 === 0 ? changer.add() : changer.remove());
        await sleep(2_100);
        const cached = await whole(run.addresses);
        const floor = await plainStream(cached.sizes);
        bench.take({
          what: `${size} services, ${(cached.bytes / 1e6).toFixed(0)} MB, ${shards} ${shards === 1 ? 'shard' : 'shards'}, from cached bytes`,
          unit: 'ms',
          ours: cached.ms,
          floor,
          beside: 'plain gRPC stream with the same bytes',
          budget: { of: 'ours', most: 150 },
        });
      }
      if (scale.repeats % 2 === 1) await changer.remove();
      changer.close();
      await bench.end(run, `${shards} shards`);
    }
  },
};

async function whole(addresses: readonly string[]): Promise<{ ms: number; bytes: number; sizes: readonly number[] }> {
  const begun = performance.now();
  const client = new MeshClient({ addresses });
  const ms = (await client.synced()) - begun;
  const { bytes } = client;
  client.close();
  return { ms, bytes, sizes: addresses.map(() => Math.round(bytes / addresses.length)) };
}

/** ms until as many bytes have come over as many plain streams, each on a connection of its own. */
async function plainStream(sizes: readonly number[]): Promise<number> {
  const child = fork(fileURLToPath(new URL('../floors/bytes.js', import.meta.url)), [sizes.join(',')]);
  const [port] = (await once(child, 'message')) as [number];
  const same = (bytes: Buffer) => bytes;
  const begun = performance.now();
  await Promise.all(
    sizes.map(async () => {
      const client = new Client(`127.0.0.1:${port}`, credentials.createInsecure(), {
        'grpc.max_receive_message_length': -1,
        'grpc.use_local_subchannel_pool': 1,
      });
      const stream = client.makeBidiStreamRequest('/bench/stream', same, same);
      stream.on('error', () => undefined);
      stream.write(Buffer.from('?'));
      await once(stream, 'data');
      stream.cancel();
      client.close();
    }),
  );
  const ms = performance.now() - begun;
  child.kill();
  return ms;
}
