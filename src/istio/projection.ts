import { isDeepStrictEqual } from 'node:util';
import { EventEmitter } from 'eventemitter3';
import type { Catalog, CatalogChange } from '#catalog/catalog.js';
import type { MeshService } from '#model/mesh.js';
import type { Rejection } from '#model/service.js';
import { type Cause, cause as causeNow } from '#sources/contract.js';
import { type Exposures, gatewayResources, noExposures } from './gateway.js';
import { type EncodedResource, encodeResource, type IstioResource, resourceId } from './resource.js';
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
  readonly #exposures: Exposures;

  /** @param exposures which services can be called through this network's gateways; none, unless given */
  constructor(catalog: Catalog, exposures: Exposures = noExposures) {
    super();
    this.#catalog = catalog;
    this.#exposures = exposures;
    catalog.on('change', (change) => this.#apply(change));
    exposures.on('change', (hosts) => this.#apply({ hosts, registry: '', cause: causeNow('gateway ports') }));
  }

  /** The resources of a host, unencoded; those of all hosts in the order of their names, if none is given. */
  resources(host?: string): IstioResource[] {
    const hosts = host === undefined ? [...this.#projected.keys()].sort() : [host];
    return hosts.flatMap((name) => {
      const service = this.#catalog.services.get(name);
      return service === undefined ? [] : this.#checked(service).resources;
    });
  }

  /** Those of them that are ServiceEntries. */
  entries(host?: string): IstioResource<'ServiceEntry'>[] {
    return this.resources(host).filter((resource) => resource.type === 'ServiceEntry');
  }

  /** The resources of a host as they are sent; those of all hosts, if none is given. */
  encoded(host?: string): readonly EncodedResource[] {
    return host === undefined ? [...this.#projected.values()].flat() : (this.#projected.get(host) ?? []);
  }

  /** What Istio or Envoy would refuse, by host. */
  rejected(): ReadonlyMap<string, readonly Rejection[]> {
    return this.#rejected;
  }

  #apply({ hosts, registry, cause }: Pick<CatalogChange, 'hosts' | 'registry' | 'cause'>): void {
    const set: EncodedResource[] = [];
    const removed: EncodedResource[] = [];
    for (const host of hosts) {
      const before = new Map(this.#projected.get(host)?.map((resource) => [resourceId(resource), resource]));
      const [known] = before.values();
      for (const resource of this.#project(host, known?.mesh)) {
        const last = before.get(resourceId(resource));
        if (last?.version !== resource.version || last.mesh !== resource.mesh) set.push(resource);
        before.delete(resourceId(resource));
      }
      removed.push(...before.values());
    }
    if (set.length + removed.length > 0) this.emit('change', { set, removed, registry, cause });
  }

  #project(host: string, before: MeshScope | undefined): readonly EncodedResource[] {
    this.#projected.delete(host);
    this.#rejected.delete(host);
    const service = this.#catalog.services.get(host);
    const { resources, rejected } = service === undefined ? nothing : this.#checked(service);
    if (service === undefined || resources.length + rejected.length === 0) return [];
    const scope = meshScope(service);
    const mesh = before !== undefined && isDeepStrictEqual(scope, before) ? before : scope;
    const encoded = resources.map((resource) => encodeResource(resource, mesh));
    this.#projected.set(host, encoded);
    if (rejected.length > 0) this.#rejected.set(host, rejected);
    return encoded;
  }

  #checked(service: MeshService): Checked {
    // The mesh's own services come from Kubernetes, not from us.
    const entries = service.native ? [] : serviceEntries(service).map(checkServiceEntry);
    const { resources, rejected } = gatewayResources(service, this.#exposures.of(service.host));
    return {
      resources: [...entries.flatMap(({ resource }) => resource ?? []), ...resources],
      rejected: [...entries.flatMap(({ rejected }) => rejected), ...rejected],
    };
  }
}

interface Checked {
  readonly resources: readonly IstioResource[];
  readonly rejected: readonly Rejection[];
}

const nothing: Checked = { resources: [], rejected: [] };
