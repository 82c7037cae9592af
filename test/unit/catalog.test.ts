import { mock } from 'node:test';
import { expect } from 'chai';
import { Catalog } from '#catalog/catalog.js';
import type { RegistryView } from '#catalog/view.js';
import { defaultRanges, parseRanges, VipAllocator } from '#catalog/vip.js';
import { Projection, type ProjectionChange } from '#istio/projection.js';
import { istioYaml } from '#istio/yaml.js';
import type { RegistryService } from '#model/service.js';
import { RegistryPolicy, type RegistrySettings } from '#policy/contribution.js';
import { cause } from '#sources/contract.js';
import { instance, plainKinds, service } from './builders.js';

function catalogOf(...registries: (Partial<RegistrySettings> & { name: string })[]) {
  const settings = { namespace: 'pontoon', exportTo: ['*'], grace: 10 };
  const catalog = new Catalog(settings, new VipAllocator(parseRanges(defaultRanges)));
  const projection = new Projection(catalog);
  const changes: ProjectionChange[] = [];
  projection.on('change', (change) => changes.push(change));
  const views = registries.map((registry) =>
    catalog.add(new RegistryPolicy({ type: 'test', kinds: plainKinds, ...registry })),
  );
  return { catalog, projection, changes, views: views as [RegistryView, ...RegistryView[]] };
}

function list(view: RegistryView, ...services: RegistryService[]): void {
  const listing = view.listing();
  listing.add(services);
  listing.commit(cause('test'));
}

function addresses(catalog: Catalog, host: string): string[] | undefined {
  return catalog.services.get(host)?.endpoints.map(({ address }) => address);
}

