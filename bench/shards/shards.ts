import { readFileSync } from 'node:fs';
import { cpus } from 'node:os';
import { setTimeout as sleep } from 'node:timers/promises';
import zookeeper from 'node-zookeeper-client';
import type { DoorsReport } from '#admin/report.js';
import { type Istiod, startIstiod } from '#test/servers/istiod.js';
import { type Pontoon, startPontoon } from '#test/servers/pontoon.js';
import { httpOk, until } from '#test/servers/probes.js';
import type { Server } from '#test/servers/process.js';
import { startZookeeper } from '#test/servers/zookeeper.js';
import { EndpointWatcher } from '../client/endpoints.js';

/**
 * What one change costs an istiod, and how long it takes, by the number of shards that the set is divided over: 10,000 services × 10 instances, of which one
 * service changes five times a second. All lie in a real ZooKeeper, so that changes come by its watches.
 * `npm run bench:shards [-- SHARDS...]`
 */
const counts = process.argv.slice(2).map(Number);
const services = 10_000;
const instances = 10;
const changes = 60;
const pauseMs = 200;
/** Until the work of the starts is done. */
const settleMs = 10_000;
const ticksPerSecond = 100;
const changing = 'com.acme.bench.Orders';
const another = znode(changing, 0, instances);
const cluster = `outbound|20880||${changing.toLowerCase()}.dubbo`;

interface Row {
  readonly shards: number;
  /** ms of CPU per change, beyond what the process uses when nothing changes. */
  readonly istiod: number;
  readonly own: number;
  /** MB. */
  readonly memory: number;
  /** Bytes per change. */
  readonly bytes: number;
  /** ms from the write to ZooKeeper to the endpoints at the client. */
  readonly latencies: readonly number[];
  /** s from istiod's start until it is ready. */
  readonly ready: number;
}

const started = performance.now();
const server = await startZookeeper();
const client = zookeeper.createClient(server.connectString);
await new Promise<void>((resolve) => {
  client.once('connected', resolve);
  client.connect();
});
await fill();

const rows: Row[] = [];
for (const shards of counts.length === 0 ? [1, 16, 64] : counts) {
  rows.push(await measure(shards));
  console.error(`${shards} shards: measured, after ${Math.round((performance.now() - started) / 1000)} s`);
}
client.close();
await server.stop();
print();
process.exit();

/** All services, as Dubbo providers register them by interface. */
async function fill(): Promise<void> {
  await create('/dubbo');
  const names = [changing, ...Array.from({ length: services - 1 }, (_, service) => `com.acme.bench.Service${service}`)];
  for (let first = 0; first < services; first += 100)
    await Promise.all(names.slice(first, first + 100).map((name, index) => createService(name, first + index)));
}

async function createService(name: string, service: number): Promise<void> {
  // In the order of one session: a node's parent is there before it.
  const paths = [`/dubbo/${name}`, `/dubbo/${name}/providers`];
  paths.push(...Array.from({ length: instances }, (_, instance) => znode(name, service, instance)));
  await Promise.all(paths.map(create));
}

/** The znode of a Dubbo provider. */
function znode(name: string, service: number, instance: number): string {
  const address = `10.${service >> 8}.${service & 255}.${instance + 1}`;
  const url = `dubbo://${address}:20880/${name}?application=app-${service}&dubbo=2.0.2&interface=${name}&release=3.3.4&side=provider`;
  return `/dubbo/${name}/providers/${encodeURIComponent(url)}`;
}

function create(path: string): Promise<void> {
  return new Promise((resolve, reject) => client.create(path, (error) => (error ? reject(error) : resolve())));
}

function remove(path: string): Promise<void> {
  return new Promise((resolve, reject) => client.remove(path, (error) => (error ? reject(error) : resolve())));
}

