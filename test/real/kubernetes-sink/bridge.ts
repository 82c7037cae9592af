import { pino } from 'pino';
import { Catalog } from '#catalog/catalog.js';
import { defaultRanges, parseRanges, VipAllocator } from '#catalog/vip.js';
import { loadConfig } from '#config/load.js';
import { openCoordination } from '#coordination/coordination.js';
import { Projection } from '#istio/projection.js';
import { meshCondition } from '#policy/expression.js';
import { KubernetesSink, type KubernetesStatus } from '#sinks/kubernetes/sink.js';
import { catalogSettings, Registries } from '../../../src/registries.js';

/** What the program answers to any message. */
export interface BridgeStatus extends KubernetesStatus {
  /** User and system time of the process so far, in ms. */
  readonly cpu: number;
  readonly memory: number;
}

// A program of its own: bridge.js CONFIG. From registries to objects in Kubernetes, and nothing else.
const config = loadConfig(process.argv[2] ?? '');
const { kubernetes } = config.istio;
if (kubernetes === undefined) throw new Error('istio.kubernetes is not set');
const log = pino({ level: process.env.PONTOON_TEST_LOG ?? 'silent' });
const catalog = new Catalog(catalogSettings(config), new VipAllocator(parseRanges(defaultRanges)));
const projection = new Projection(catalog);
const registries = new Registries(catalog, log);
const isComplete = () => catalog.views().every(({ complete }) => complete);
const condition = kubernetes.when === undefined ? undefined : meshCondition(kubernetes.when);
const sink = new KubernetesSink(projection, {
  config: kubernetes,
  serve: config.istio.serve,
  takes: ({ mesh }) => condition?.({ mesh }) ?? condition === undefined,
  coordination: openCoordination(config.coordination, { log, registries: config.registries }),
  isComplete,
  log,
});
const required = new Set(config.registries.flatMap(({ name, required }) => (required ? name : [])));
catalog.on('complete', (name) => {
  required.delete(name);
  if (required.size === 0) sink.ready();
});
process.on('message', () => {
  const { user, system } = process.cpuUsage();
  const status: BridgeStatus = {
    ...sink.status(),
    cpu: (user + system) / 1_000,
    memory: process.memoryUsage().rss,
  };
  process.send?.(status);
});
process.once('disconnect', () => process.exit());
await registries.apply(config);
