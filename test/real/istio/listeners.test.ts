import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect } from 'chai';
import { pino } from 'pino';
import { stringify } from 'yaml';
import { Catalog } from '#catalog/catalog.js';
import { VipAllocator } from '#catalog/vip.js';
import { Projection } from '#istio/projection.js';
import { RegistryPolicy } from '#policy/contribution.js';
import { XdsListener, type XdsListenerOptions } from '#sinks/xds/server.js';
import { cause } from '#sources/contract.js';
import { Sidecar } from '#test/e2e/sidecar.js';
import { makeCertificate, makeCertificates } from '#test/servers/certificates.js';
import { type Envoy, startEnvoy } from '#test/servers/envoy.js';
import { type Istiod, startIstiod } from '#test/servers/istiod.js';
import { freePort } from '#test/servers/ports.js';
import { until } from '#test/servers/probes.js';
import { requireServers } from '#test/servers/require.js';
import { instance, plainKinds, service } from '#test/unit/builders.js';

const log = pino({ level: 'silent' });
const identity = 'spiffe://cluster.local/ns/istio-system/sa/istiod';

/** A projection of one registry, and what changes it. */
function bridge() {
  const catalog = new Catalog({ namespace: 'pontoon', exportTo: ['*'], grace: 0 }, new VipAllocator([]));
  const view = catalog.add(new RegistryPolicy({ name: 'r', type: 'test', kinds: plainKinds }));
  const other = catalog.add(new RegistryPolicy({ name: 'other', type: 'test', kinds: plainKinds }));
  return { projection: new Projection(catalog), view, other };
}

