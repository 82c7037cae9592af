import { expect } from 'chai';
import { kubernetes } from '#adapters/kubernetes/index.js';
import { Catalog } from '#catalog/catalog.js';
import type { RegistryView } from '#catalog/view.js';
import { parseRanges, VipAllocator } from '#catalog/vip.js';
import { parseConfig } from '#config/load.js';
import { Projection } from '#istio/projection.js';
import { istioYaml } from '#istio/yaml.js';
import type { Instance, RegistryService } from '#model/service.js';
import type { Step } from '#policy/trace.js';
import { decodeSnapshot, encodeSnapshot } from '#snapshot/format.js';
import { cause } from '#sources/contract.js';
import { random } from '#test/random.js';
import { catalogSettings, registryPolicies } from '../../src/registries.js';
import { instance, service } from './builders.js';

const two = `registries:
  - { name: old, type: file, path: x }
  - { name: c1, type: kubernetes }
  - { name: c2, type: kubernetes, network: two }`;

function open(text = two, known?: ConstructorParameters<typeof Catalog>[2]) {
  const config = parseConfig(`${text}\nistio: { grace: 0s }`, 'p.yaml');
  const vips = new VipAllocator(parseRanges(['241.0.0.0/8']));
  const catalog = new Catalog(catalogSettings(config), vips, known);
  const projection = new Projection(catalog);
  const views = catalog.configure(catalogSettings(config), registryPolicies(config));
  const [old, c1, c2] = views as [RegistryView, RegistryView, RegistryView];
  return { catalog, projection, views, old, c1, c2, config };
}

/** What the adapter says of a pod. */
function pod(name: string, address: string, more: Partial<Instance> = {}, account = 'orders'): RegistryService {
  const metadata = { identity: `spiffe://cluster.local/ns/shop/sa/${account}`, transport: 'istio' };
  const one = { ...instance(address, 1, { id: `shop/${name}`, metadata, status: 'Ready' }), ports: [] };
  return service(name, [{ ...one, ...more }], {
    kind: 'pod',
    key: { registry: 'c1', namespace: 'shop', group: 'pod' },
  });
}

function orders(...instances: Instance[]): RegistryService {
  return service('orders.mesh', instances, { kind: 'file', key: { registry: 'old' } });
}

function say(view: RegistryView, ...services: RegistryService[]): void {
  view.update(
    services.map((one) => ({ ...one, key: { ...one.key, registry: view.registry } })),
    [],
    cause('test'),
  );
}

