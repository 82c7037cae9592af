import type { EurekaApplication, EurekaLease } from './decode.js';

/** Leases by id. Not changed once they are complete. */
export type Application = ReadonlyMap<string, EurekaLease>;

/** Every lease of a registry, by application. Not changed once it is complete. */
export type Leases = ReadonlyMap<string, Application>;

/** Leases while the parts of a full answer come in. */
export class LeaseCollector {
  readonly #leases = new Map<string, Map<string, EurekaLease>>();

  add(applications: readonly EurekaApplication[]): void {
    for (const { name, leases } of applications) {
      const application = this.#leases.get(name) ?? new Map<string, EurekaLease>();
      this.#leases.set(name, application);
      for (const lease of leases) application.set(lease.id, lease);
    }
  }

  get leases(): Leases {
    return this.#leases;
  }
}

/** The leases after a delta. Applications that it does not touch stay the same objects. */
export function applyDelta(leases: Leases, delta: readonly EurekaApplication[]): Leases {
  if (delta.length === 0) return leases;
  const next = new Map(leases);
  for (const { name, leases: changed } of delta) {
    const application = new Map(next.get(name));
    for (const lease of changed) {
      if (lease.deleted) application.delete(lease.id);
      else application.set(lease.id, lease);
    }
    if (application.size > 0) next.set(name, application);
    else next.delete(name);
  }
  return next;
}

/** The count by status that a server sends as `apps__hashcode`: `DOWN_1_UP_4_`, sorted by status. */
export function hashCode(leases: Leases): string {
  const counts = new Map<string, number>();
  for (const application of leases.values())
    for (const { status } of application.values()) counts.set(status, (counts.get(status) ?? 0) + 1);
  return [...counts]
    .sort(([a], [b]) => (a < b ? -1 : 1))
    .map(([status, count]) => `${status}_${count}_`)
    .join('');
}

/** `next`, and what only `previous` has. `next` itself if that is nothing. */
export function keepMissing(next: Leases, previous: Leases): Leases {
  return keepOf(next, previous, () => true);
}

/** `next`, and of what only `previous` has the leases that are wanted. `next` itself if that is nothing. */
export function keepOf(
  next: Leases,
  previous: Leases,
  isWanted: (application: string, lease: EurekaLease) => boolean,
): Leases {
  const kept = new Map(next);
  let isSame = true;
  for (const [name, before] of previous) {
    const now = next.get(name);
    const missing = [...before].filter(([id, lease]) => now?.has(id) !== true && isWanted(name, lease));
    if (missing.length === 0) continue;
    kept.set(name, new Map([...(now ?? []), ...missing]));
    isSame = false;
  }
  return isSame ? next : kept;
}
