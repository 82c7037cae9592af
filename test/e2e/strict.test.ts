import { writeFileSync } from 'node:fs';
import { createServer, type Server as HttpServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import { expect } from 'chai';
import { stringify } from 'yaml';
import type { Explanations } from '#admin/explain.js';
import { type Envoy, startEnvoy } from '#test/servers/envoy.js';
import { type Istiod, startIstiod } from '#test/servers/istiod.js';
import { type KubeApi, startKubeApi } from '#test/servers/kubeapi.js';
import { KubeWriter } from '#test/servers/kubewriter.js';
import { type Pontoon, startPontoon } from '#test/servers/pontoon.js';
import { freePort } from '#test/servers/ports.js';
import { until } from '#test/servers/probes.js';
import { serverFolder } from '#test/servers/process.js';
import { requireServers } from '#test/servers/require.js';
import { gatewayTo } from './gateway.js';
import { MeshAuthority, SecretServer, type Workload } from './secrets.js';
import { entriesOf } from './world.js';

const host = 'orders.mesh';
const identity = 'spiffe://cluster.local/ns/shop/sa/orders';
/** Where each kind of instance is. */
const addresses = { plain: '127.0.0.1', strict: '127.0.0.2', permissive: '127.0.0.3' };
const calls = 60;

describe('a service in the middle of its migration, of plain instances and of pods that demand mutual TLS', function () {
  this.timeout(120_000);
  const stops: (() => unknown)[] = [];
  let api: KubeApi;
  let writer: KubeWriter;
  let pontoon: Pontoon;
  let istiod: Istiod;
  let caller: Envoy;
  let callerPort: number;
  let services: string;
  let kubernetes: object;
  const ports: Record<keyof typeof addresses, number> = { plain: 0, strict: 0, permissive: 0 };

  before(async function () {
    await requireServers(this, 'istiod', 'envoy', 'etcd', 'kube-apiserver', 'istio-crds');
    const folder = serverFolder('strict');
    const authority = new MeshAuthority(folder);
    const server = authority.workload('orders', identity);
    const plain = await plainServer();
    stops.push(() => plain.close());
    ports.plain = (plain.address() as AddressInfo).port;
    ports.strict = await freePort();
    ports.permissive = await freePort();
    const sidecars = await startEnvoy(sidecarsOf(server, ports.strict, ports.permissive));
    stops.push(() => sidecars.stop());

    api = await startKubeApi();
    stops.push(() => api.stop());
    writer = new KubeWriter(api.kubeconfig());
    stops.push(() => writer.close());
    await writer.namespace('shop');
    const injected = { 'security.istio.io/tlsMode': 'istio' };
    for (const kind of ['strict', 'permissive'] as const)
      await writer.pod('shop', `orders-${kind}`, addresses[kind], {
        metadata: { labels: { ...injected, kind } },
        spec: { serviceAccountName: 'orders' },
      });
    await api.installIstio('PeerAuthentication');
    await writer.apply('PeerAuthentication', 'shop', 'strict', {
      spec: { selector: { matchLabels: { kind: 'strict' } }, mtls: { mode: 'STRICT' } },
    });

    services = join(folder, 'services.yaml');
    const instances = Object.entries(addresses).map(([kind, address]) => ({
      address,
      port: ports[kind as keyof typeof ports],
      metadata: { kind },
    }));
    writeFileSync(services, stringify({ services: [{ name: host, instances }] }));
    kubernetes = { name: 'k8s', type: 'kubernetes', kubeconfig: api.kubeconfig() };
    pontoon = await startPontoon({ registries: [{ name: 'old', type: 'file', path: services }, kubernetes] });
    stops.push(() => pontoon.stop());
    istiod = await startIstiod({ configSources: [pontoon.configSource], meshConfig: { enableAutoMtls: true } });
    stops.push(() => istiod.stop());

    const secrets = await SecretServer.start(
      authority.workload('caller', 'spiffe://cluster.local/ns/default/sa/caller'),
    );
    stops.push(() => secrets.stop());
    callerPort = await freePort();
    caller = await startEnvoy(withSecrets(gatewayTo(istiod.xdsAddress, callerPort, [[host, 80]]), secrets.port));
    stops.push(() => caller.stop());
  });

  after(async () => {
    for (const stop of stops.reverse()) await stop();
  });

  /** Calls many times. @returns how often each kind answered, and how many calls failed */
  const call = async (): Promise<Record<string, number>> => {
    const counts: Record<string, number> = {};
    for (let count = 0; count < calls; count++) {
      const answer = await fetch(`http://127.0.0.1:${callerPort}/`, { headers: { 'x-host': host } });
      const text = (await answer.text()).trim();
      const kind = answer.ok ? text : 'failed';
      counts[kind] = (counts[kind] ?? 0) + 1;
    }
    return counts;
  };

  it('answers every call, whichever kind of instance it goes to', async () => {
    await until(
      'all three kinds answer',
      async () =>
        Object.keys(await call())
          .sort()
          .join() === 'permissive,plain,strict',
    );
    const counts = await call();
    console.log(`      ${JSON.stringify(counts)}`);
    expect(counts).to.have.all.keys('plain', 'strict', 'permissive');
  });

  it('knows which pod callers outside the mesh cannot call, which is the one that refuses plaintext', async () => {
    const { endpoints } = await pontoon.service(host);
    for (const [kind, address] of Object.entries(addresses)) {
      const port = ports[kind as keyof typeof ports];
      const answer = await fetch(`http://${address}:${port}/`).then(
        ({ ok }) => ok,
        () => false,
      );
      const endpoint = endpoints.find((one) => one.address === address);
      expect(endpoint?.strict, kind).to.deep.equal(answer ? undefined : [port]);
      expect(answer, kind).to.equal(kind !== 'strict');
    }
  });

  it('has the callers check the identity of the pod, which is of another namespace than the entry', async () => {
    const entry = (await entriesOf(istiod)).get(host);
    const spec = entry?.spec as { subjectAltNames?: string[]; endpoints?: { serviceAccount?: string }[] } | undefined;
    expect(spec?.subjectAltNames).to.deep.equal([identity]);
    expect(spec?.endpoints?.map(({ serviceAccount }) => serviceAccount ?? '')).to.deep.equal(['', '', '']);
    expect(await caller.admin('/config_dump')).to.include(`"exact": "${identity}"`);
  });

  it('says in explain which pod an instance is, and what it takes from it', async () => {
    const { found } = (await pontoon.get(`/api/v1/explain?q=${addresses.strict}`)) as Explanations;
    const steps = found.flatMap(({ instances }) => instances.flatMap((one) => one.steps));
    expect(steps.find(({ step }) => step === 'pod')?.result).to.equal(
      `pod shop/orders-strict of k8s: security.istio.io/tlsMode istio, ${identity}, mutual TLS only at ports: all`,
    );
  });

  it('fails at the strict pod alone, when the pods are not known', async () => {
    await pontoon.reload({ registries: [{ name: 'old', type: 'file', path: services }] });
    await until('calls fail', async () => (await call()).failed !== undefined);
    const counts = await call();
    console.log(`      ${JSON.stringify(counts)}`);
    expect(counts).to.have.all.keys('plain', 'permissive', 'failed');
  });

  it('answers every call again, as soon as they are', async () => {
    await pontoon.reload({ registries: [{ name: 'old', type: 'file', path: services }, kubernetes] });
    await until('nothing fails', async () => (await call()).failed === undefined);
    expect(await call()).to.have.all.keys('plain', 'strict', 'permissive');
  });

  it('has calls fail where the certificate says another identity than the pod’s', async () => {
    const elsewhere = { ...kubernetes, trustDomain: 'elsewhere.example' };
    await pontoon.reload({ registries: [{ name: 'old', type: 'file', path: services }, elsewhere] });
    await until('calls fail', async () => (await call()).failed !== undefined);
    expect(await call()).to.have.all.keys('plain', 'failed');
    await pontoon.reload({ registries: [{ name: 'old', type: 'file', path: services }, kubernetes] });
    await until('nothing fails', async () => (await call()).failed === undefined);
  });

  it('follows a pod that is labelled otherwise', async () => {
    const labelled = (labels: object) =>
      writer.apply('Pod', 'shop', 'orders-strict', { metadata: { labels }, spec: podSpec });
    const joined = async () => (await pontoon.service(host)).endpoints.filter((one) => one.identity !== undefined);
    expect(await joined()).to.have.length(2);
    await labelled({});
    await until('the pod takes no mutual TLS', async () => (await joined()).length === 1);
    await labelled({ 'security.istio.io/tlsMode': 'istio' });
    await until('it does again', async () => (await joined()).length === 2);
  });
});

const podSpec = { serviceAccountName: 'orders', containers: [{ name: 'app', image: 'app' }] };

function plainServer(): Promise<HttpServer> {
  return new Promise((resolve) => {
    const server = createServer((_, response) => response.end('plain'));
    server.listen(0, addresses.plain, () => resolve(server));
  });
}

/** The server sides of two pods: one takes mutual TLS only, the other plaintext too. */
function sidecarsOf({ cert, key, ca }: Workload, strict: number, permissive: number) {
  const tls = {
    name: 'tls',
    typed_config: {
      '@type': 'type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext',
      require_client_certificate: true,
      common_tls_context: {
        tls_certificates: [{ certificate_chain: { filename: cert }, private_key: { filename: key } }],
        validation_context: { trusted_ca: { filename: ca } },
      },
    },
  };
  const filters = (text: string) => [
    {
      name: 'http',
      typed_config: {
        '@type':
          'type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager',
        stat_prefix: text,
        http_filters: [
          {
            name: 'router',
            typed_config: { '@type': 'type.googleapis.com/envoy.extensions.filters.http.router.v3.Router' },
          },
        ],
        route_config: {
          virtual_hosts: [
            {
              name: 'all',
              domains: ['*'],
              routes: [{ match: { prefix: '/' }, direct_response: { status: 200, body: { inline_string: text } } }],
            },
          ],
        },
      },
    },
  ];
  const socket = (address: string, port: number) => ({ socket_address: { address, port_value: port } });
  return {
    static_resources: {
      listeners: [
        {
          name: 'strict',
          address: socket(addresses.strict, strict),
          filter_chains: [{ filters: filters('strict'), transport_socket: tls }],
        },
        {
          name: 'permissive',
          address: socket(addresses.permissive, permissive),
          listener_filters: [
            {
              name: 'inspector',
              typed_config: {
                '@type': 'type.googleapis.com/envoy.extensions.filters.listener.tls_inspector.v3.TlsInspector',
              },
            },
          ],
          filter_chains: [
            {
              filter_chain_match: { transport_protocol: 'tls' },
              filters: filters('permissive'),
              transport_socket: tls,
            },
            { filter_chain_match: { transport_protocol: 'raw_buffer' }, filters: filters('permissive') },
          ],
        },
      ],
    },
  };
}

/** The bootstrap with what istio-agent is for a sidecar: the cluster that istiod's clusters ask for certificates. */
function withSecrets(bootstrap: ReturnType<typeof gatewayTo>, port: number) {
  const { static_resources, ...rest } = bootstrap as {
    static_resources: { clusters: { name: string }[]; listeners: object[] };
  };
  const [pattern] = static_resources.clusters;
  const endpoint = { address: { socket_address: { address: '127.0.0.1', port_value: port } } };
  const agent = {
    ...pattern,
    name: 'sds-grpc',
    load_assignment: { cluster_name: 'sds-grpc', endpoints: [{ lb_endpoints: [{ endpoint }] }] },
  };
  return { ...rest, static_resources: { ...static_resources, clusters: [...static_resources.clusters, agent] } };
}
