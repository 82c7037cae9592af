import { type MeshService, registriesOf } from '#model/mesh.js';

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

export function meshScope(service: MeshService): MeshScope {
  const { host, namespace, location } = service;
  return { host, name: host.split('.', 1)[0] ?? '', namespace, registries: registriesOf(service), location };
}
