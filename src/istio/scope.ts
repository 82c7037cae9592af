import type { MeshService } from '#model/mesh.js';

/** What conditions on mesh services can name: `mesh` in the configuration's expressions. */
export interface MeshScope {
  readonly host: string;
  /** The host's first label. */
  readonly name: string;
  /** The Istio namespace. */
  readonly namespace: string;
  /** Names of the registries that hold it; of one that is gone, those that held it last. */
  readonly registries: readonly string[];
  readonly location: MeshService['location'];
}

/** @param before of the same service: one that is gone stays where it was seen until it is deleted */
export function meshScope(service: MeshService, before: MeshScope | undefined): MeshScope {
  const { host, namespace, origins, location } = service;
  const registries =
    origins.length === 0 && before !== undefined
      ? before.registries
      : [...new Set(origins.map(({ registry }) => registry))];
  return { host, name: host.split('.', 1)[0] ?? '', namespace, registries, location };
}
