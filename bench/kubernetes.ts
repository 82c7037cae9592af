import { setMaxListeners } from 'node:events';
import { setTimeout as sleep } from 'node:timers/promises';
import { pino } from 'pino';
import { Catalog } from '#catalog/catalog.js';
import { defaultRanges, parseRanges, VipAllocator } from '#catalog/vip.js';
import { parseConfig } from '#config/load.js';
import { LocalCoordination } from '#coordination/local.js';
import { Projection } from '#istio/projection.js';
import { KubeClient } from '#kubernetes/kubeclient.js';
import type { RegistryService } from '#model/service.js';
import { KubernetesSink } from '#sinks/kubernetes/sink.js';
import { cause } from '#sources/contract.js';
import { Cluster } from '#test/real/kubernetes-sink/cluster.js';
import { until } from '#test/servers/probes.js';
import { catalogSettings, registryPolicies } from '../src/registries.js';
import { cpuSeconds } from './measure.js';

const services = 10_000;
const instances = 10;
/** Writes per second: far more than the API server takes, so that it sets the pace. */
const rate = 10_000;
const idleMs = 60_000;
/** Writes for the API server's own ceiling, and how many of them at a time. */
const probes = 2_000;
const parallel = 16;

function service(index: number, weight: number): RegistryService {
  return {
    key: { registry: 'r', namespace: '', group: '', name: `service-${index}.bench`, version: '' },
    kind: 'file',
    ports: [],
    metadata: {},
    instances: Array.from({ length: instances }, (_, number) => ({
      id: `${index}-${number}`,
      address: `10.${number}.${index >> 8}.${index & 255}`,
      ports: [{ name: '', protocol: 'http' as const, number: 8000 }],
      status: 'serve',
      weight,
      zone: '',
      locality: undefined,
      network: undefined,
      metadata: { version: 'v1', team: 'shop' },
      changedAt: 0,
    })),
    rejected: [],
    consumers: [],
  };
}

/** ms of CPU of this process, and of the API server. */
function cpuOf(pid: number): { readonly ours: number; readonly server: number } {
  const { user, system } = process.cpuUsage();
  return { ours: (user + system) / 1_000, server: cpuSeconds({ pid }) * 1_000 };
}

const cluster = await Cluster.start();
const pid = cluster.api.pid ?? 0;
const kubeconfig = cluster.kubeconfig();
const yaml = `registries: [{ name: r, type: file, path: x }]
istio: { xds: [], kubernetes: { kubeconfig: ${kubeconfig}, rate: ${rate} } }`;
const config = parseConfig(yaml, 'bench');
const { kubernetes } = config.istio;
if (kubernetes === undefined) throw new Error('no sink');

/** A Pontoon that has just read its registry. */
function start(weight: number) {
  const catalog = new Catalog(catalogSettings(config), new VipAllocator(parseRanges(defaultRanges)));
  const projection = new Projection(catalog);
  const sink = new KubernetesSink(projection, {
    config: kubernetes as NonNullable<typeof kubernetes>,
    owner: config.state.owner,
    takes: () => true,
    covered: () => undefined,
    coordination: new LocalCoordination(),
    isComplete: () => true,
    log: pino({ level: 'warn' }),
  });
  const [view] = catalog.configure(catalogSettings(config), registryPolicies(config));
  const listing = view?.listing();
  listing?.add(Array.from({ length: services }, (_, index) => service(index, weight)));
  listing?.commit(cause('bench'));
  view?.settleAll();
  return { sink, view };
}

async function measure(what: string, sink: KubernetesSink, work: () => Promise<unknown>): Promise<void> {
  const [begun, before, cpu] = [performance.now(), sink.status(), cpuOf(pid)];
  await work();
  const [seconds, after, now] = [(performance.now() - begun) / 1_000, sink.status(), cpuOf(pid)];
  const writes = after.written + after.deleted - before.written - before.deleted;
  console.log(
    `${what}: ${seconds.toFixed(1)} s, ${writes} writes (${Math.round(writes / seconds)} a second), ${after.requests - before.requests} requests, ` +
      `CPU ${Math.round(now.ours - cpu.ours)} ms of Pontoon, ${Math.round(now.server - cpu.server)} ms of the API server`,
  );
}

const settled = (sink: KubernetesSink) =>
  until(
    'all written',
    () => {
      const { state, pending, objects } = sink.status();
      return state === 'writing' && pending === 0 && objects === services;
    },
    1_800_000,
    20,
  );

/** How many writes this API server takes from a client that does nothing else. */
async function ceiling(): Promise<void> {
  const client = await KubeClient.load(kubeconfig);
  const endpoints = Array.from({ length: instances }, (_, number) => ({
    address: `10.${number}.0.1`,
    ports: { http: 8000 },
    labels: { version: 'v1', team: 'shop' },
    weight: 100,
  }));
  const spec = { ports: [{ name: 'http', number: 80, protocol: 'HTTP' }], resolution: 'STATIC', endpoints };
  const { signal } = new AbortController();
  setMaxListeners(0, signal);
  let next = 0;
  const worker = async () => {
    while (next < probes) {
      const name = `probe-${next++}`;
      const path = `/apis/networking.istio.io/v1/namespaces/pontoon/serviceentries/${name}`;
      const body = {
        apiVersion: 'networking.istio.io/v1',
        kind: 'ServiceEntry',
        metadata: { name },
        spec: { hosts: [`${name}.bench`], ...spec },
      };
      const query = { fieldManager: 'probe' };
      await client.ask({ method: 'PATCH', apply: true, path, query, body, timeout: 60_000 }, signal);
    }
  };
  const begun = performance.now();
  await Promise.all(Array.from({ length: parallel }, worker));
  const seconds = (performance.now() - begun) / 1_000;
  console.log(`${probes} bare applies, ${parallel} at a time: ${Math.round(probes / seconds)} a second`);
  client.close();
}

console.log(`${services} services × ${instances} instances, rate ${rate} a second`);
const first = start(1);
await measure('first start', first.sink, async () => {
  await first.sink.open();
  first.sink.ready();
  await settled(first.sink);
});
await measure(`idle for ${idleMs / 1_000} s`, first.sink, () => sleep(idleMs));
const times: number[] = [];
for (let round = 0; round < 20; round++) {
  const begun = performance.now();
  const { written } = first.sink.status();
  first.view?.update([service(round, 2)], [], cause('bench'));
  await until('written', () => first.sink.status().written > written, 30_000, 1);
  times.push(performance.now() - begun);
  await sleep(100);
}
times.sort((a, b) => a - b);
console.log(
  `one change, to the API server's answer: median ${times[10]?.toFixed(0)} ms, max ${times.at(-1)?.toFixed(0)} ms`,
);
await first.sink.close();
const second = start(1);
second.view?.update(
  Array.from({ length: 20 }, (_, index) => service(index, 2)),
  [],
  cause('bench'),
);
await measure('restart', second.sink, async () => {
  await second.sink.open();
  second.sink.ready();
  await settled(second.sink);
});
console.log(`memory: ${Math.round(process.memoryUsage().rss / 2 ** 20)} MB, two catalogs among it`);
await measure('all emptied', second.sink, async () => {
  second.view?.listing().commit(cause('bench'));
  await until('all written', () => second.sink.status().written >= services, 1_800_000, 20);
});
await second.sink.close();
await ceiling();
await cluster.api.stop();
process.exit();
