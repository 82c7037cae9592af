import { mock } from 'node:test';
import { expect } from 'chai';
import { Catalog } from '#catalog/catalog.js';
import type { RegistryView } from '#catalog/view.js';
import { defaultRanges, parseRanges, VipAllocator } from '#catalog/vip.js';
import { parseConfig } from '#config/load.js';
import { Projection } from '#istio/projection.js';
import type { MeshService } from '#model/mesh.js';
import type { RegistryService } from '#model/service.js';
import { RegistryPolicy } from '#policy/contribution.js';
import { PolicyList } from '#policy/rules.js';
import { cause } from '#sources/contract.js';
import { instance, plainKinds, service } from './builders.js';

/** Two registries, `r` and `q`, under the policies of a configuration. */
function scene(yaml: string, services: Partial<Record<'r' | 'q', readonly RegistryService[]>>) {
  const { policies, networks } = parseConfig(`registries: [{ name: r, type: file, path: x }]\n${yaml}`, 'p.yaml');
  const list = new PolicyList(policies);
  const catalog = new Catalog(
    { namespace: 'pontoon', exportTo: ['*'], grace: 10, networks },
    new VipAllocator(parseRanges(defaultRanges)),
  );
  const projection = new Projection(catalog);
  const views: RegistryView[] = ['r', 'q'].map((name) =>
    catalog.add(new RegistryPolicy({ name, type: 'test', kinds: plainKinds, networks }, list)),
  );
  for (const view of views) {
    const listing = view.listing();
    listing.add(services[view.registry as 'r' | 'q'] ?? []);
    listing.commit(cause('test'));
  }
  const mesh = (host: string) => catalog.services.get(host) as MeshService;
  return { catalog, projection, views, mesh };
}

const one = (name: string, more = {}, address = '10.0.0.1') => service(name, [instance(address, 9001, more)]);
const inQ = (found: RegistryService): RegistryService => ({ ...found, key: { ...found.key, registry: 'q' } });

