import { expect } from 'chai';
import type { Endpoints, MeshCluster } from '#adapters/istiod/decode.js';
import { decodeCluster, decodeEndpoints, placeOf } from '#adapters/istiod/decode.js';
import { Mesh } from '#adapters/istiod/mesh.js';
import { Catalog } from '#catalog/catalog.js';
import type { RegistryView } from '#catalog/view.js';
import { parseRanges, VipAllocator } from '#catalog/vip.js';
import { parseConfig } from '#config/load.js';
import { Projection } from '#istio/projection.js';
import { Cluster, Cluster_DiscoveryType } from '#proto/xds/cluster.js';
import { ClusterLoadAssignment } from '#proto/xds/endpoint.js';
import { cause } from '#sources/contract.js';
import { catalogSettings, registryPolicies } from '../../src/registries.js';
import { instance, service } from './builders.js';

const nothing: Endpoints = { endpoints: [], rejected: [] };

function cluster(host: string, port: number, more: Partial<MeshCluster> = {}): MeshCluster {
  const name = `outbound|${port}||${host}`;
  const said = { service: host, namespace: 'shop', isHttp2: false, inline: nothing, note: undefined };
  return { name, host, port, ...said, endpointSet: name, ...more };
}

function at(...places: string[]): Endpoints {
  const endpoints = places.map((place) => {
    const [address = '', port] = place.split(':');
    return { address, port: Number(port), status: 'Ready', weight: 1, locality: undefined, metadata: {} };
  });
  return { endpoints, rejected: [] };
}

describe('what istiod tells', () => {
  const open = () => new Mesh({ registry: 'mesh', isWanted: ({ namespace }) => namespace === 'shop' });
  const shown = (mesh: Mesh) =>
    [...mesh.takeChanges()]
      .flatMap(({ changed }) => changed ?? [])
      .map(({ key, instances }) => [
        key.name,
        ...instances.map(({ address, ports }) => `${address}:${ports.map(({ number }) => number).join(',')}`),
      ]);
  const gone = (mesh: Mesh) => [...mesh.takeChanges()].flatMap(({ removed }) => removed?.name ?? []);

  it('is a service as soon as all its endpoints are told, and not before', () => {
    const mesh = open();
    for (const port of [80, 90]) mesh.setCluster(cluster('a', port));
    expect(mesh.takeWatching()?.added).to.deep.equal(['outbound|80||a', 'outbound|90||a']);
    mesh.setEndpoints('outbound|80||a', at('10.0.0.1:8080'));
    expect([shown(mesh), mesh.isComplete]).to.deep.equal([[], false]);
    mesh.setEndpoints('outbound|90||a', at('10.0.0.1:9090'));
    expect([shown(mesh), mesh.isComplete]).to.deep.equal([[['a', '10.0.0.1:8080,9090']], true]);

    mesh.setCluster(cluster('a', 70));
    expect(shown(mesh), 'as it was, until the new port is told').to.deep.equal([]);
    mesh.setEndpoints('outbound|70||a', at());
    expect(shown(mesh)).to.deep.equal([['a', '10.0.0.1:8080,9090']]);
    mesh.takeWatching();
    mesh.setCluster(cluster('a', 70));
    mesh.setEndpoints('outbound|70||a', at());
    expect([shown(mesh), mesh.takeWatching()], 'said again').to.deep.equal([[], undefined]);
  });

  it('pairs ports at an address only where each has one endpoint there', () => {
    const mesh = open();
    for (const port of [80, 90]) mesh.setCluster(cluster('a', port));
    mesh.setEndpoints('outbound|80||a', at('10.0.0.1:8080', '10.0.0.1:8081', '10.0.0.2:8080'));
    mesh.setEndpoints('outbound|90||a', at('10.0.0.1:9090', '10.0.0.2:9090'));
    expect(shown(mesh)).to.deep.equal([['a', '10.0.0.1:8080', '10.0.0.1:8081', '10.0.0.1:9090', '10.0.0.2:8080,9090']]);
  });

  it('goes, and comes again, with its endpoints asked for anew', () => {
    const mesh = open();
    const name = 'outbound|80||a';
    mesh.setCluster(cluster('a', 80));
    mesh.takeWatching();
    mesh.setEndpoints(name, at('10.0.0.1:80'));
    shown(mesh);
    mesh.removeCluster(name);
    expect(mesh.takeWatching()).to.deep.equal({ added: [], removed: [name] });
    expect(gone(mesh)).to.deep.equal(['a']);
    mesh.setEndpoints(name, at('10.0.0.9:80'));
    expect([...mesh.takeChanges()]).to.deep.equal([]);
    mesh.setCluster(cluster('a', 80));
    expect([mesh.takeWatching()?.added, mesh.isComplete]).to.deep.equal([[name], false]);
    // Gone and back within one message: nothing is asked for anew, and what is known of it stays.
    mesh.setEndpoints(name, at('10.0.0.2:80'));
    mesh.removeCluster(name);
    mesh.setCluster(cluster('a', 80));
    expect([mesh.takeWatching(), shown(mesh)]).to.deep.equal([undefined, [['a', '10.0.0.2:80']]]);
    mesh.setCluster(cluster('a', 80, { namespace: 'elsewhere' }));
    expect(gone(mesh)).to.deep.equal(['a']);
  });

  it('is read from outbound clusters without a subset only', () => {
    for (const name of ['inbound|80||', 'BlackHoleCluster', 'PassthroughCluster', 'outbound|80|v1|a.b', 'agent', ''])
      expect(placeOf(name), name).to.equal(undefined);
    expect(placeOf('outbound|80||A.b')).to.deep.equal({ host: 'a.b', port: 80 });
    const bytes = (more: object) =>
      Cluster.encode(Cluster.fromPartial({ name: 'outbound|80||a.shop.svc.x', ...more })).finish();
    const { EDS, ORIGINAL_DST } = Cluster_DiscoveryType;
    expect(decodeCluster(bytes({ type: EDS, edsClusterConfig: { serviceName: 'other' } }))).to.include({
      endpointSet: 'other',
      service: 'a',
      namespace: 'shop',
    });
    expect(decodeCluster(bytes({ type: ORIGINAL_DST }))?.note).to.include('ask as a router');
    expect(() => decodeCluster(Buffer.from([0xff]))).to.throw();
  });

  it('has health, and localities without their empty ends', () => {
    const endpoint = (address: string) => ({ address: { socketAddress: { address, portValue: 80 } } });
    const lbEndpoints = [0, 1, 2, 3, 4, 5].map((healthStatus) => ({ endpoint: endpoint('10.0.0.1'), healthStatus }));
    const locality = { region: 'cn', zone: 'sh', subZone: '' };
    const bytes = ClusterLoadAssignment.encode(
      ClusterLoadAssignment.fromPartial({ clusterName: 'c', endpoints: [{ locality, lbEndpoints }] }),
    ).finish();
    const { endpoints } = decodeEndpoints(bytes);
    const words = ['Ready', 'Ready', 'NotReady', 'Serving', 'NotReady', 'Ready'];
    expect(endpoints.map(({ status }) => status)).to.deep.equal(words);
    expect(new Set(endpoints.map(({ locality }) => locality))).to.deep.equal(new Set(['cn/sh']));
  });
});

