import { Catalog } from '#catalog/catalog.js';
import { defaultRanges, parseRanges, VipAllocator } from '#catalog/vip.js';
import { parseConfig } from '#config/load.js';
import { Projection } from '#istio/projection.js';
import type { RegistryService } from '#model/service.js';
import { cause } from '#sources/contract.js';
import { catalogSettings, registryPolicies } from '../src/registries.js';

const services = 10_000;
const instances = 10;
const rounds = 5;

const policies = `policies:
  - { when: service.name.startsWith("service-1"), namespace: ones }
  - { when: service.name.endsWith("7"), aliases: ["{{ service.name }}.seven"] }
  - { when: service.name == "service-42", host: answer.mesh }
  - { when: instance.metadata.tier == "gold", weight: { max: 300 } }
  - { when: 'cidr(instance.address, "10.3.0.0/16")', network: three }
  - { when: instance.zone == "z1", locality: "cn/sh/{{ instance.zone }}" }
  - { when: instance.status == "drain", health: serve }
  - { labels: { drop: ["tier*"], set: { registry: "{{ registry.name }}" } } }
  - { metadata: { rename: { ver: version } } }
  - { when: instance.port > 9000, serviceAccount: "{{ service.name }}" }
`;

function service(index: number, weight = 1): RegistryService {
  return {
    key: { registry: 'r', namespace: '', group: '', name: `service-${index}`, version: '' },
    kind: 'file',
    ports: [],
    metadata: {},
    instances: Array.from({ length: instances }, (_, number) => ({
      id: `${index}-${number}`,
      address: `10.${number}.${index >> 8}.${index & 255}`,
      ports: [{ name: '', protocol: 'http' as const, number: 8000 + number * 200 }],
      status: 'serve',
      weight,
      zone: number % 2 === 0 ? 'z1' : '',
      locality: undefined,
      network: undefined,
      metadata: { tier: number % 3 === 0 ? 'gold' : 'tin', ver: '1' },
      changedAt: 0,
    })),
    rejected: [],
    consumers: [],
  };
}

/** `min / median / max` of what a function takes, in ms. */
function timed(work: (round: number) => void): string {
  const times = Array.from({ length: rounds }, (_, round) => {
    const begun = performance.now();
    work(round);
    return performance.now() - begun;
  }).sort((a, b) => a - b);
  return [times[0], times[Math.floor(rounds / 2)], times.at(-1)].map((ms) => (ms ?? 0).toFixed(1)).join(' / ');
}

/** How long policies take: the whole catalog under a new configuration, and one service that changes. */
for (const [title, yaml] of [
  ['no policy', ''],
  ['ten policies', policies],
] as const) {
  const config = parseConfig(`registries: [{ name: r, type: file, path: x }]\n${yaml}`, 'bench');
  const settings = catalogSettings(config);
  const catalog = new Catalog(settings, new VipAllocator(parseRanges(defaultRanges)));
  new Projection(catalog);
  const [view] = catalog.configure(settings, registryPolicies(config));
  const listing = view?.listing();
  listing?.add(Array.from({ length: services }, (_, index) => service(index)));
  listing?.commit(cause('bench'));
  view?.settleAll();
  const whole = timed(() => catalog.configure(settings, registryPolicies(config)));
  const one = timed((round) => view?.update([service(42, round + 2)], [], cause('bench')));
  console.log(`${services} × ${instances}, ${title}, ms min / median / max: everything ${whole}, one service ${one}`);
  catalog.close();
}