describe('policies', () => {
  it('apply from top to bottom: of those that match, the last that sets a field wins', () => {
    const { mesh, catalog } = scene(
      `policies:
  - { host: "{{ service.name }}.mesh", namespace: shop }
  - { when: service.name == "orders", host: orders.special }
  - { when: service.name == "nothing", namespace: never }`,
      { r: [one('orders'), one('carts')] },
    );
    expect([...catalog.services.keys()].sort()).to.deep.equal(['carts.mesh', 'orders.special']);
    expect(mesh('orders.special').namespace).to.equal('shop');
  });

  it('leave services out, and say which policy did', () => {
    const { catalog } = scene('policies: [{ when: service.name.startsWith("test-"), drop: true }]', {
      r: [one('orders'), one('test-orders')],
    });
    expect([...catalog.services.keys()]).to.deep.equal(['orders.test']);
    expect(catalog.dropped()).to.deep.equal([
      { id: 'r///test-orders/', registry: 'r', reason: 'left out by policies[0].drop' },
    ]);
    expect(catalog.rejected()).to.deep.equal([]);
  });

  it('leave instances out by address', () => {
    const { mesh, catalog } = scene(`policies: [{ when: 'cidr(instance.address, "10.0.1.0/24")', health: drop }]`, {
      r: [service('orders', [instance('10.0.0.1', 1), instance('10.0.1.1', 1), instance('db.example', 1)])],
    });
    expect(mesh('orders.test').endpoints.map(({ address }) => address)).to.deep.equal(['10.0.0.1', 'db.example']);
    expect(catalog.contribution('r///orders/')?.leftOut).to.deep.equal([
      { record: '10.0.1.1:1', reason: 'status UP, by policies[0].health' },
    ]);
  });

  it('serve or drain what would be dropped', () => {
    const { mesh } = scene(
      `policies:
  - { when: instance.status == "STARTING", health: serve }
  - { when: instance.status == "OUT_OF_SERVICE", health: drain }`,
      {
        r: [
          service('orders', [
            instance('10.0.0.1', 1, { status: 'STARTING' }),
            instance('10.0.0.2', 1, { status: 'OUT_OF_SERVICE' }),
            instance('10.0.0.3', 1, { status: 'DOWN' }),
          ]),
        ],
      },
    );
    expect(mesh('orders.test').endpoints.map(({ address, draining }) => [address, draining])).to.deep.equal([
      ['10.0.0.1', false],
      ['10.0.0.2', true],
    ]);
  });

  it('give several hosts: an alias has the same endpoints, and a VIP of its own', () => {
    const { mesh, catalog } = scene(
      'policies: [{ when: service.name == "orders", aliases: [orders.legacy, "{{ service.name }}.old"] }]',
      { r: [one('orders')] },
    );
    expect([...catalog.services.keys()].sort()).to.deep.equal(['orders.legacy', 'orders.old', 'orders.test']);
    expect(mesh('orders.legacy').endpoints).to.deep.equal(mesh('orders.test').endpoints);
    expect(mesh('orders.legacy').vips).to.not.deep.equal(mesh('orders.test').vips);
  });

  it('never merge by an alias: it gives way to a host, and two services do not share one', () => {
    const { mesh, catalog, views } = scene('policies: [{ aliases: [shared.test] }]', {
      r: [one('b'), one('a', {}, '10.0.0.2')],
    });
    expect(mesh('shared.test').endpoints.map(({ address }) => address)).to.deep.equal(['10.0.0.2']);
    expect(catalog.rejected().map(({ id, reason }) => [id, reason])).to.deep.equal([
      ['r///b/', 'alias shared.test is held by r///a/: give one of them another host'],
    ]);
    views[0]?.update([one('shared', {}, '10.0.0.9')], [], cause('test'));
    expect(mesh('shared.test').endpoints.map(({ address }) => address)).to.deep.equal(['10.0.0.9']);
    expect(catalog.rejected()).to.have.length(2);
    views[0]?.update([], [service('shared', []).key, service('a', []).key], cause('test'));
    expect(mesh('shared.test').endpoints.map(({ address }) => address)).to.deep.equal(['10.0.0.1']);
    expect(catalog.rejected()).to.deep.equal([]);
  });

  it('merge services of one registry where a policy names them, and never by a template', () => {
    const services = { r: [one('orders-v1'), one('orders-v2', {}, '10.0.0.2')] };
    const named = scene('policies: [{ when: service.name.startsWith("orders-"), host: orders.mesh }]', services);
    expect(named.mesh('orders.mesh').endpoints).to.have.length(2);
    expect(named.catalog.rejected()).to.deep.equal([]);
    const general = scene('policies: [{ host: orders.mesh }]', services);
    expect(general.mesh('orders.mesh').endpoints).to.have.length(1);
    expect(general.catalog.rejected()).to.have.length(1);
  });

  it('say who sees a service, what it is, and to which revision', () => {
    const { mesh, projection } = scene(
      'policies: [{ when: service.name == "orders", exportTo: [shop], location: external, revision: canary }]',
      { r: [one('orders')] },
    );
    expect(mesh('orders.test')).to.include({ location: 'external', revision: 'canary' });
    const [resource] = projection.resources('orders.test');
    expect(resource?.labels).to.deep.equal({ 'istio.io/rev': 'canary' });
    expect(resource?.body).to.deep.include({ exportTo: ['shop'], location: 0 });
  });

  it('set ports, what they speak, and what is dialled', () => {
    const { mesh } = scene(
      `policies:
  - when: service.name == "orders"
    protocol: grpc
    ports: [{ name: grpc, number: 7000 }, { name: http-admin, number: 7001, target: 9100 }]`,
      {
        r: [
          service('orders', [
            instance('10.0.0.1', 0, {
              ports: [
                { name: '', protocol: 'http', number: 9001 },
                { name: 'admin', protocol: 'http', number: 9002 },
              ],
            }),
          ]),
        ],
      },
    );
    expect(mesh('orders.test').ports).to.deep.equal([
      { name: 'grpc', number: 7000, protocol: 'grpc' },
      { name: 'http-admin', number: 7001, protocol: 'http' },
    ]);
    expect(mesh('orders.test').endpoints[0]?.ports).to.deep.equal({ grpc: 9001, 'http-admin': 9100 });
  });

  it('change metadata before it becomes labels, choose among it, and set labels', () => {
    const metadata = { ver: '1', env: 'prd', secretive: 'x', tier: 'gold' };
    const { mesh } = scene(
      `policies:
  - metadata:
      rename: { ver: version }
      map: { env: { prd: production } }
      set: { from: "{{ registry.name }}" }
      drop: ["secret*"]
  - labels: { drop: [tier], set: { istio.io/owner: "{{ instance.metadata.tier }}" } }`,
      { r: [one('orders', { metadata })] },
    );
    expect(mesh('orders.test').endpoints[0]?.labels).to.deep.equal({
      version: '1',
      env: 'production',
      from: 'r',
      'istio.io/owner': 'gold',
    });
    const copied = scene('policies: [{ labels: { copy: [ver] } }]', { r: [one('orders', { metadata })] });
    expect(copied.mesh('orders.test').endpoints[0]?.labels).to.deep.equal({ ver: '1' });
  });

  it('bound weights, take a share of them, and let them grow after a change', () => {
    const weights = (yaml: string, more = {}) =>
      scene(`policies: [{ weight: ${yaml} }]`, { r: [one('orders', { weight: 5, ...more })] }).mesh('orders.test')
        .endpoints[0]?.weight;
    expect(weights('{ max: 200 }')).to.equal(200);
    expect(weights('{ min: 700 }')).to.equal(700);
    expect(weights('{ share: 10% }')).to.equal(50);
    expect(weights('{ slowStart: 1h }', { changedAt: Date.now() })).to.equal(25);
    expect(weights('{ slowStart: 1h }', { changedAt: Date.now() - 4_000_000 })).to.equal(500);
  });

  it('place endpoints: by policy, by registry, by the narrowest range', () => {
    const { mesh } = scene(
      `networks: { wide: { cidrs: [10.0.0.0/8] }, narrow: { cidrs: [10.0.1.0/24] } }
policies:
  - { when: instance.zone == "z1", locality: "cn/sh/{{ instance.zone }}", network: chosen, serviceAccount: orders }`,
      {
        r: [
          service('orders', [
            instance('10.0.0.1', 1, { zone: 'z1' }),
            instance('10.0.0.2', 1, { network: 'said', locality: 'cn/bj' }),
            instance('10.0.1.1', 1, { locality: 'cn/bj' }),
            instance('10.2.0.1', 1, { locality: 'cn/bj' }),
          ]),
        ],
      },
    );
    expect(
      mesh('orders.test').endpoints.map(({ locality, network, serviceAccount }) => [locality, network, serviceAccount]),
    ).to.deep.equal([
      ['cn/sh/z1', 'chosen', 'orders'],
      ['cn/bj', 'said', undefined],
      ['cn/bj', 'narrow', undefined],
      ['cn/bj', 'wide', undefined],
    ]);
  });

  it('that fail on a record have no effect on it, and show there', () => {
    const { mesh, catalog } = scene(
      `policies:
  - { when: instance.metadata.stage == "old", health: drop }
  - { when: service.metadata.team == "x", host: never.mesh }
  - { host: "{{ service.metadata.name }}.mesh" }`,
      { r: [service('orders', [instance('10.0.0.1', 9001), instance('10.0.0.2', 9001)])] },
    );
    expect(mesh('orders.test').endpoints).to.have.length(2);
    expect(
      catalog.contribution('r///orders/')?.unused.map(({ record, reason }) => `${record}: ${reason}`),
    ).to.deep.equal([
      'the service: policies[1].when has no value here, as for a key that is not there: it has no effect',
      'the service: policies[2].host has no value here, as for a key that is not there: it has no effect',
      '2 of 2 instances: policies[0].when has no value here, as for a key that is not there: it has no effect',
    ]);
  });

  it('replace what lies in another network by its gateways, weighted by what stands behind', () => {
    const yaml = (policies: string) => `networks:
  far: { cidrs: [10.9.0.0/16], gateways: [{ address: 203.0.113.7, port: 80 }, { address: 203.0.113.8, port: 80 }] }
policies: [${policies}]`;
    const services = {
      r: [
        service('orders', [
          instance('10.0.0.1', 1),
          instance('10.9.0.1', 1),
          instance('10.9.0.2', 1),
          instance('10.9.0.3', 1),
        ]),
        service('db', [instance('10.9.0.9', 3306, { ports: [{ name: '', protocol: 'mysql', number: 3306 }] })]),
      ],
    };
    const { mesh } = scene(yaml(''), services);
    expect(
      mesh('orders.test').endpoints.map(({ address, ports, weight, network }) => [
        address,
        ports.http,
        weight,
        network,
      ]),
    ).to.deep.equal([
      ['10.0.0.1', 1, 100, undefined],
      ['203.0.113.7', 80, 150, undefined],
      ['203.0.113.8', 80, 150, undefined],
    ]);
    expect(mesh('db.test').endpoints).to.deep.equal([]);
    expect(mesh('db.test').unreachable[0]?.reason).to.include('set gatewayPort');
    const ported = scene(yaml('{ when: service.name == "db", gatewayPort: 20001 }'), services);
    expect(ported.mesh('db.test').endpoints[0]?.ports).to.deep.equal({ mysql: 20001 });
  });

  it('take the first registry that has endpoints, and the next while there are too few', () => {
    const hosts = (prefer: string, first: readonly string[]) =>
      scene(`policies: [{ prefer: ${prefer} }]`, {
        r: [
          service(
            'orders',
            first.map((address) => instance(address, 1)),
          ),
        ],
        q: [inQ(service('orders', [instance('10.0.1.1', 1)]))],
      })
        .mesh('orders.test')
        .endpoints.map(({ address }) => address);
    expect(hosts('merge', ['10.0.0.1'])).to.deep.equal(['10.0.0.1', '10.0.1.1']);
    expect(hosts('first', ['10.0.0.1'])).to.deep.equal(['10.0.0.1']);
    expect(hosts('first', [])).to.deep.equal(['10.0.1.1']);
    expect(hosts('{ first: { least: 2 } }', ['10.0.0.1'])).to.deep.equal(['10.0.0.1', '10.0.1.1']);
    expect(hosts('{ first: { least: 2 } }', ['10.0.0.1', '10.0.0.2'])).to.deep.equal(['10.0.0.1', '10.0.0.2']);
  });

  it('say which ports cannot be reached behind a gateway, and weigh only what it serves', () => {
    const port = (protocol: 'http' | 'tcp', number: number) => ({ ports: [{ name: '', protocol, number }] });
    const { mesh } = scene(
      'networks: { far: { cidrs: [10.9.0.0/16], gateways: [{ address: 203.0.113.7, port: 80 }] } }',
      {
        r: [
          service('orders', [instance('10.9.0.1', 1, port('http', 8080)), instance('10.9.0.2', 1, port('tcp', 9000))]),
        ],
      },
    );
    expect(mesh('orders.test').endpoints.map(({ ports, weight }) => [ports, weight])).to.deep.equal([
      [{ http: 80 }, 100],
    ]);
    expect(mesh('orders.test').unreachable.map(({ record }) => record)).to.deep.equal(['10.9.0.2:9000']);
  });

  it('count registries, not services, where the first one is preferred, and nothing that drains', () => {
    const joined = 'policies: [{ when: service.name != "", host: all.mesh, prefer: first }]';
    const both = scene(joined, { r: [one('a'), one('b', {}, '10.0.0.2')], q: [inQ(one('c', {}, '10.0.0.3'))] });
    expect(both.mesh('all.mesh').endpoints.map(({ address }) => address)).to.deep.equal(['10.0.0.1', '10.0.0.2']);
    const draining = scene(joined, { r: [one('a', { status: 'drain' })], q: [inQ(one('c', {}, '10.0.0.3'))] });
    expect(draining.mesh('all.mesh').endpoints).to.have.length(2);
  });

  it('give an alias all endpoints of its host, whichever registry asked for it', () => {
    const { mesh } = scene('policies: [{ when: registry.name == "q", aliases: [orders.old] }]', {
      r: [one('orders')],
      q: [inQ(one('orders', {}, '10.0.0.2'))],
    });
    expect(mesh('orders.old').endpoints).to.deep.equal(mesh('orders.test').endpoints);
  });

  it('lose an alias that can be none, and nothing else', () => {
    const more = { metadata: { alias: 'x.svc.cluster.local' } };
    const { mesh, catalog } = scene('policies: [{ aliases: ["{{ service.metadata.alias }}"] }]', {
      r: [service('orders', [instance('10.0.0.1', 1)], more)],
    });
    expect(mesh('orders.test').endpoints).to.have.length(1);
    expect(catalog.contribution('r///orders/')?.unused[0]?.reason).to.include(
      'policies[0].aliases: host "x.svc.cluster.local" lies',
    );
  });

  it('make one endpoint of instances that are dialled at one place', () => {
    const { mesh, catalog } = scene('policies: [{ ports: [{ name: http, number: 80, target: 9100 }] }]', {
      r: [service('orders', [instance('10.0.0.1', 1), instance('10.0.0.1', 2)])],
    });
    expect(mesh('orders.test').endpoints).to.have.length(1);
    expect(catalog.contribution('r///orders/')?.leftOut[0]?.reason).to.include('another instance is dialled');
  });

  it('go before the registry about growing slowly', () => {
    const since = Date.now() - 130_000;
    const more = { changedAt: since, warmup: { since, length: 600_000 } };
    const weight = (policies: string) =>
      scene(policies, { r: [one('orders', more)] }).mesh('orders.test').endpoints[0]?.weight;
    expect(weight('')).to.equal(25);
    expect(weight('policies: [{ weight: { slowStart: 60s } }]')).to.equal(100);
  });

  it('grow slowly from a new configuration on, too', () => {
    mock.timers.enable({ apis: ['Date', 'setTimeout'], now: 1_000_000_000 });
    try {
      const { catalog, mesh } = scene('', { r: [one('orders', { changedAt: Date.now() })] });
      const config = parseConfig(
        'registries: [{ name: r, type: file, path: x }]\npolicies: [{ weight: { slowStart: 100s } }]',
        'p.yaml',
      );
      const settings = { namespace: 'pontoon', exportTo: ['*'], grace: 10 };
      catalog.configure(settings, [
        new RegistryPolicy({ name: 'r', type: 'test', kinds: plainKinds }, new PolicyList(config.policies)),
      ]);
      expect(mesh('orders.test').endpoints[0]?.weight).to.equal(5);
      for (let passed = 0; passed < 100; passed += 5) mock.timers.tick(5_000);
      expect(mesh('orders.test').endpoints[0]?.weight).to.equal(100);
      catalog.close();
    } finally {
      mock.timers.reset();
    }
  });

  it('know the hosts of other bridges', () => {
    const key = { namespace: 'prod', group: 'G' };
    const { catalog } = scene('policies: [{ host: "preset:higress" }]', { r: [service('orders', [], { key })] });
    expect([...catalog.services.keys()]).to.deep.equal(['orders.g.prod.nacos']);
  });

  it('of two registries: the first that says a field of the service counts', () => {
    const { mesh } = scene('policies: [{ when: registry.name == "q", exportTo: [q-only], weight: { share: 50% } }]', {
      r: [one('orders')],
      q: [inQ(one('orders', {}, '10.0.0.2'))],
    });
    expect(mesh('orders.test').exportTo).to.deep.equal(['q-only']);
    expect(mesh('orders.test').endpoints.map(({ weight }) => weight)).to.deep.equal([100, 50]);
  });
});

