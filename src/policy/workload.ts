import { compareText } from '#model/mesh.js';
import type { Workload } from '#model/workload.js';

/** The workloads at an address, of all registries. */
export type WorkloadsAt = (address: string) => readonly Workload[];

/** The workload that an instance is; or why it is none of those at its address. */
export type Joined = { readonly workload: Workload } | { readonly reason: string } | undefined;

/**
 * Chooses the workload that an instance is. Clusters may use the same addresses: so an instance of a registry with workloads of its own is one of these,
 * any other one is of the network that its registry or a policy says; one of which nobody says a network is the workload that is alone at the address.
 * @param own whether its registry has workloads itself
 * @param network as the registry or a policy says it, not as its address lets guess
 */
export function joinedWorkload(
  candidates: readonly Workload[],
  registry: string,
  own: boolean,
  network: string | undefined,
): Joined {
  const known = own ? candidates.filter((one) => one.registry === registry) : candidates;
  if (known.length === 0) return undefined;
  const agreeing = known.filter((one) => one.network === undefined || network === undefined || one.network === network);
  const exact = network === undefined ? [] : agreeing.filter((one) => one.network === network);
  const fitting = newestOfEach(exact.length > 0 ? exact : agreeing);
  const [workload, other] = fitting;
  if (workload === undefined) {
    const found = known.map((one) => `${nameOf(one)} is in network ${one.network}`).join(', ');
    return { reason: `none: it is in network ${network}, and ${found}` };
  }
  if (other === undefined) return { workload };
  return {
    reason: `none: ${fitting.map(nameOf).join(' and ')} have this address; say the network of the instances, and of the pods`,
  };
}

/** `pod shop/orders-0 of k8s`, for people. */
export function nameOf({ name, registry }: Workload): string {
  return `pod ${name} of ${registry}`;
}

/** An address that was used again belongs to the newer workload, while the old one is still listed. */
function newestOfEach(workloads: readonly Workload[]): Workload[] {
  const newest = new Map<string, Workload>();
  for (const one of [...workloads].sort((a, b) => b.since - a.since || compareText(a.name, b.name)))
    if (!newest.has(one.registry)) newest.set(one.registry, one);
  return [...newest.values()].sort((a, b) => compareText(a.registry, b.registry));
}
