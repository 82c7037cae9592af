import { readFileSync } from 'node:fs';
import { cpus } from 'node:os';
import zookeeper from 'node-zookeeper-client';
import { type Istiod, startIstiod } from '#test/servers/istiod.js';
import { type Pontoon, startPontoon } from '#test/servers/pontoon.js';
import { until } from '#test/servers/probes.js';
import { startZookeeper } from '#test/servers/zookeeper.js';

/**
 * How long until istiod has everything that a real ZooKeeper holds, and what it costs Pontoon; beside it the floor: a bare ZooKeeper client that reads the
 * same nodes and sets the same watches. `npm run bench [-- SERVICES INSTANCES REPEATS]`
 */
const [services = 1_000, instances = 10, repeats = 5] = process.argv.slice(2).map(Number);
const ticksPerSecond = 100;

type Client = ReturnType<typeof zookeeper.createClient>;

const server = await startZookeeper();
const client = await connect();
console.log(
  `${cpus().length} cores, ${cpus()[0]?.model}; Node ${process.version}; ${services} services × ${instances} instances`,
);
await fill();

const rows: Record<string, number[]> = {};
for (let run = 0; run < repeats; run++) await measure();
client.close();
await server.stop();

const median = (values: readonly number[]): number =>
  [...values].sort((a, b) => a - b)[Math.floor(values.length / 2)] ?? 0;
for (const [what, values] of Object.entries(rows))
  console.log(
    `${what.padEnd(62)} ${[Math.min(...values), median(values), Math.max(...values)].map((value) => value.toFixed(2).padStart(9)).join('')}`,
  );
console.log(`${''.padEnd(62)}       min   median      max`);
process.exit();

async function measure(): Promise<void> {
  const floor = await timed(readBare);
  const start = performance.now();
  const pontoon = await startPontoon({
    registries: [{ name: 'zk', type: 'zookeeper', servers: [server.connectString] }],
  });
  await until('Pontoon to be ready', async () => (await fetch(`${pontoon.url}/readyz`)).ok, 120_000, 10);
  const ready = performance.now() - start;
  const istiodStart = performance.now();
  const istiod = await startIstiod({ configSources: [pontoon.configSource] });
  await until('istiod to have all', async () => (await entries(istiod)) === services, 120_000, 10);
  note('bare client reads all, s', floor / 1000);
  note('Pontoon: process start → complete and ready, s', ready / 1000);
  note('Pontoon ready ÷ bare client', ready / floor);
  note('istiod: process start → has all, s', (performance.now() - istiodStart) / 1000);
  note('Pontoon: CPU until then, s', cpuSeconds(pontoon));
  note('Pontoon: resident, MB', residentMegabytes(pontoon));
  for (let change = 0; change < 5; change++)
    note('one instance added → on the xDS stream, ms', await oneChange(pontoon));
  await istiod.stop();
  await pontoon.stop();
}

function note(what: string, value: number): void {
  rows[what] = [...(rows[what] ?? []), value];
}

async function timed(work: () => Promise<void>): Promise<number> {
  const start = performance.now();
  await work();
  return performance.now() - start;
}

function providerUrl(service: number, instance: number): string {
  const address = `10.${service >> 8}.${service & 255}.${instance + 1}`;
  const name = serviceName(service);
  return encodeURIComponent(
    `dubbo://${address}:20880/${name}?application=app-${service}&dubbo=2.0.2&interface=${name}&methods=a,b,c&release=3.3.4&side=provider&timestamp=1795386505240&weight=100`,
  );
}

function serviceName(service: number): string {
  return `com.acme.bench.Service${service}`;
}

function connect(): Promise<Client> {
  return new Promise((resolve) => {
    const connecting = zookeeper.createClient(server.connectString);
    connecting.once('connected', () => resolve(connecting));
    connecting.connect();
  });
}

function create(path: string): Promise<void> {
  return new Promise((resolve, reject) => client.mkdirp(path, (error) => (error ? reject(error) : resolve())));
}

function remove(path: string): Promise<void> {
  return new Promise((resolve, reject) => client.remove(path, (error) => (error ? reject(error) : resolve())));
}

async function fill(): Promise<void> {
  for (let service = 0; service < services; service++) {
    const folder = `/dubbo/${serviceName(service)}/providers`;
    // As a provider leaves them behind.
    await create(folder);
    await create(`/dubbo/${serviceName(service)}/configurators`);
    await Promise.all(
      Array.from({ length: instances }, (_, instance) => create(`${folder}/${providerUrl(service, instance)}`)),
    );
  }
}

function children(path: string): Promise<string[]> {
  return new Promise((resolve, reject) =>
    client.getChildren(
      path,
      () => undefined,
      (error, names) => (error ? reject(error) : resolve(names)),
    ),
  );
}

async function readBare(): Promise<void> {
  const names = await children('/dubbo');
  const read = async (name: string) => {
    for (const category of await children(`/dubbo/${name}`)) await children(`/dubbo/${name}/${category}`);
  };
  await Promise.all(names.filter((name) => name.includes('.')).map(read));
}

async function entries(istiod: Istiod): Promise<number> {
  return (await istiod.configz()).length;
}

/** ms from the request that adds a znode to the response that carries it, as Pontoon's own API tells it. */
async function oneChange(pontoon: Pontoon): Promise<number> {
  const sent = async () => (await pontoon.clients())[0]?.subscriptions.find(({ type }) => type !== undefined)?.sent;
  const before = await sent();
  const path = `/dubbo/${serviceName(0)}/providers/${providerUrl(0, 200)}`;
  const start = Date.now();
  await create(path);
  await until('the change to be sent', async () => (await sent())?.version !== before?.version, 10_000, 20);
  const took = ((await sent())?.at ?? start) - start;
  await remove(path);
  await until('the change to be taken back', async () => (await sent())?.version === before?.version, 10_000, 20);
  await new Promise((resolve) => setTimeout(resolve, 500));
  return took;
}

function cpuSeconds({ pid }: Pontoon): number {
  const fields = readFileSync(`/proc/${pid}/stat`, 'utf8').split(') ')[1]?.split(' ') ?? [];
  return (Number(fields[11]) + Number(fields[12])) / ticksPerSecond;
}

function residentMegabytes({ pid }: Pontoon): number {
  return Number(/VmRSS:\s+(\d+)/.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1]) / 1024;
}
