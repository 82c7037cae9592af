import type { ProjectionChange } from '#istio/projection.js';
import type { ResourceFilter } from './contract.js';

/** The hosts of which a sink shows at least one resource, with the names of those resources. */
export class TakenHosts {
  readonly #takes: ResourceFilter;
  readonly #names = new Map<string, Set<string>>();

  constructor(takes: ResourceFilter) {
    this.#takes = takes;
  }

  /** Takes a change in. @returns the hosts that it is about, as far as they are or were shown */
  apply({ set, removed }: Pick<ProjectionChange, 'set' | 'removed'>): Set<string> {
    const touched = new Set<string>();
    // What is shown no more counts like what is gone.
    for (const resource of removed) if (this.#delete(resource.host, resource.name)) touched.add(resource.host);
    for (const resource of set) {
      const { host, name } = resource;
      if (this.#takes(resource)) {
        const names = this.#names.get(host) ?? new Set();
        this.#names.set(host, names.add(name));
        touched.add(host);
      } else if (this.#delete(host, name)) touched.add(host);
    }
    return touched;
  }

  hosts(): Iterable<string> {
    return this.#names.keys();
  }

  /** The names (`namespace/name`) of a host's resources; undefined if none is shown. */
  names(host: string): ReadonlySet<string> | undefined {
    return this.#names.get(host);
  }

  #delete(host: string, name: string): boolean {
    const names = this.#names.get(host);
    if (names?.delete(name) !== true) return false;
    if (names.size === 0) this.#names.delete(host);
    return true;
  }
}
