import type { Contribution } from './contribution.js';

/**
 * The registries whose endpoints count, in the order of the configuration. With `first`, one after the other is taken in until there are enough endpoints: so the
 * next one helps out while the first has too few.
 */
export function preferred(contributions: readonly Contribution[]): readonly Contribution[] {
  const preference = contributions.find(({ prefer }) => prefer !== undefined)?.prefer ?? 'merge';
  if (preference === 'merge') return contributions;
  const counted: Contribution[] = [];
  let count = 0;
  for (const registry of new Set(contributions.map(({ key }) => key.registry))) {
    if (count >= preference.first.least) break;
    const own = contributions.filter(({ key }) => key.registry === registry);
    counted.push(...own);
    for (const { endpoints } of own) count += endpoints.filter(({ draining }) => !draining).length;
  }
  return counted;
}
