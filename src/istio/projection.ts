import { isDeepStrictEqual } from 'node:util';
import { EventEmitter } from 'eventemitter3';
import type { Catalog, CatalogChange } from '#catalog/catalog.js';
import type { MeshService } from '#model/mesh.js';
import type { Rejection } from '#model/service.js';
import type { Cause } from '#sources/contract.js';
import { type EncodedResource, encodeResource, type IstioResource } from './resource.js';
import { type MeshScope, meshScope } from './scope.js';
import { serviceEntries } from './serviceentry.js';
import { checkServiceEntry } from './validate.js';

/** Resources that differ from what was projected before, or whose service does so for conditions. Never empty. */
export interface ProjectionChange {
  readonly set: readonly EncodedResource[];
  readonly removed: readonly EncodedResource[];
  readonly registry: string;
  readonly cause: Cause;
}

/**
 * The mesh services as Istio resources, encoded. Each is projected when it changes, and what comes out with the bytes that it had is no change.
 */
export class Projection extends EventEmitter<{ change: [ProjectionChange] }> {
  readonly #catalog: Catalog;
  readonly #projected = new Map<string, readonly EncodedResource[]>();
  readonly #rejected = new Map<string, readonly Rejection[]>();

  constructor(catalog: Catalog) {
    super();
    this.#catalog = catalog;
    catalog.on('change', (change) => this.#apply(change));
  }

  /** The resources of a host, unencoded; those of all hosts in the order of their names, if none is given. */
  resources(host?: string): IstioResource[] {
    const hosts = host === undefined ? [...this.#projected.keys()].sort() : [host];
    return hosts.flatMap((name) => {
      const service = this.#catalog.services.get(name);
      return service === undefined || service.native ? [] : checkedEntries(service).resources;
    });
  }

  /** The resources of a host as they are sent; those of all hosts, if none is given. */
  encoded(host?: string): readonly EncodedResource[] {
    return host === undefined ? [...this.#projected.values()].flat() : (this.#projected.get(host) ?? []);
  }

  /** What Istio or Envoy would refuse, by host. */
  rejected(): ReadonlyMap<string, readonly Rejection[]> {
    return this.#rejected;
  }

  #apply({ hosts, registry, cause }: CatalogChange): void {
    const set: EncodedResource[] = [];
    const removed: EncodedResource[] = [];
    for (const host of hosts) {
      const before = new Map(this.#projected.get(host)?.map((resource) => [resource.name, resource]));
      const [known] = before.values();
      for (const resource of this.#project(host, known?.mesh)) {
        const last = before.get(resource.name);
        if (last?.version !== resource.version || last.mesh !== resource.mesh) set.push(resource);
        before.delete(resource.name);
      }
      removed.push(...before.values());
    }
    if (set.length + removed.length > 0) this.emit('change', { set, removed, registry, cause });
  }

  #project(host: string, before: MeshScope | undefined): readonly EncodedResource[] {
    this.#projected.delete(host);
    this.#rejected.delete(host);
    const service = this.#catalog.services.get(host);
    // The mesh's own services come from Kubernetes, not from us.
    if (service === undefined || service.native) return [];
    const { resources, rejected } = checkedEntries(service);
    const scope = meshScope(service);
    const mesh = before !== undefined && isDeepStrictEqual(scope, before) ? before : scope;
    const encoded = resources.map((resource) => encodeResource(resource, mesh));
    this.#projected.set(host, encoded);
    if (rejected.length > 0) this.#rejected.set(host, rejected);
    return encoded;
  }
}

function checkedEntries(service: MeshService): { resources: IstioResource[]; rejected: Rejection[] } {
  const checked = serviceEntries(service).map(checkServiceEntry);
  return {
    resources: checked.flatMap(({ resource }) => resource ?? []),
    rejected: checked.flatMap(({ rejected }) => rejected),
  };
}