describe('services of ours that come back from istiod', () => {
  const text = `registries:
  - { name: mesh, type: istiod, servers: ["127.0.0.1:15010"] }
  - { name: ours, type: file, path: x }
istio: { grace: 0s }`;

  function open() {
    const config = parseConfig(text, 'p.yaml');
    const catalog = new Catalog(catalogSettings(config), new VipAllocator(parseRanges(['241.0.0.0/8'])));
    const projection = new Projection(catalog);
    const [mesh, ours] = catalog.configure(catalogSettings(config), registryPolicies(config)) as [
      RegistryView,
      RegistryView,
    ];
    const echo = (namespace: string) =>
      service('orders.file', [instance('10.0.0.1', 80)], {
        kind: 'istiod',
        metadata: { host: 'orders.file' },
        key: { registry: 'mesh', namespace },
      });
    const own = service('orders.file', [instance('10.0.0.1', 80)], { kind: 'file', key: { registry: 'ours' } });
    const say = (view: RegistryView, one: typeof own) => view.update([one], [], cause('test'));
    return { config, catalog, projection, mesh, ours, echo, own, say };
  }
  const origins = (catalog: Catalog) =>
    catalog.services.get('orders.file')?.origins.map(({ registry }) => registry) ?? [];

  it('give way to the registry that has them, whoever is told first, and have an address then', () => {
    for (const isEchoFirst of [true, false]) {
      const { catalog, projection, mesh, ours, echo, own, say } = open();
      if (isEchoFirst) say(mesh, echo('shop'));
      say(ours, own);
      say(mesh, echo('shop'));
      expect(origins(catalog)).to.deep.equal(['ours']);
      expect(catalog.services.get('orders.file')).to.include({ native: false });
      expect(catalog.services.get('orders.file')?.vips).to.have.length(1);
      expect(projection.entries().length, 'sent to Istio').to.equal(1);
    }
  });

  it('are left out where the namespace is the one that Pontoon writes into', () => {
    const { catalog, mesh, echo, say } = open();
    say(mesh, echo('pontoon'));
    expect(catalog.services.size).to.equal(0);
    expect(catalog.dropped().map(({ reason }) => reason)[0]).to.include('istio.namespace');
    say(mesh, echo('shop'));
    expect(catalog.services.get('orders.file')).to.include({ native: true, namespace: 'shop' });
  });

  it('are not waited for before Istio is answered, and may be all that there is', () => {
    const { config } = open();
    expect(config.registries.map(({ required }) => required)).to.deep.equal([false, true]);
    const alone = text.split('\n').filter((line) => !line.includes('ours'));
    expect(() => parseConfig(alone.join('\n'), 'p.yaml')).to.not.throw();
    const optional = text.replace('path: x', 'path: x, required: false');
    expect(() => parseConfig(optional, 'p.yaml')).to.throw('at least one registry has to be required');
  });
});
