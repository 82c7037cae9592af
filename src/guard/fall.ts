import { type Instance, instancePlace, type RegistryService } from '#model/service.js';
import { isFailing } from '#policy/health.js';
import type { Held } from './hold.js';

/** What a change makes of one service. */
export interface GuardedChange {
  readonly id: string;
  /** As the registry says it now; undefined if it is gone. */
  readonly said: RegistryService | undefined;
  /** As it was in the mesh until now; undefined if it was not there. */
  readonly known: RegistryService | undefined;
  /** Instances that got traffic by what the registry said before, and by what it says now. */
  readonly before: readonly Instance[];
  readonly after: readonly Instance[];
}

/** What of a change is a fall. */
export interface Fall {
  /** Instances that disappeared, or that failed their health check. */
  readonly lost: readonly Held[];
  /** How many the registry, or the configuration, takes out in so many words. */
  readonly excused: number;
}

const none: Fall = { lost: [], excused: 0 };

export function fallOf({ id, said, known, before, after }: GuardedChange): Fall {
  if (known === undefined || before.length === 0 || before === after) return none;
  const usable = new Set(after.map(instancePlace));
  const missing = before.filter((instance) => !usable.has(instancePlace(instance)));
  if (missing.length === 0) return none;
  const statuses = statusesOf(said);
  const lost: Held[] = [];
  for (const instance of missing) {
    const place = instancePlace(instance);
    const status = statuses.get(place);
    if (status === undefined || isFailing(status))
      lost.push({ service: id, place, instance, from: known, why: status ?? 'gone', hold: undefined, until: 0 });
  }
  return { lost, excused: missing.length - lost.length };
}

/** Place → what the registry says of the instance there. */
export function statusesOf(said: RegistryService | undefined): ReadonlyMap<string, string> {
  return new Map(said?.instances.map((instance) => [instancePlace(instance), instance.status]));
}