describe('policies in the configuration', () => {
  const wrong: [string, string, string][] = [
    [
      'a misspelt field',
      'policies: [{ when: service.nme == "a" }]',
      'p.yaml:2:20: policies[0].when: service.nme == "a": No such key: nme',
    ],
    [
      'a condition that is none',
      'policies: [{ when: service.name }]',
      'p.yaml:2:20: policies[0].when: service.name: expected a bool, found string',
    ],
    [
      'a comparison of two types',
      'policies: [{ when: instance.port == "80" }]',
      'p.yaml:2:20: policies[0].when: instance.port == "80": no such overload',
    ],
    [
      'a field of the service under a condition on instances',
      'policies: [{ when: instance.zone == "a", host: x.y }]',
      'p.yaml:2:48: policies[0].host: a policy whose condition names instance cannot say host',
    ],
    ['an unknown key', 'policies: [{ hst: a }]', 'p.yaml:2:14: policies[0].hst: unknown key; did you mean "host"?'],
    ['a share without its sign', 'policies: [{ weight: { share: 0.5 } }]', 'p.yaml:2:31: policies[0].weight.share: '],
    [
      'a range that is none',
      'networks: { a: { cidrs: [10.0.0.0] } }',
      'p.yaml:2:26: networks.a.cidrs[0]: expected a range',
    ],
    [
      'a template that is none',
      'policies: [{ locality: "{{ instance.zne }}" }]',
      'p.yaml:2:24: policies[0].locality: instance.zne: No such key: zne',
    ],
  ];
  for (const [what, yaml, message] of wrong)
    it(`names line and column of ${what}`, () => {
      let found = '';
      try {
        parseConfig(`registries: [{ name: r, type: file, path: x }]\n${yaml}`, 'p.yaml');
      } catch (error) {
        found = (error as Error).message;
      }
      expect(found).to.satisfy((text: string) => text.startsWith(message), found);
    });
});
