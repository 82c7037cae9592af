import { isDeepStrictEqual } from 'node:util';
import { compareText } from '#model/mesh.js';
import type { Instance, RegistryService, Rejection, ServiceKey } from '#model/service.js';
import type { EurekaApplication, EurekaLease } from './decode.js';

/** Every lease of a registry: by application, then by id. Not changed once it is complete. */
export type Leases = ReadonlyMap<string, ReadonlyMap<string, EurekaLease>>;

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
  const kept = new Map(next);
  for (const [name, before] of previous) {
    const now = next.get(name);
    const missing = [...before].filter(([id]) => now?.has(id) !== true);
    if (missing.length > 0) kept.set(name, new Map([...(now ?? []), ...missing]));
  }
  return [...kept].every(([name, application]) => next.get(name) === application) ? next : kept;
}

/** Whether an application has the same content: when it was last written does not matter, except for which of two leases of one endpoint is newer. */
export function sameApplication(a: ReadonlyMap<string, EurekaLease>, b: ReadonlyMap<string, EurekaLease>): boolean {
  if (a === b) return true;
  if (a.size !== b.size) return false;
  const left = instancesOf(a);
  const right = instancesOf(b);
  return (
    left.length === right.length &&
    left.every((instance, index) =>
      isDeepStrictEqual({ ...instance, changedAt: 0 }, { ...right[index], changedAt: 0 }),
    ) &&
    isDeepStrictEqual(rejectionsOf(a), rejectionsOf(b))
  );
}

/** The instances by endpoint, of one endpoint the older first: so their order says which is newer. */
function instancesOf(application: ReadonlyMap<string, EurekaLease>): Instance[] {
  return [...application.values()]
    .map(({ content }) => content)
    .filter((content) => typeof content !== 'string')
    .map((instance) => ({
      instance,
      endpoint: [instance.address, ...instance.ports.map(({ number }) => number)].join(' '),
    }))
    .sort(
      (a, b) =>
        compareText(a.endpoint, b.endpoint) ||
        a.instance.changedAt - b.instance.changedAt ||
        compareText(a.instance.id, b.instance.id),
    )
    .map(({ instance }) => instance);
}

function rejectionsOf(application: ReadonlyMap<string, EurekaLease>): Rejection[] {
  return [...application.values()]
    .flatMap(({ id, content }) => (typeof content === 'string' ? [{ record: id, reason: content }] : []))
    .sort((a, b) => compareText(a.record, b.record));
}

export function serviceKey(registry: string, name: string): ServiceKey {
  return { registry, namespace: '', group: '', name, version: '' };
}

export function toService(
  registry: string,
  name: string,
  application: ReadonlyMap<string, EurekaLease>,
): RegistryService {
  return {
    key: serviceKey(registry, name),
    kind: 'eureka',
    ports: [],
    metadata: {},
    instances: instancesOf(application),
    rejected: rejectionsOf(application),
    consumers: [],
  };
}