describe('catalog', () => {
  it('makes a mesh service of a registry service', () => {
    const { catalog, views } = catalogOf({ name: 'r' });
    list(views[0], service('Orders_API', [instance('10.0.0.2', 9002), instance('10.0.0.1', 9001)]));
    const orders = catalog.services.get('orders-api.test');
    expect(orders?.namespace).to.equal('pontoon');
    expect(orders?.ports).to.deep.equal([{ name: 'http', number: 80, protocol: 'http' }]);
    expect(orders?.endpoints.map(({ address, ports }) => ({ address, ports }))).to.deep.equal([
      { address: '10.0.0.1', ports: { http: 9001 } },
      { address: '10.0.0.2', ports: { http: 9002 } },
    ]);
    expect(orders?.vips).to.have.length(1);
  });

  it('lets an instance warm up by the clock, in ticks', () => {
    mock.timers.enable({ apis: ['Date', 'setTimeout'], now: 1_000_000_000 });
    try {
      const { catalog, changes, views } = catalogOf({ name: 'r' });
      const warmup = { since: Date.now(), length: 100_000 };
      list(views[0], service('orders', [instance('10.0.0.1', 1, { warmup }), instance('10.0.0.2', 1)]));
      const weights = () => catalog.services.get('orders.test')?.endpoints.map(({ weight }) => weight);
      expect(weights()).to.deep.equal([5, 100]);
      mock.timers.tick(15_000);
      expect(weights()).to.deep.equal([15, 100]);
      for (let passed = 15; passed < 100; passed += 5) mock.timers.tick(5_000);
      expect(weights()).to.deep.equal([100, 100]);
      expect(changes).to.have.length(11);
      mock.timers.tick(60_000);
      expect(changes).to.have.length(11);
      catalog.close();
    } finally {
      mock.timers.reset();
    }
  });

  it('keeps every service of a name that cannot be read, until one of them can', () => {
    const { views } = catalogOf({ name: 'r' });
    const [view] = views;
    const versions = ['1', '2'].map((version) => service('orders', [instance('10.0.0.1', 1)], { key: { version } }));
    list(view, ...versions, service('carts', []));
    const listing = view.listing();
    view.setUnreadable({ registry: 'r', namespace: '', name: 'orders' }, new Error('no'));
    listing.commit(cause('test'));
    expect([...view.said.keys()]).to.deep.equal(['r///orders/1', 'r///orders/2']);
    expect([...view.unreadable.keys()]).to.deep.equal(['r//*/orders/*']);
    view.update(versions.slice(0, 1), [], cause('test'));
    expect([...view.unreadable.keys()]).to.deep.equal([]);
  });

  it('merges the services of two registries with one host, and lets one go without the other', () => {
    const { catalog, views } = catalogOf({ name: 'a' }, { name: 'b' });
    const key = (registry: string) => ({ registry });
    list(views[0], service('orders', [instance('10.0.0.1', 1), instance('10.0.0.3', 3)], { key: key('a') }));
    list(
      views[1] as RegistryView,
      service('orders', [instance('10.0.0.2', 2), instance('10.0.0.3', 3)], { key: key('b') }),
    );
    expect(addresses(catalog, 'orders.test')).to.deep.equal(['10.0.0.1', '10.0.0.2', '10.0.0.3']);
    expect(catalog.services.get('orders.test')?.endpoints[2]?.origins.map(({ registry }) => registry)).to.deep.equal([
      'a',
      'b',
    ]);
    list(views[0]);
    expect(addresses(catalog, 'orders.test')).to.deep.equal(['10.0.0.2', '10.0.0.3']);
  });

  it('comes to the same result whatever arrives first', () => {
    const a = service('orders', [instance('10.0.0.1', 1)], { key: { registry: 'a' } });
    const b = service('orders', [instance('::1', 2, { weight: 3 })], { key: { registry: 'b' } });
    const clash = service('ORDERS', [instance('10.0.0.9', 9)], { key: { registry: 'b' } });
    const first = catalogOf({ name: 'a' }, { name: 'b' });
    list(first.views[0], a);
    list(first.views[1] as RegistryView, b, clash);
    const second = catalogOf({ name: 'a' }, { name: 'b' });
    list(second.views[1] as RegistryView, clash);
    list(second.views[1] as RegistryView, clash, b);
    list(second.views[0], a);
    expect(istioYaml(second.projection.resources())).to.equal(istioYaml(first.projection.resources()));
    expect(second.catalog.rejected()).to.deep.equal(first.catalog.rejected());
  });

  it('gives a host that two services of one registry claim to the one that sorts first, and shows the other', () => {
    const { catalog, views } = catalogOf({ name: 'r' });
    list(views[0], service('my_app', [instance('10.0.0.2', 2)]), service('my-app', [instance('10.0.0.1', 1)]));
    expect(addresses(catalog, 'my-app.test')).to.deep.equal(['10.0.0.1']);
    expect(catalog.rejected().map(({ id }) => id)).to.deep.equal(['r///my_app/']);
    views[0].update([], [{ registry: 'r', namespace: '', group: '', name: 'my-app', version: '' }], cause('gone'));
    expect(addresses(catalog, 'my-app.test')).to.deep.equal(['10.0.0.2']);
    expect(catalog.rejected()).to.deep.equal([]);
  });

  it('rejects a service whose host cannot be, and goes on with the others', () => {
    const { catalog, views } = catalogOf({ name: 'r', host: '{{ service.name }}' });
    list(views[0], service('kube.default.svc.cluster.local', []), service('$', []), service('ok', []));
    expect([...catalog.services.keys()]).to.deep.equal(['ok']);
    expect(catalog.rejected().map(({ reason }) => reason.replace(/:.*/, ''))).to.deep.equal([
      '"$" in "$" has no character that a host name can hold',
      'host "kube.default.svc.cluster.local" lies in the cluster\'s own domain',
    ]);
  });

  it('leaves out what its own client would not call, and says why', () => {
    const { catalog, views } = catalogOf({ name: 'r' });
    list(
      views[0],
      service('s', [
        instance('10.0.0.1', 1),
        instance('10.0.0.2', 2, { status: 'OUT_OF_SERVICE' }),
        instance('10.0.0.3', 3, { weight: 0 }),
        instance('10.0.0.4', 4, { status: 'drain' }),
        instance('10.0.0.5', 5, { id: 'old', changedAt: 1 }),
        instance('10.0.0.5', 5, { id: 'new', changedAt: 2, status: 'DOWN' }),
      ]),
    );
    expect(addresses(catalog, 's.test')).to.deep.equal(['10.0.0.1', '10.0.0.4']);
    expect(catalog.services.get('s.test')?.endpoints[1]?.draining).to.equal(true);
    const leftOut = Object.fromEntries(
      (catalog.contribution('r///s/')?.leftOut ?? []).map(({ record, reason }) => [record, reason]),
    );
    expect(leftOut).to.deep.equal({
      '10.0.0.2:2': 'status OUT_OF_SERVICE',
      '10.0.0.3:3': 'weight 0',
      new: 'status DOWN',
      old: 'another record for this address and port is newer',
    });
  });

  it('touches only the service that changed, and names the cause', () => {
    const { views, changes } = catalogOf({ name: 'r' });
    const one = service('one', [instance('10.0.0.1', 1)]);
    list(views[0], one, service('two', [instance('10.0.0.2', 2)]));
    changes.length = 0;
    const why = { what: 'weight set', observedAt: 42 };
    views[0].update([service('one', [instance('10.0.0.1', 1, { weight: 2 })])], [], why);
    expect(changes).to.have.length(1);
    expect(changes[0]?.set.map(({ name }) => name)).to.deep.equal(['pontoon/one.test']);
    expect(changes[0]?.cause).to.equal(why);
    list(views[0], service('one', [instance('10.0.0.1', 1, { weight: 2 })]), service('two', [instance('10.0.0.2', 2)]));
    expect(changes, 'a listing of what is known changes nothing').to.have.length(1);
  });

  it('empties a gone service at once, keeps its ports and VIP, and deletes it after the grace', async () => {
    const { catalog, views, changes } = catalogOf({ name: 'r' });
    list(views[0], service('s', [instance('10.0.0.1', 1, { ports: [{ name: '', protocol: 'grpc', number: 1 }] })]));
    const before = catalog.services.get('s.test');
    list(views[0]);
    const emptied = catalog.services.get('s.test');
    expect(emptied?.endpoints).to.deep.equal([]);
    expect(emptied?.ports).to.deep.equal(before?.ports);
    expect(emptied?.vips).to.deep.equal(before?.vips);
    await new Promise((resolve) => setTimeout(resolve, 40));
    expect(catalog.services.has('s.test')).to.equal(false);
    expect(changes.at(-1)?.removed.map(({ name }) => name)).to.deep.equal(['pontoon/s.test']);
  });

  it('keeps the shape of an emptied service, so that emptying it is no full push', () => {
    const { views, changes } = catalogOf({ name: 'r' });
    const https = { ports: [{ name: '', protocol: 'https', number: 2 }] } as const;
    list(views[0], service('s', [instance('a.example', 1), instance('10.0.0.2', 2, https)]));
    const names = changes.at(-1)?.set.map(({ name }) => name);
    expect(names).to.have.length(2);
    list(views[0], service('s', []));
    expect(changes.at(-1)?.set.map(({ name }) => name)).to.deep.equal(names);
    expect(changes.at(-1)?.removed).to.deep.equal([]);
  });

  it('fills a gone service again when it returns within the grace', async () => {
    const { catalog, views } = catalogOf({ name: 'r' });
    const s = service('s', [instance('10.0.0.1', 1)]);
    list(views[0], s);
    list(views[0]);
    list(views[0], s);
    await new Promise((resolve) => setTimeout(resolve, 40));
    expect(addresses(catalog, 's.test')).to.deep.equal(['10.0.0.1']);
  });

  it('keeps what a listing does not name if it was touched meanwhile, and all of it if the listing is dropped', () => {
    const { catalog, views } = catalogOf({ name: 'r' });
    const [view] = views;
    list(view, service('a', [instance('10.0.0.1', 1)]), service('b', [instance('10.0.0.2', 2)]));
    view.listing();
    expect(catalog.services.size).to.equal(2);
    const listing = view.listing();
    view.update([service('c', [instance('10.0.0.3', 3)])], [], cause('event'));
    view.setUnreadable({ registry: 'r', namespace: '', group: '', name: 'b', version: '' }, new Error('no rights'));
    listing.add([service('c', [])]);
    listing.commit(cause('listing'));
    expect(addresses(catalog, 'a.test')).to.deep.equal([]);
    expect(addresses(catalog, 'b.test')).to.deep.equal(['10.0.0.2']);
    expect(addresses(catalog, 'c.test')).to.deep.equal(['10.0.0.3']);
    expect([...view.unreadable.keys()]).to.deep.equal(['r///b/']);
  });

  it('takes a large first listing over in pieces, with turns for others in between, and is complete after the last', async () => {
    const { catalog, views } = catalogOf({ name: 'r' });
    const [view] = views;
    const many = Array.from({ length: 2_000 }, (_, index) => service(`s${index}`, [instance('10.0.0.1', index + 1)]));
    let ended = 0;
    catalog.on('complete', () => ended++);
    list(view, ...many);
    expect(catalog.services.size).to.be.within(1, 1_999);
    expect([view.complete, ended]).to.deep.equal([false, 0]);
    // What comes in between is newer than the listing, whether its turn is over or not.
    view.update(
      [service('s1', [instance('10.0.0.9', 9)]), service('s1999', [])],
      many.slice(1_998, 1_999).map(({ key }) => key),
      cause('event'),
    );
    while (!view.complete) await new Promise(setImmediate);
    expect(ended).to.equal(1);
    expect(addresses(catalog, 's1.test')).to.deep.equal(['10.0.0.9']);
    expect(addresses(catalog, 's1000.test')).to.deep.equal(['10.0.0.1']);
    expect(addresses(catalog, 's1999.test')).to.deep.equal([]);
    expect(catalog.services.has('s1998.test')).to.equal(false);
    // All later ones count as a whole: what a guard thinks of them depends on that.
    list(view, service('s1', []));
    expect([view.complete, ended]).to.deep.equal([true, 2]);
    catalog.close();
  });

  it('takes the rest of its first listing over before the next one', () => {
    const { catalog, views } = catalogOf({ name: 'r' });
    const many = Array.from({ length: 2_000 }, (_, index) => service(`s${index}`, [instance('10.0.0.1', index + 1)]));
    list(views[0], ...many);
    list(views[0], ...many.slice(0, 1_999));
    expect(views[0].complete).to.equal(true);
    expect(addresses(catalog, 's1998.test')).to.deep.equal(['10.0.0.1']);
    expect(addresses(catalog, 's1999.test')).to.deep.equal([]);
    catalog.close();
  });

  it('gives all endpoints of a service a locality, or none', () => {
    const { catalog, views } = catalogOf({ name: 'r' }, { name: 'q', locality: 'cn/sh/{{ instance.zone }}' });
    const located = instance('10.0.0.1', 1, { locality: 'cn/bj/a' });
    list(views[0], service('s', [located, instance('10.0.0.2', 2)]));
    expect(catalog.services.get('s.test')?.endpoints.map(({ locality }) => locality)).to.deep.equal([
      undefined,
      undefined,
    ]);
    list(
      views[1] as RegistryView,
      service('t', [located, instance('10.0.0.2', 2, { zone: 'b' })], { key: { registry: 'q' } }),
    );
    list(
      views[1] as RegistryView,
      service('t', [located, instance('10.0.0.2', 2, { zone: 'x/y/z' })], { key: { registry: 'q' } }),
    );
    expect(catalog.services.get('t.test')?.endpoints, 'a malformed locality loses no endpoint').to.have.length(2);
    expect(catalog.contribution('q///t/')?.unused.map(({ reason }) => reason)).to.deep.equal([
      'locality "cn/sh/x/y/z" is not region/zone/subzone: it has none',
    ]);
    list(
      views[1] as RegistryView,
      service('t', [located, instance('10.0.0.2', 2, { zone: 'b' })], { key: { registry: 'q' } }),
    );
    expect(catalog.services.get('t.test')?.endpoints.map(({ locality }) => locality)).to.deep.equal([
      'cn/bj/a',
      'cn/sh/b',
    ]);
  });

  it('tells of each complete listing', () => {
    const { catalog, views } = catalogOf({ name: 'a' }, { name: 'b' });
    const complete: string[] = [];
    catalog.on('complete', (registry) => complete.push(registry));
    list(views[0]);
    list(views[0]);
    expect(complete).to.deep.equal(['a', 'a']);
    expect(catalog.views().map((view) => view.complete)).to.deep.equal([true, false]);
  });
});