describe('pods among the instances', () => {
  it('an instance takes identity, locality and network of the pod at its address, whoever is told first', () => {
    for (const isPodFirst of [true, false]) {
      const { catalog, projection, old, c1 } = open();
      const registered = () => say(old, orders(instance('10.0.0.1', 80), instance('10.0.0.9', 80)));
      if (!isPodFirst) registered();
      say(c1, pod('orders-0', '10.0.0.1', { locality: 'cn/sh', network: 'one' }));
      if (isPodFirst) registered();
      const [joined, plain] = catalog.services.get('orders.mesh')?.endpoints ?? [];
      expect(joined).to.include({ identity: 'spiffe://cluster.local/ns/shop/sa/orders', network: 'one' });
      expect(joined?.labels).to.deep.equal({ 'security.istio.io/tlsMode': 'istio' });
      expect(plain?.identity).to.equal(undefined);
      expect(plain?.labels).to.deep.equal({});
      const [entry] = projection.entries('orders.mesh');
      expect(entry?.body.subjectAltNames).to.deep.equal(['spiffe://cluster.local/ns/shop/sa/orders']);
      expect(istioYaml(projection.resources())).to.include('- spiffe://cluster.local/ns/shop/sa/orders\n');
      catalog.close();
    }
  });

  it('recomputes the services that have the address, and no others', () => {
    const { catalog, old, c1 } = open();
    say(old, orders(instance('10.0.0.1', 80)));
    say(old, service('other.mesh', [instance('10.0.0.2', 80)], { kind: 'file' }));
    const changed: string[] = [];
    catalog.on('change', ({ hosts }) => changed.push([...hosts].join()));
    say(c1, pod('orders-0', '10.0.0.1'));
    say(c1, pod('nobody', '10.0.0.7'));
    say(c1, pod('orders-0', '10.0.0.1'));
    say(c1, pod('orders-0', '10.0.0.1', {}, 'other'));
    c1.update([], [pod('orders-0', '10.0.0.1').key], cause('test'));
    expect(changed).to.deep.equal(['orders.mesh', 'orders.mesh', 'orders.mesh']);
    expect(catalog.services.get('orders.mesh')?.endpoints[0]?.identity).to.equal(undefined);
    catalog.close();
  });

  it('tells the pods of two clusters with one address apart by the network', () => {
    const { catalog, old, c1, c2 } = open();
    say(c1, pod('orders-0', '10.0.0.1', { network: 'one' }));
    say(c2, pod('stock-0', '10.0.0.1', {}, 'stock'));
    const identityOf = (network?: string) => {
      say(old, orders(instance('10.0.0.1', 80, { network })));
      return catalog.services.get('orders.mesh')?.endpoints[0]?.identity?.split('/').at(-1);
    };
    expect(identityOf('one')).to.equal('orders');
    expect(identityOf('two')).to.equal('stock');
    expect(identityOf('three')).to.equal(undefined);
    expect(identityOf()).to.equal(undefined);
    const steps: Step[] = [];
    catalog.trace('old///orders.mesh/', { service: () => undefined, instance: (_, step) => steps.push(step) });
    expect(steps.find(({ step }) => step === 'pod')?.result).to.match(
      /pod shop\/orders-0 of c1 and pod shop\/stock-0 of c2/,
    );
    catalog.close();
  });

  it('takes the newer of two pods at one address, and a cluster’s own pods for its services', () => {
    const { catalog, old, c1, c2 } = open();
    say(c1, pod('a', '10.0.0.1', { changedAt: 2 }, 'newer'), pod('b', '10.0.0.1', { changedAt: 1 }, 'older'));
    say(old, orders(instance('10.0.0.1', 80)));
    expect(catalog.services.get('orders.mesh')?.identities).to.deep.equal(['spiffe://cluster.local/ns/shop/sa/newer']);
    say(c2, pod('c', '10.0.0.1', { changedAt: 3 }, 'foreign'));
    const own = { kind: 'kubernetes', metadata: { clusterDomain: 'cluster.local' }, key: { namespace: 'shop' } };
    say(c1, service('orders', [instance('10.0.0.1', 80)], own));
    expect(catalog.services.get('orders.shop.svc.cluster.local')?.identities).to.deep.equal([
      'spiffe://cluster.local/ns/shop/sa/newer',
    ]);
    catalog.close();
  });

  it('keeps Kubernetes services under their own host, without an address and without sending them', () => {
    const { catalog, projection, c1 } = open();
    const of = (name: string) =>
      service(name, [instance('10.0.0.1', 80)], {
        kind: 'kubernetes',
        metadata: { clusterDomain: 'cluster.local' },
        key: { namespace: 'shop' },
      });
    say(c1, of('orders'));
    const native = catalog.services.get('orders.shop.svc.cluster.local');
    expect(native).to.include({ native: true });
    expect(native?.vips).to.deep.equal([]);
    expect(projection.resources()).to.deep.equal([]);
    catalog.close();
  });

  it('merges a Kubernetes service to which a policy gives another host', () => {
    const policy = `policies: [{ when: service.name == "orders" && service.namespace == "shop", host: orders.mesh }]`;
    const { catalog, projection, old, c1 } = open(`${two}\n${policy}`);
    say(old, orders(instance('10.0.0.1', 80), instance('10.0.0.2', 80)));
    const metadata = { clusterDomain: 'cluster.local' };
    const own = { kind: 'kubernetes', metadata, key: { namespace: 'shop' } };
    say(c1, pod('orders-0', '10.0.0.1'), service('orders', [instance('10.0.0.1', 80)], own));
    const merged = catalog.services.get('orders.mesh');
    expect(merged?.endpoints.map(({ address, origins }) => `${address} ${origins.length}`)).to.deep.equal([
      '10.0.0.1 2',
      '10.0.0.2 1',
    ]);
    expect(merged?.vips).to.have.length(1);
    expect(projection.resources()).to.have.length(1);
    catalog.close();
  });

  it('leaves ambient pods to HBONE', () => {
    const { catalog, old, c1 } = open();
    say(old, orders(instance('10.0.0.1', 80)));
    say(c1, pod('orders-0', '10.0.0.1', { metadata: { transport: 'hbone', identity: 'spiffe://x/ns/a/sa/b' } }));
    const [endpoint] = catalog.services.get('orders.mesh')?.endpoints ?? [];
    expect(endpoint?.labels).to.deep.equal({ 'networking.istio.io/tunnel': 'http' });
    expect(endpoint?.identity).to.equal(undefined);
    catalog.close();
  });

  it('gives endpoints their identity at once after a restart', async () => {
    const before = open();
    say(before.old, orders(instance('10.0.0.1', 80)));
    say(before.c1, pod('orders-0', '10.0.0.1'));
    for (const view of before.views) {
      const listing = view.listing();
      listing.add([...view.said.values()]);
      listing.commit(cause('test'));
    }
    const { registries, empty } = before.catalog.known();
    const known = { savedAt: Date.now(), registries: registries.map((one) => ({ ...one, source: '' })), empty };
    const after = open(two, decodeSnapshot(await encodeSnapshot(known), 'test').known);
    expect(after.projection.resources()).to.deep.equal(before.projection.resources());
    expect(after.catalog.services.get('orders.mesh')?.identities).to.have.length(1);
    before.catalog.close();
    after.catalog.close();
  });

  it('costs others nothing: of 10,000 pods one changes', () => {
    const { catalog, old, c1 } = open();
    const at = (index: number) => `10.${index >> 16}.${(index >> 8) & 255}.${index & 255}`;
    const pods = Array.from({ length: 10_000 }, (_, index) => pod(`p${index}`, at(index + 256)));
    const services = Array.from({ length: 1_000 }, (_, index) =>
      service(
        `s${index}.mesh`,
        Array.from({ length: 10 }, (_, number) => instance(at(256 + index * 10 + number), 80)),
        { kind: 'file' },
      ),
    );
    say(old, ...services);
    const listing = c1.listing();
    listing.add(pods);
    listing.commit(cause('test'));
    const changed: number[] = [];
    catalog.on('change', ({ hosts }) => changed.push(hosts.size));
    for (let index = 0; index < 100; index++) say(c1, pod(`p${index * 10}`, at(index * 10 + 256), {}, 'other'));
    expect(changed).to.deep.equal(Array.from({ length: 100 }, () => 1));
    catalog.close();
  }).timeout(20_000);

  for (let seed = 1; seed <= 10; seed++)
    it(`come out the same in whatever order things are said (seed ${seed})`, () => {
      const below = random(seed);
      const running = open();
      const address = () => `10.0.0.${below(6) + 1}`;
      for (let step = 0; step < 200; step++) {
        const view = [running.old, running.c1, running.c2][below(3)] as RegistryView;
        const network = [undefined, 'one', 'two'][below(3)];
        const other = service(`s${below(4)}`, [instance(address(), 80, { network }), instance(address(), 81)], {
          kind: view === running.old ? 'file' : 'kubernetes',
          metadata: { clusterDomain: 'cluster.local' },
        });
        const one =
          below(2) === 0 ? other : pod(`p${below(5)}`, address(), { network, changedAt: below(3) }, `a${below(3)}`);
        if (below(4) > 0) say(view, one.kind === 'pod' && view === running.old ? other : one);
        else view.update([], [{ ...one.key, registry: view.registry }], cause('test'));
        if (below(40) === 0)
          running.catalog.configure(catalogSettings(running.config), registryPolicies(running.config));
      }
      const fresh = open();
      const views = fresh.views.map((view, index) => [view, running.views[index]] as const);
      for (const [view, from] of below(2) === 0 ? views : views.reverse())
        say(view, ...(from?.services.values() ?? []));
      const held = ({ catalog }: typeof fresh) =>
        [...catalog.services.values()]
          .filter(({ endpoints }) => endpoints.length > 0)
          .sort((a, b) => (a.host < b.host ? -1 : 1));
      expect(held(running)).to.deep.equal(held(fresh));
      running.catalog.close();
      fresh.catalog.close();
    });

  it('are not held, where the services of their registry are', () => {
    const { catalog, c1, old } = open(
      two.replace('name: c1, type: kubernetes', 'name: c1, type: kubernetes, guarded: true'),
    );
    const own = {
      kind: 'kubernetes',
      metadata: { clusterDomain: 'cluster.local' },
      key: { registry: 'c1', namespace: 'shop' },
    };
    const addresses = Array.from({ length: 50 }, (_, index) => `10.0.0.${index + 1}`);
    const listing = c1.listing();
    listing.add(addresses.map((address, index) => pod(`p${index}`, address)));
    const instances = addresses.map((address) => instance(address, 80, { status: 'Ready' }));
    listing.add([service('orders', instances, own)]);
    listing.commit(cause('test'));
    say(old, orders(instance('10.0.0.1', 80)));
    expect(catalog.services.get('orders.mesh')?.identities).to.have.length(1);
    c1.listing().commit(cause('test'));
    expect(catalog.guard('c1')?.held).to.be.greaterThan(0);
    expect(catalog.isWorkload('c1/shop/pod/p0/')).to.equal(false);
    expect(catalog.services.get('orders.mesh')?.identities).to.deep.equal([]);
    catalog.close();
  });

  it('are guarded by nobody: an address that a pod has left is soon another’s', () => {
    expect(kubernetes.guarded).to.equal(false);
  });
});
