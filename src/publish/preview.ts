import { compareText } from '#model/mesh.js';
import type { ServiceKey } from '#model/service.js';
import { changeText } from './change.js';
import { type CompareContext, Comparison } from './compare.js';
import type { TargetKind } from './contract.js';

/** What would be written about one service of a registry. */
export interface WritePlan {
  readonly publication: string;
  /** Of the mesh service. */
  readonly host: string;
  readonly service: ServiceKey;
  /** For people: registered, changed and withdrawn instances. */
  readonly text: string;
}

/** What would be written into a registry, once all registries have been read. Changes nothing. */
export function preview(
  registry: string,
  kind: TargetKind,
  context: Omit<CompareContext, 'isListed' | 'isComplete'>,
): readonly WritePlan[] {
  const comparison = new Comparison(registry, kind, { ...context, isListed: () => true, isComplete: () => true });
  const prefix = `${encodeURIComponent(registry)}/`;
  const wanted = [...context.claims.ids()].filter((id) => id.startsWith(prefix));
  const plans: WritePlan[] = [];
  for (const id of new Set([...wanted, ...comparison.ours().keys()].sort(compareText))) {
    const verdict = comparison.verdict(id, undefined);
    if (verdict.what !== 'write') continue;
    const { service, before, parties } = verdict;
    const [publication = '', host = ''] = [parties.publications[0], parties.hosts[0]];
    plans.push({ publication, host, service: service.key, text: changeText(before, service.instances) });
  }
  return plans;
}