describe('listeners and a real istiod', function () {
  this.timeout(120_000);
  const folder = mkdtempSync(join(tmpdir(), 'pontoon-istiod-'));
  const running: { stop(): Promise<unknown> }[] = [];
  const listeners: XdsListener[] = [];

  before(async function () {
    await requireServers(this, 'istiod', 'envoy');
  });
  afterEach(async () => {
    await Promise.all(running.splice(0).map((server) => server.stop()));
    await Promise.all(listeners.splice(0).map((listener) => listener.close()));
  });
  after(() => rmSync(folder, { recursive: true }));

  async function listen(projection: Projection, more: Partial<XdsListenerOptions>): Promise<XdsListener> {
    const listener = new XdsListener(projection, { host: '127.0.0.1', port: 0, log, ...more });
    listeners.push(listener);
    await listener.open();
    listener.ready();
    return listener;
  }

  async function istiodOf(
    ...configSources: Parameters<typeof startIstiod>[0] extends infer Options | undefined
      ? Options extends { configSources?: readonly (infer Source)[] }
        ? Source[]
        : never
      : never
  ): Promise<Istiod> {
    const istiod = await startIstiod({ configSources });
    running.push(istiod);
    return istiod;
  }

  const hosts = async (istiod: Istiod): Promise<string[]> => {
    const all = (await istiod.configz()) as { kind?: string; metadata?: { name: string } }[];
    return all.flatMap(({ kind, metadata }) => (kind === 'ServiceEntry' ? (metadata?.name ?? []) : [])).sort();
  };
  const has = (istiod: Istiod, ...names: string[]) =>
    until(`istiod has ${names.join()}`, async () => (await hosts(istiod)).join() === names.join());

  /** An Envoy beside istiod that shows a client certificate for it. @returns its address */
  async function withCertificate(to: string, certificate: { cert: string; key: string }, ca: string): Promise<string> {
    const port = await freePort();
    const address = (host: string, number: number) => ({ socket_address: { address: host, port_value: number } });
    const [host = '', toPort = ''] = to.split(':');
    const file = (filename: string) => ({ filename });
    const envoy: Envoy = await startEnvoy({
      static_resources: {
        listeners: [
          {
            name: 'pontoon',
            address: address('127.0.0.1', port),
            filter_chains: [
              {
                filters: [
                  {
                    name: 'envoy.filters.network.tcp_proxy',
                    typed_config: {
                      '@type': 'type.googleapis.com/envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy',
                      stat_prefix: 'pontoon',
                      cluster: 'pontoon',
                    },
                  },
                ],
              },
            ],
          },
        ],
        clusters: [
          {
            name: 'pontoon',
            type: 'STATIC',
            load_assignment: {
              cluster_name: 'pontoon',
              endpoints: [{ lb_endpoints: [{ endpoint: { address: address(host, Number(toPort)) } }] }],
            },
            transport_socket: {
              name: 'envoy.transport_sockets.tls',
              typed_config: {
                '@type': 'type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext',
                sni: 'localhost',
                common_tls_context: {
                  alpn_protocols: ['h2'],
                  tls_certificates: [{ certificate_chain: file(certificate.cert), private_key: file(certificate.key) }],
                  validation_context: { trusted_ca: file(ca) },
                },
              },
            },
          },
        ],
      },
    });
    running.push(envoy);
    return `127.0.0.1:${port}`;
  }

  it('SIMPLE: istiod reads over TLS, checks names and authority, and is back after a renewal', async () => {
    const { projection, view } = bridge();
    const { ca, cert, key, otherCa } = makeCertificates(folder);
    const listener = await listen(projection, { tls: { cert, key, allow: [], interval: 50 } });
    view.update([service('orders', [instance('10.0.0.1', 80)])], [], cause('test'));
    const source = (more: object) => ({
      address: `xds://${listener.addresses[0]}`,
      tlsSettings: { mode: 'SIMPLE', sni: 'localhost', caCertificates: readFileSync(ca, 'utf8'), ...more },
    });
    const istiod = await istiodOf(source({ subjectAltNames: ['localhost'] }));
    await has(istiod, 'orders.test');
    for (const wrong of [{ caCertificates: readFileSync(otherCa, 'utf8') }, { subjectAltNames: ['other'] }]) {
      const error = await startIstiod({ configSources: [source(wrong)] }).then(
        async (started) => {
          await started.stop();
          return undefined;
        },
        (reason: unknown) => reason,
      );
      expect(error, JSON.stringify(Object.keys(wrong))).to.not.equal(undefined);
    }

    makeCertificate(folder, 'server', 'IP:127.0.0.1,DNS:localhost');
    await until('the renewal', () => listener.status().certificate?.renewals !== 0);
    view.update([service('pay', [instance('10.0.0.2', 80)])], [], cause('test'));
    await has(istiod, 'orders.test', 'pay.test');
    expect(listener.status().streams).to.equal(1);
    const port = Number(listener.addresses[0]?.split(':')[1]);
    await listener.close();
    await listen(projection, { port, tls: { cert, key, allow: [] } });
    view.update([service('pay', [], {}), service('stock', [instance('10.0.0.3', 80)])], [], cause('test'));
    await until('istiod is back', () => (listeners.at(-1)?.status().streams ?? 0) === 1);
  });

  it('MUTUAL: istiod 1.31 dials in plaintext whatever it is given, and is refused; an Envoy beside it shows its certificate', async () => {
    const { projection, view } = bridge();
    const { ca, cert, key } = makeCertificates(folder);
    const tls = { cert, key, clientCa: ca, allow: [identity] };
    const listener = await listen(projection, { tls });
    view.update([service('orders', [instance('10.0.0.1', 80)])], [], cause('test'));
    const client = makeCertificate(folder, 'istiod', `URI:${identity}`);
    const [address = ''] = listener.addresses;
    const pem = (path: string) => readFileSync(path, 'utf8');
    for (const tlsSettings of [
      { mode: 'MUTUAL', clientCertificate: client.cert, privateKey: client.key, caCertificates: pem(ca) },
      { mode: 'SIMPLE', sni: 'localhost', caCertificates: pem(ca) },
    ]) {
      const refused = startIstiod({ configSources: [{ address: `xds://${address}`, tlsSettings }] });
      const started = await Promise.race([
        refused.then(
          () => 'ready',
          () => 'ended',
        ),
        new Promise((resolve) => setTimeout(() => resolve('waits'), 5_000)),
      ]);
      void refused.then((istiod) => istiod.stop()).catch(() => undefined);
      expect(started, tlsSettings.mode).to.not.equal('ready');
      expect(listener.clients()).to.deep.equal([]);
    }
    expect(listener.status().refused['no certificate']).to.be.greaterThan(0);
    const istiod = await istiodOf(`xds://${await withCertificate(address, client, ca)}`);
    await has(istiod, 'orders.test');
    expect(listener.clients().map((one) => one.identity)).to.deep.equal([identity]);

    const plain = await listen(projection, {});
    view.update([service('pay', [instance('10.0.0.2', 80)])], [], cause('test'));
    const unaware = await istiodOf({ address: `xds://${plain.addresses[0]}`, tlsSettings: { mode: 'MUTUAL' } });
    await has(unaware, 'pay.test');
  });

  it('two listeners with conditions: two istiods have their own sets, and a service that changes sides moves', async () => {
    const { projection, view, other } = bridge();
    const of = (registry: string) =>
      listen(projection, { filter: ({ mesh }) => mesh.registries[0] === registry, shards: registry === 'r' ? 2 : 1 });
    const [first, second] = [await of('r'), await of('other')];
    view.update(
      [service('a', [instance('10.0.0.1', 80)]), service('b', [instance('10.0.0.2', 80)])],
      [],
      cause('test'),
    );
    const right = service('c', [instance('10.0.0.3', 80)], { key: { registry: 'other' } });
    other.update([right], [], cause('test'));
    const one = await istiodOf(...first.addresses.map((address) => `xds://${address}`));
    const two = await istiodOf(`xds://${second.addresses[0]}`);
    await has(one, 'a.test', 'b.test');
    await has(two, 'c.test');
    const moved = service('b', [instance('10.0.0.2', 80)], { key: { registry: 'other' } });
    other.update([moved], [], cause('test'));
    view.update([], [service('b', []).key], cause('test'));
    await has(one, 'a.test');
    await has(two, 'b.test', 'c.test');
  });

  it('a Sidecar that names exact hosts finds one entry of a host that has several, and all with a wildcard host beside', async () => {
    const { projection, view } = bridge();
    const listener = await listen(projection, {});
    const ports = (name: string, number: number) => ({ ports: [{ name, protocol: 'http' as const, number }] });
    const split = service(
      'split',
      [instance('10.0.0.1', 80, ports('one', 8001)), instance('10.0.0.2', 80, ports('two', 8002))],
      {
        ports: [
          { name: 'one', number: 8001, protocol: 'http' },
          { name: 'two', number: 8002, protocol: 'http' },
        ],
      } as never,
    );
    view.update([split], [], cause('test'));
    expect(projection.resources()).to.have.length(2);
    const found: Record<string, number> = {};
    for (const [what, egress] of Object.entries({
      exact: ['pontoon/split.test'],
      'with a wildcard': ['pontoon/split.test', 'pontoon/*.none.invalid'],
    })) {
      const files = mkdtempSync(join(folder, 'sidecar-'));
      const body = { hosts: egress };
      const sidecarResource = {
        ...{ apiVersion: 'networking.istio.io/v1', kind: 'Sidecar' },
        ...{ metadata: { name: 'default', namespace: 'default' }, spec: { egress: [body] } },
      };
      writeFileSync(join(files, 'sidecar.yaml'), stringify(sidecarResource));
      const istiod = await istiodOf(`xds://${listener.addresses[0]}`, `fs://${files}`);
      const sidecar = new Sidecar(istiod.xdsAddress);
      await until('clusters', () => sidecar.size > 0);
      await new Promise((resolve) => setTimeout(resolve, 500));
      found[what] = sidecar.size;
      sidecar.close();
    }
    expect(found).to.deep.equal({ exact: 1, 'with a wildcard': 2 });
  });
});
