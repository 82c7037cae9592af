import { difference, type Placed, type PublishedInstance, placeOf } from './contract.js';
import { markKeys } from './mark.js';

/** What became of a service's instances, for people. */
export function changeText(before: readonly Placed[], instances: readonly PublishedInstance[]): string {
  const { set, gone } = difference(instances, before, { hasWeights: true, ignores: [markKeys.run] });
  const known = new Set(before.map(({ instance }) => placeOf(instance)));
  const parts: [string, readonly { readonly address: string; readonly port: number }[]][] = [
    ['registered', set.filter((one) => !known.has(placeOf(one)))],
    ['changed', set.filter((one) => known.has(placeOf(one)))],
    ['withdrawn', gone.map(({ instance }) => instance)],
  ];
  const texts = parts.flatMap(([what, all]) => (all.length === 0 ? [] : [`${what} ${placesText(all)}`]));
  return texts.join('; ') || 'written again';
}

const mostPlaces = 10;

function placesText(all: readonly { readonly address: string; readonly port: number }[]): string {
  const shown = all.slice(0, mostPlaces).map(({ address, port }) => `${address}:${port}`);
  return `${shown.join(', ')}${all.length > mostPlaces ? ` and ${all.length - mostPlaces} more` : ''}`;
}
