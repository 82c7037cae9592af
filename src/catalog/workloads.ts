import type { Instance } from '#model/service.js';
import type { Workload } from '#model/workload.js';

const none: readonly never[] = [];

/** What runs at which address, and which services have instances there: so a pod's change touches these services alone. */
export class Workloads {
  /** By the id under which its registry says it. */
  readonly #byId = new Map<string, readonly Workload[]>();
  readonly #byAddress = new Map<string, readonly Workload[]>();
  /** Address → ids of services that have endpoints there. */
  readonly #services = new Map<string, Set<string>>();

  at(address: string): readonly Workload[] {
    return this.#byAddress.get(address) ?? none;
  }

  /** Whether this is no service, but what describes workloads. */
  has(id: string): boolean {
    return this.#byId.has(id);
  }

  /** The ids of the services that have endpoints at an address. */
  servicesAt(address: string): readonly string[] {
    return [...(this.#services.get(address) ?? none)];
  }

  /** Takes over what a registry says under an id; nothing, when it is gone. @returns the addresses at which something is another now */
  set(id: string, workloads: readonly Workload[]): string[] {
    const before = this.#byId.get(id) ?? none;
    if (workloads.length === 0 && before.length === 0) return [];
    const addresses = [...new Set([...before, ...workloads].map(({ address }) => address))].filter(
      (address) => text(before, address) !== text(workloads, address),
    );
    for (const address of addresses) {
      const others = this.at(address).filter((one) => !before.includes(one));
      put(this.#byAddress, address, [...others, ...workloads.filter((one) => one.address === address)]);
    }
    // What stays as it is stays the same object, by which it is found.
    const kept = before.filter(({ address }) => !addresses.includes(address));
    put(this.#byId, id, [...kept, ...workloads.filter(({ address }) => addresses.includes(address))]);
    return addresses;
  }

  /** Takes over where a service has endpoints. */
  move(id: string, before: readonly Instance[], after: readonly Instance[]): void {
    if (before === after) return;
    const left = new Set(before.map(({ address }) => address));
    for (const { address } of after) {
      left.delete(address);
      const ids = this.#services.get(address);
      if (ids === undefined) this.#services.set(address, new Set([id]));
      else ids.add(id);
    }
    for (const address of left) {
      const ids = this.#services.get(address);
      ids?.delete(id);
      if (ids?.size === 0) this.#services.delete(address);
    }
  }
}

function text(workloads: readonly Workload[], wanted: string): string {
  return JSON.stringify(workloads.filter(({ address }) => address === wanted));
}

function put<Value>(map: Map<string, readonly Value[]>, key: string, values: readonly Value[]): void {
  if (values.length === 0) map.delete(key);
  else map.set(key, values);
}
