import { Catalog } from '#catalog/catalog.js';
import { defaultRanges, parseRanges, VipAllocator } from '#catalog/vip.js';
import { parseConfig } from '#config/load.js';
import { Projection } from '#istio/projection.js';
import type { Protocol } from '#model/protocol.js';
import { protocols } from '#model/protocol.js';
import type { Instance, RegistryService } from '#model/service.js';
import { cause } from '#sources/contract.js';
import { random } from '#test/random.js';
import { catalogSettings, registryPolicies } from '../../../src/registries.js';

const names = [
  'orders',
  'ORDERS',
  'a_b',
  'com.acme.Outer$Inner',
  '订单',
  '-x-',
  'x'.repeat(70),
  'a b',
  '1',
  'ä.ö',
  'svc',
  '..',
  '',
];
const texts = [
  '',
  'v1',
  'a b',
  '订单',
  'x'.repeat(64),
  'x'.repeat(63),
  '-x',
  'x_',
  '{"a":1}',
  '\n',
  'http://h/?a=b',
  '1.0.0+build',
  '🚢',
];
const keys = [
  'version',
  'a/b',
  'istio.io/x',
  'topology.kubernetes.io/zone',
  'k'.repeat(70),
  '',
  'a b',
  'ü',
  'app',
  'A/b/c',
  '_x_',
  'x.y/z',
];
const addresses = [
  '10.0.0.1',
  '10.0.0.2',
  '::1',
  'fe80::1',
  '2001:db8::1',
  'db.example.com',
  'a.b',
  'xn--4kr132k.example',
  'host-',
  'UPPER.example',
  '10.0.0.1.example',
  'fe80::1%eth9',
  '::ffff:10.0.0.1',
  '1',
  '0x7f.1',
  'a..b',
  '300.1.1.1',
  'under_score.example',
];
const localities = ['cn/sh', 'cn', 'cn/sh/z1', 'a/b/c/d', '/', 'cn//z', '*', 'a b', undefined, undefined];
const policies = `policies:
  - { when: instance.weight > 3.0, labels: { set: { a.b/c: "{{ instance.metadata.version }}" }, copy: ["*"] } }
  - { when: service.name == "orders", aliases: [alias.one, "{{ service.version }}.alias"], protocol: tcp }
  - { when: service.version == "2", namespace: "{{ service.group }}", ports: [{ name: grpc-x, number: 65535, target: 1 }, { name: tcp, number: 1 }] }
  - { when: instance.zone == "z", network: "{{ instance.metadata.version }}", serviceAccount: "{{ instance.metadata.app }}", health: drain }
`;

/**
 * Services such as registries that grew for years hold, and worse; the same for the same seed.
 * @param made is called with the projection while it is empty
 */
export function fuzzed(seed: number, made: (projection: Projection) => void = () => undefined): Projection {
  const below = random(seed);
  const pick = <T>(values: readonly T[]): T => values[below(values.length)] as T;
  const all = Object.keys(protocols) as Protocol[];
  const metadata = () => Object.fromEntries(Array.from({ length: below(5) }, () => [pick(keys), pick(texts)]));
  const one = (index: number): Instance => ({
    id: `i${index} ${pick(texts)}`,
    address: below(2) === 0 ? `10.${below(3)}.0.${below(9)}` : pick(addresses),
    ports: Array.from({ length: below(3) + 1 }, () => ({
      name: pick(['', '', 'admin', 'x'.repeat(60), 'A_B', '订单', 'http', 'tcp-x']),
      protocol: pick(all),
      number: pick([1, 80, 8080, 65_535, 20_880]),
    })),
    status: 'serve',
    weight: pick([1, 1, 0, 0.001, 7, 1e9, 100]),
    zone: pick(['', 'z']),
    locality: pick(localities),
    network: pick([undefined, 'n1', '订单', 'a b', 'x'.repeat(300)]),
    metadata: metadata(),
    changedAt: below(3),
  });
  const services: RegistryService[] = Array.from({ length: 60 }, () => ({
    key: {
      registry: 'r',
      namespace: pick(['', 'prod']),
      group: pick(['', 'g', 'G_1']),
      name: pick(names),
      version: pick(['', '1.0.0+build', '2']),
    },
    kind: 'file',
    ports: below(3) === 0 ? [{ name: pick(['', 'admin']), protocol: pick(all), number: pick([80, 443, 65_535]) }] : [],
    metadata: metadata(),
    instances: Array.from({ length: below(6) }, (_, index) => one(index)),
    rejected: [],
    consumers: [],
  }));
  const host = pick([
    '"{{ service.name }}.{{ service.version }}.x"',
    '"{{ service.name }}"',
    '"{{ service.group }}{{ service.name }}{{ service.version }}"',
  ]);
  const config = parseConfig(
    `registries: [{ name: r, type: file, path: x, host: ${host} }]\n${below(2) === 0 ? policies : ''}`,
    'fuzz',
  );
  const settings = catalogSettings(config);
  const catalog = new Catalog(settings, new VipAllocator(parseRanges(defaultRanges)));
  // All that can be called through gateways of two kinds.
  const gateways = [{ selector: { istio: 'ingressgateway' } }, { selector: { app: 'edge', 'a.b/c': '' }, bind: '::1' }];
  const projection = new Projection(catalog, {
    of: (name) =>
      (catalog.services.get(name)?.ports ?? []).map(({ number }, index) => ({
        number,
        port: 20_000 + index,
        gateways,
      })),
    on: () => undefined,
  });
  made(projection);
  const [view] = catalog.configure(settings, registryPolicies(config));
  const listing = view?.listing();
  listing?.add(services);
  listing?.commit(cause('fuzz'));
  view?.settleAll();
  return projection;
}