describe('virtual addresses', () => {
  const hosts = Array.from({ length: 10_000 }, (_, index) => `service-${index}.test`);

  it('depend on the set of hosts alone', () => {
    const forward = new VipAllocator(parseRanges(defaultRanges));
    forward.change(hosts, []);
    const backward = new VipAllocator(parseRanges(defaultRanges));
    for (const host of [...hosts].reverse()) backward.change([host], []);
    for (const host of hosts) expect(backward.addresses(host)).to.deep.equal(forward.addresses(host));
    expect(new Set(hosts.map((host) => forward.addresses(host)[0])).size).to.equal(hosts.length);
  });

  it('are one of each family, within the ranges', () => {
    const allocator = new VipAllocator(parseRanges(['10.96.0.0/12', 'fd00:9::/64']));
    allocator.change(['a.test'], []);
    const [v4, v6] = allocator.addresses('a.test');
    expect(v4).to.match(/^10\.(9[6-9]|10\d|11[01])\./);
    expect(v6).to.match(/^fd00:9:/);
  });

  it('move only where two hosts want one place, the one that sorts first keeping it', () => {
    const crowded = new VipAllocator(parseRanges(['10.0.0.0/16']));
    crowded.change(hosts.slice(0, 2000), []);
    const before = new Map(hosts.slice(0, 2000).map((host) => [host, crowded.addresses(host)[0]]));
    const moved = crowded.change(hosts.slice(2000, 2100), []);
    const differing = [...before]
      .filter(([host, address]) => crowded.addresses(host)[0] !== address)
      .map(([host]) => host);
    expect(new Set(differing)).to.deep.equal(moved);
    const all = hosts.slice(0, 2100).map((host) => crowded.addresses(host)[0]);
    expect(new Set(all).size).to.equal(2100);
  });

  it('refuse ranges that are malformed or too small', () => {
    expect(() => parseRanges(['10.0.0.0'])).to.throw('not a range');
    expect(() => parseRanges(['10.0.0.0/24'])).to.throw('too few');
    expect(() => parseRanges(['10.0.0.0/8', '10.1.0.0/16'])).to.throw('overlap');
  });

  it('end where a bucket is full: its last hosts have none', () => {
    const full = new VipAllocator(parseRanges(['10.0.0.0/16']));
    full.change(
      Array.from({ length: 80_000 }, (_, index) => `h${index}.test`),
      [],
    );
    const found = Array.from({ length: 80_000 }, (_, index) => full.addresses(`h${index}.test`)[0]).filter(
      (address) => address !== undefined,
    );
    expect(found.length).to.be.greaterThan(60_000).and.at.most(65_536);
    expect(new Set(found).size).to.equal(found.length);
  });
});
