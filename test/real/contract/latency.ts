import { setTimeout as sleep } from 'node:timers/promises';
import { until } from '#test/servers/probes.js';
import type { Bridge } from './bridge.js';
import type { RegistryUnderTest, TestInstance } from './registry.js';

/** ms from the beginning of a write until it was seen, one per change. */
export interface Latencies {
  /** By the registry's own client. */
  readonly client: readonly number[];
  /** In the catalog. */
  readonly catalog: readonly number[];
}

/** Changes one instance again and again, and measures when a bare client of the registry sees it, and when the catalog has it. */
export async function latencies(
  registry: RegistryUnderTest,
  bridge: Bridge,
  instance: TestInstance,
  rounds: number,
): Promise<Latencies> {
  const service = 'latency';
  const marked = (mark: string) => registry.register(service, { ...instance, metadata: { mark } });
  const shown = registry.shown?.('mark') ?? 'mark';
  const seen = { client: new Map<string, number>(), catalog: new Map<string, number>() };
  const note = (where: Map<string, number>, mark: string | undefined) => {
    if (mark !== undefined && !where.has(mark)) where.set(mark, performance.now());
  };
  await marked('first');
  const end = await registry.watch(service, (mark) => note(seen.client, mark));
  bridge.changed = () => note(seen.catalog, bridge.instances(service)[0]?.metadata[shown]);
  const both = (mark: string) => () => seen.client.has(mark) && seen.catalog.has(mark);
  const results: { client: number; catalog: number }[] = [];
  try {
    bridge.changed();
    await until('the first mark seen by both', both('first'));
    for (let round = 0; round < rounds; round++) {
      const mark = `mark-${round}`;
      // Not in step with anybody's interval.
      await sleep(Math.random() * 500);
      const begun = performance.now();
      await marked(mark);
      await until(`${mark} seen by both`, both(mark), 30_000, 5);
      results.push({
        client: (seen.client.get(mark) ?? 0) - begun,
        catalog: (seen.catalog.get(mark) ?? 0) - begun,
      });
    }
  } finally {
    bridge.changed = () => undefined;
    await end();
  }
  return { client: results.map(({ client }) => client), catalog: results.map(({ catalog }) => catalog) };
}

/** `min / median / max`, in ms. */
export function spread(values: readonly number[]): string {
  const sorted = [...values].sort((a, b) => a - b);
  return [sorted[0], sorted[Math.floor(sorted.length / 2)], sorted.at(-1)]
    .map((value) => (value ?? 0).toFixed(value !== undefined && value < 10 ? 1 : 0))
    .join(' / ');
}
