import type { EnvoyBootstrap } from '#test/servers/envoy.js';

/**
 * A bootstrap for a stock Envoy that has clusters and endpoints from istiod alone, and a listener on loopback that takes the host to call from the
 * header `x-host`.
 * @param istiod its plaintext gRPC address
 */
export function gatewayTo(istiod: string, port: number, hosts: readonly (readonly [string, number])[]): EnvoyBootstrap {
  const [address, istiodPort] = istiod.split(':');
  const grpc = { envoy_grpc: { cluster_name: 'istiod' } };
  const ads = { ads: {}, resource_api_version: 'V3' };
  const socket = (host: string | undefined, number: number) => ({
    socket_address: { address: host, port_value: number },
  });
  const manager = {
    '@type': 'type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager',
    stat_prefix: 'in',
    http_filters: [
      {
        name: 'router',
        typed_config: { '@type': 'type.googleapis.com/envoy.extensions.filters.http.router.v3.Router' },
      },
    ],
    route_config: {
      validate_clusters: false,
      virtual_hosts: [
        {
          name: 'all',
          domains: ['*'],
          routes: hosts.map(([host, number]) => ({
            match: { prefix: '/', headers: [{ name: 'x-host', string_match: { exact: host } }] },
            route: { cluster: `outbound|${number}||${host}` },
          })),
        },
      ],
    },
  };
  return {
    node: {
      id: 'sidecar~127.0.0.8~caller.default~default.svc.cluster.local',
      cluster: 'caller.default',
      metadata: { NAMESPACE: 'default', CLUSTER_ID: 'local', ISTIO_VERSION: '1.31.0' },
    },
    dynamic_resources: {
      ads_config: { api_type: 'DELTA_GRPC', transport_api_version: 'V3', grpc_services: [grpc] },
      cds_config: ads,
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
            endpoints: [{ lb_endpoints: [{ endpoint: { address: socket(address, Number(istiodPort)) } }] }],
          },
        },
      ],
      listeners: [
        {
          name: 'in',
          address: socket('127.0.0.1', port),
          filter_chains: [{ filters: [{ name: 'http', typed_config: manager }] }],
        },
      ],
    },
  };
}
