import type { Logger } from 'pino';
import type { Catalog } from '#catalog/catalog.js';
import type { IstioConfig } from '#config/istio.js';
import type { Coordination } from '#coordination/contract.js';
import { Names } from '#dns/names.js';
import type { Projection } from '#istio/projection.js';
import type { EncodedResource, ResourceType } from '#istio/resource.js';
import { FilesSink } from '#sinks/files/sink.js';
import { KubernetesSink } from '#sinks/kubernetes/sink.js';
import { view } from '#sinks/view.js';
import { XdsListener } from '#sinks/xds/server.js';

/** What the doors look at. */
export interface DoorsContext {
  readonly catalog: Catalog;
  readonly projection: Projection;
  readonly coordination: Coordination;
  /** `state.owner`. */
  readonly owner: string;
  /** Whether every registry has been read since the start. */
  readonly isComplete: () => boolean;
  /** Whether all is known of a type of resources. */
  readonly mayShow: (type: ResourceType) => boolean;
  readonly log: Logger;
}

/** The ways into Istio, as configured. */
export interface Doors {
  readonly listeners: readonly XdsListener[];
  readonly kubernetes: KubernetesSink | undefined;
  readonly files: FilesSink | undefined;
  /** Hosts and addresses for DNS servers. */
  readonly names: Names;
}

/**
 * Makes the doors; none of them shows anything yet. What has its object in the cluster is on no listener, unless the configuration says so: an istiod that got
 * both would have it twice. Until then, and if the cluster takes none, it is on the listeners: nothing is nowhere.
 * @throws Error if a certificate cannot be used
 */
export function makeDoors(istio: IstioConfig, context: DoorsContext): Doors {
  const { catalog, projection, coordination, owner, isComplete, mayShow, log } = context;
  const names = new Names(projection, catalog, { ...istio.dns, takes: () => true });
  const isInCluster = istio.kubernetes === undefined ? () => false : view(istio.kubernetes.when);
  // Gateways and VirtualServices do not become objects.
  const objects = (resource: EncodedResource): boolean => resource.type === 'ServiceEntry' && isInCluster(resource);
  const kubernetes =
    istio.kubernetes &&
    new KubernetesSink(projection, {
      config: istio.kubernetes,
      owner,
      serve: istio.serve,
      takes: objects,
      covered: (host) => {
        const resources = projection.encoded(host);
        for (const listener of listeners) listener.filtered(resources);
      },
      coordination,
      isComplete,
      log,
    });
  const isElsewhere = (resource: EncodedResource): boolean =>
    istio.kubernetes?.keepOnXds === false && objects(resource) && kubernetes?.covers(resource) === true;
  const listeners = istio.xds.map(({ listen, shards, tls, maxStreams, when }) => {
    const isSeen = view(when);
    return new XdsListener(projection, {
      ...listen,
      shards,
      tls,
      limits: { maxStreams },
      filter: (resource) => isSeen(resource) && !isElsewhere(resource),
      mayShow,
      log,
    });
  });
  return {
    listeners,
    names,
    kubernetes,
    files:
      istio.files &&
      new FilesSink(projection, {
        directory: istio.files.directory,
        takes: view(istio.files.when),
        isComplete,
        names,
        log,
      }),
  };
}
