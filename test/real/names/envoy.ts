import { writeFileSync } from 'node:fs';
import { get } from 'node:http';
import { join } from 'node:path';
import { installed } from '#test/servers/cache.js';
import type { Namespace } from '#test/servers/namespace.js';
import { Server, serverFolder } from '#test/servers/process.js';

/** A stock Envoy in a namespace, as a sidecar: listeners, routes, clusters and endpoints are istiod's, which it reaches by a Unix socket. */
export class SidecarEnvoy extends Server {
  readonly #admin: string;

  constructor(namespace: Namespace, istiodSocket: string) {
    const folder = serverFolder('sidecar');
    const admin = join(folder, 'admin.sock');
    writeFileSync(join(folder, 'bootstrap.json'), JSON.stringify(bootstrap(istiodSocket, admin)));
    // A process in other mounts begins at their root.
    const args = ['-c', join(folder, 'bootstrap.json'), '--concurrency', '1', '--disable-hot-restart', '-l', 'warning'];
    const [command, ...rest] = namespace.within(join(installed('envoy'), 'envoy'), ...args);
    super({
      name: 'Envoy',
      command,
      args: rest,
      folder,
      ready: async () => (await adminText(admin, '/ready')).startsWith('LIVE'),
    });
    this.#admin = admin;
  }

  /** The text of an admin page. */
  admin(path: string): Promise<string> {
    return adminText(this.#admin, path);
  }
}

function adminText(socketPath: string, path: string): Promise<string> {
  return new Promise((resolve, reject) => {
    get({ socketPath, path }, (response) => {
      let text = '';
      response.setEncoding('utf8').on('data', (chunk) => {
        text += chunk;
      });
      response.on('end', () => resolve(text));
    }).on('error', reject);
  });
}

function bootstrap(istiodSocket: string, admin: string): object {
  const ads = { ads: {}, resource_api_version: 'V3' };
  return {
    admin: { address: { pipe: { path: admin } } },
    node: {
      id: 'sidecar~127.0.0.10~client.default~default.svc.cluster.local',
      cluster: 'client.default',
      metadata: { NAMESPACE: 'default', CLUSTER_ID: 'local', ISTIO_VERSION: '1.31.0', DNS_CAPTURE: 'true' },
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
            endpoints: [{ lb_endpoints: [{ endpoint: { address: { pipe: { path: istiodSocket } } } }] }],
          },
        },
      ],
    },
  };
}
