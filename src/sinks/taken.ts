import type { ProjectionChange } from '#istio/projection.js';
import { type EncodedResource, resourceId } from '#istio/resource.js';
import type { ResourceFilter } from './contract.js';

/** The hosts of which a sink shows at least one resource, with those resources. */
export class TakenHosts {
  readonly #takes: ResourceFilter;
  readonly #resources = new Map<string, Map<string, EncodedResource>>();

  constructor(takes: ResourceFilter) {
    this.#takes = takes;
  }

  /** Takes a change in. @returns the hosts that it is about, as far as they are or were shown */
  apply({ set, removed }: Pick<ProjectionChange, 'set' | 'removed'>): Set<string> {
    const touched = new Set<string>();
    // What is shown no more counts like what is gone.
    for (const resource of removed) if (this.#delete(resource)) touched.add(resource.host);
    for (const resource of set) {
      const { host } = resource;
      if (this.#takes(resource)) {
        const resources = this.#resources.get(host) ?? new Map<string, EncodedResource>();
        this.#resources.set(host, resources.set(resourceId(resource), resource));
        touched.add(host);
      } else if (this.#delete(resource)) touched.add(host);
    }
    return touched;
  }

  hosts(): Iterable<string> {
    return this.#resources.keys();
  }

  /** A host's resources by their ids; undefined if none is shown. */
  of(host: string): ReadonlyMap<string, EncodedResource> | undefined {
    return this.#resources.get(host);
  }

  #delete(resource: EncodedResource): boolean {
    const resources = this.#resources.get(resource.host);
    if (resources?.delete(resourceId(resource)) !== true) return false;
    if (resources.size === 0) this.#resources.delete(resource.host);
    return true;
  }
}
