import type { Node } from '#proto/xds/discovery.js';
import type { IstiodConfig } from './schema.js';

/** The release that this was tried with. istiod may leave out what older proxies do not know. */
const istioVersion = '1.31.0';

/**
 * As whom istiod is asked. A router rather than a sidecar: no Sidecar resource narrows what it sees, and it is told the endpoints of headless services, which a
 * sidecar takes from the connections that it intercepts.
 */
export function nodeOf({ id, namespace, domain, cluster, network, metadata }: IstiodConfig['node']): Node {
  return {
    id: id ?? `router~127.0.0.1~pontoon.${namespace}~${namespace}.svc.${domain}`,
    cluster: `pontoon.${namespace}`,
    metadata: {
      NAMESPACE: namespace,
      CLUSTER_ID: cluster ?? 'Kubernetes',
      ISTIO_VERSION: istioVersion,
      ...(network === undefined ? {} : { NETWORK: network }),
      ...metadata,
    },
    userAgentName: 'pontoon',
  };
}
