import { isSame } from '#config/fields.js';
import type { Config } from '#config/schema.js';

const fixed: readonly [string, (config: Config) => unknown][] = [
  ['istio.xds', ({ istio }) => istio.xds],
  ['istio.vip', ({ istio }) => istio.vip],
  ['istio.kubernetes', ({ istio }) => istio.kubernetes],
  // The sink is elected for its shards; and neither sink waits until a shard that comes is complete, as the listeners do.
  ['istio.serve', ({ istio }) => (istio.kubernetes ?? istio.files) && istio.serve],
  ['istio.files', ({ istio }) => istio.files],
  ['istio.dns', ({ istio }) => istio.dns],
  ['admin', ({ admin }) => admin],
  ['state', ({ state }) => state],
  ['coordination', ({ coordination }) => coordination],
  ['log', ({ log }) => log],
];

/** What is opened at the start stays as it is. @returns why another configuration cannot be taken over at run time, if it cannot */
export function checkReloadable(now: Config, next: Config): string | undefined {
  const changed = fixed.filter(([, part]) => !isSame(part(now), part(next))).map(([name]) => name);
  return changed.length === 0 ? undefined : `${changed.join(', ')}: to be changed by a restart only`;
}
