import { isDeepStrictEqual } from 'node:util';
import { compareText } from '#model/mesh.js';
import type { Instance, Metadata, Note, RegistryService, Rejection, ServiceKey } from '#model/service.js';
import type { EurekaLease, LeaseNames } from './decode.js';
import type { Application } from './leases.js';

export function serviceKey(registry: string, name: string): ServiceKey {
  return { registry, namespace: '', group: '', name, version: '' };
}

/** Leases as the service that they make. */
export function toService(registry: string, name: string, leases: Application): RegistryService {
  const { metadata, notes } = namesOf(leases);
  return {
    key: serviceKey(registry, name),
    kind: 'eureka',
    ports: [],
    metadata,
    instances: instancesOf(leases),
    rejected: rejectionsOf(leases),
    notes: [...notes.map((text) => ({ record: name, text })), ...leaseNotesOf(leases)],
    consumers: [],
  };
}

/**
 * Whether leases make the same service: when one was last written does not matter, except for which of two leases of one endpoint is newer, and
 * where an instance was gone in between.
 */
export function sameService(a: Application, b: Application): boolean {
  if (a === b) return true;
  if (a.size !== b.size) return false;
  for (const [id, lease] of b) if (isBackAgain(a.get(id), lease)) return false;
  const left = instancesOf(a);
  const right = instancesOf(b);
  return (
    left.length === right.length &&
    left.every((instance, index) =>
      isDeepStrictEqual({ ...instance, changedAt: 0 }, { ...right[index], changedAt: 0 }),
    ) &&
    isDeepStrictEqual(rejectionsOf(a), rejectionsOf(b)) &&
    isDeepStrictEqual(leaseNotesOf(a), leaseNotesOf(b)) &&
    isDeepStrictEqual(namesOf(a), namesOf(b))
  );
}

/** Whether an instance was deregistered, and has registered anew. One time alone says less: see {@link EurekaLease}. */
function isBackAgain(before: EurekaLease | undefined, now: EurekaLease): boolean {
  const isOther = (a = 0, b = 0) => a > 0 && b > 0 && a !== b;
  return isOther(before?.upSince, now.upSince) && isOther(before?.saidAt, now.saidAt);
}

/** The instances by endpoint, of one endpoint the older first: so their order says which is newer. */
function instancesOf(leases: Application): Instance[] {
  return [...leases.values()]
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

function rejectionsOf(leases: Application): Rejection[] {
  return [...leases.values()]
    .flatMap(({ id, content }) => (typeof content === 'string' ? [{ record: id, reason: content }] : []))
    .sort((a, b) => compareText(a.record, b.record));
}

function leaseNotesOf(leases: Application): Note[] {
  return [...leases.values()]
    .flatMap(({ id, notes }) => notes.map((text) => ({ record: id, text })))
    .sort((a, b) => compareText(a.record, b.record) || compareText(a.text, b.text));
}

/** What each instance says of its names, as the service's metadata: of several words the one that sorts first, and a note that there are several. */
function namesOf(leases: Application): { readonly metadata: Metadata; readonly notes: readonly string[] } {
  const metadata: Record<string, string> = {};
  const notes: string[] = [];
  const keys: readonly (keyof LeaseNames)[] = ['vipAddress', 'secureVipAddress', 'appGroupName'];
  for (const key of keys) {
    const said = new Set<string>();
    for (const { names } of leases.values()) if (names[key] !== '') said.add(names[key]);
    const [first, ...others] = [...said].sort(compareText);
    if (first === undefined) continue;
    metadata[key] = first;
    if (others.length > 0)
      notes.push(`its instances say different ${key}: ${[first, ...others].join(' and ')}; templates get the first`);
  }
  return { metadata, notes };
}
