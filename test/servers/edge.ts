import type { Envoy, EnvoyBootstrap } from '#test/servers/envoy.js';
import { startEnvoy } from '#test/servers/envoy.js';

/** What makes a stock Envoy an edge gateway of a mesh. */
export interface EdgeOptions {
  /** istiod's plaintext gRPC address. */
  readonly istiod: string;
  /** Labels of its pod, by which Gateways choose it. */
  readonly labels: Readonly<Record<string, string>>;
  /** Address of its pod: one that no endpoint has, or istiod takes that endpoint's labels for its own. */
  readonly address?: string;
  /** Namespace of its pod. */
  readonly namespace?: string;
}

/** Starts an Envoy that has all it does from istiod: listeners, routes, clusters and endpoints. */
export function startEdge(options: EdgeOptions): Promise<Envoy> {
  return startEnvoy(bootstrap(options));
}

function bootstrap({ istiod, labels, address = '127.0.0.77', namespace = 'edge' }: EdgeOptions): EnvoyBootstrap {
  const [host, port] = istiod.split(':');
  const ads = { ads: {}, resource_api_version: 'V3' };
  return {
    node: {
      id: `router~${address}~edge-1.${namespace}~${namespace}.svc.cluster.local`,
      cluster: `edge.${namespace}`,
      metadata: { NAMESPACE: namespace, CLUSTER_ID: 'local', ISTIO_VERSION: '1.31.0', LABELS: labels },
    },
    dynamic_resources: {
      ads_config: {
        api_type: 'DELTA_GRPC',
        transport_api_version: 'V3',
        grpc_services: [{ envoy_grpc: { cluster_name: 'istiod' } }],
      },
      cds_config: ads,
      lds_config: ads,
    },
    static_resources: {
      clusters: [
        {
          name: 'istiod',
          type: 'STATIC',
          connect_timeout: '1s',
          typed_extension_protocol_options: {
            'envoy.extensions.upstreams.http.v3.HttpProtocolOptions': {
              '@type': 'type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions',
              explicit_http_config: { http2_protocol_options: {} },
            },
          },
          load_assignment: {
            cluster_name: 'istiod',
            endpoints: [
              {
                lb_endpoints: [
                  { endpoint: { address: { socket_address: { address: host, port_value: Number(port) } } } },
                ],
              },
            ],
          },
        },
      ],
    },
  };
}