async function measure(shards: number): Promise<Row> {
  const pontoon = await startPontoon({
    registries: [{ name: 'zk', type: 'zookeeper', servers: [server.connectString] }],
    listener: { shards },
  });
  await until('Pontoon to have all', () => httpOk(`${pontoon.url}/readyz`), 120_000, 50);
  const configSources = Array.from({ length: shards }, (_, shard) => `xds://127.0.0.1:${pontoon.xdsPort + shard}`);
  const start = performance.now();
  const istiod = await startIstiod({ configSources });
  const ready = (performance.now() - start) / 1000;
  const watcher = new EndpointWatcher(istiod.xdsAddress, cluster);
  await watcher.has(instances);
  await sleep(settleMs);
  const [istiodIdle, ownIdle] = await Promise.all([idleMs(istiod), idleMs(pontoon)]);

  const before = { istiod: cpuMs(istiod), own: cpuMs(pontoon), bytes: await bytesOf(pontoon) };
  const latencies: number[] = [];
  const begin = performance.now();
  for (let change = 0; change < changes; change++) {
    const begun = performance.now();
    const isAdded = change % 2 === 0;
    await Promise.all([isAdded ? create(another) : remove(another), watcher.has(isAdded ? instances + 1 : instances)]);
    latencies.push(performance.now() - begun);
    await sleep(Math.max(0, pauseMs - (performance.now() - begun)));
  }
  const seconds = (performance.now() - begin) / 1000;
  const row = {
    shards,
    istiod: (cpuMs(istiod) - before.istiod - istiodIdle * seconds) / changes,
    own: (cpuMs(pontoon) - before.own - ownIdle * seconds) / changes,
    memory: residentMegabytes(istiod),
    bytes: ((await bytesOf(pontoon)) - before.bytes) / changes,
    latencies,
    ready,
  };
  watcher.close();
  await istiod.stop();
  await pontoon.stop();
  return row;
}

/** ms of CPU that a process uses in a second when nothing changes: no part of what a change costs. */
async function idleMs(process: Istiod | Pontoon): Promise<number> {
  const [before, start] = [cpuMs(process), performance.now()];
  await sleep(5_000);
  return ((cpuMs(process) - before) / (performance.now() - start)) * 1000;
}

async function bytesOf(pontoon: Pontoon): Promise<number> {
  const { listeners } = (await pontoon.get('/api/v1/doors')) as DoorsReport;
  return listeners[0]?.bytes ?? 0;
}

function cpuMs({ pid }: Server): number {
  const fields = readFileSync(`/proc/${pid}/stat`, 'utf8').split(') ')[1]?.split(' ') ?? [];
  return ((Number(fields[11]) + Number(fields[12])) / ticksPerSecond) * 1000;
}

function residentMegabytes({ pid }: Server): number {
  return (Number(/VmRSS:\s+(\d+)/.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1]) * 1024) / 1e6;
}

function print(): void {
  console.log(
    "| shards | istiod's CPU per change | its memory after 60 changes | Pontoon's CPU per change | bytes sent per change | change → EDS at a sidecar, median (max) | istiod ready after |\n| ---: | ---: | ---: | ---: | ---: | ---: | ---: |",
  );
  for (const { shards, istiod, memory, own, bytes, latencies, ready } of rows) {
    const sorted = [...latencies].sort((a, b) => a - b);
    const times = `${ms(sorted[sorted.length >> 1] ?? 0)} (${Math.round(sorted.at(-1) ?? 0)})`;
    const cells = [
      shards,
      ms(istiod),
      `${Math.round(memory)} MB`,
      ms(own),
      `${(bytes / 1e6).toFixed(2)} MB`,
      times,
      `${ready.toFixed(1)} s`,
    ];
    console.log(`| ${cells.join(' | ')} |`);
  }
  const cores = cpus();
  console.log(
    `\n${services} services × ${instances} instances, ${changes} changes of one service, one every ${pauseMs} ms at most. ${cores.length} cores (${cores[0]?.model}), Node ${process.version}, ${new Date().toISOString().slice(0, 10)}.`,
  );
}

function ms(value: number): string {
  return `${value < 10 ? value.toFixed(1) : Math.round(value)} ms`;
}
