import { expect } from 'chai';
import { Catalog } from '#catalog/catalog.js';
import { parseRanges, VipAllocator } from '#catalog/vip.js';
import { parseConfig } from '#config/load.js';
import { Projection } from '#istio/projection.js';
import type { RegistryService } from '#model/service.js';
import { cause } from '#sources/contract.js';
import { random } from '#test/random.js';
import { catalogSettings, registryPolicies } from '../../src/registries.js';
import { instance, service } from './builders.js';

const policies = [
  'policies: []',
  'policies: [{ when: service.name == "s1" || service.name == "s2", host: joined.mesh }]',
  'policies: [{ aliases: [alias.mesh] }, { when: instance.zone == "z1", health: drop }]',
  'policies: [{ when: registry.name == "b", drop: true }, { host: "{{ service.name }}.mesh" }]',
  'policies: [{ host: one.for.all, weight: { share: 50% } }]',
];
const registries = ['[a, b, c]', '[c, b, a]', '[b, a]', '[a]'];

function setting(names: string, policy: string) {
  const list = names
    .slice(1, -1)
    .split(', ')
    .map((name) => `{ name: ${name}, type: file, path: x }`);
  return parseConfig(`registries: [${list.join(', ')}]\n${policy}\nistio: { grace: 0s }`, 'p.yaml');
}

function catalogOf(config: ReturnType<typeof setting>) {
  const catalog = new Catalog(catalogSettings(config), new VipAllocator(parseRanges(['241.0.0.0/8'])));
  const projection = new Projection(catalog);
  catalog.configure(catalogSettings(config), registryPolicies(config));
  return { catalog, projection };
}

/** What istiod would hold, without services that nobody can be called at: those keep the ports that they had. */
function held({ catalog, projection }: ReturnType<typeof catalogOf>): string {
  const hosts = [...catalog.services.values()].filter(({ endpoints }) => endpoints.length > 0).map(({ host }) => host);
  return JSON.stringify([
    hosts.sort().map((host) => projection.resources(host)),
    catalog.rejected(),
    catalog.dropped(),
  ]);
}

describe('the catalog after any sequence of events', () => {
  for (let seed = 1; seed <= 20; seed++)
    it(`is what a fresh start would make of what is known (seed ${seed})`, () => {
      const below = random(seed);
      const pick = <T>(values: readonly T[]): T => values[below(values.length)] as T;
      let config = setting(registries[0] as string, policies[0] as string);
      const running = catalogOf(config);
      const some = (registry: string): RegistryService => {
        const instances = Array.from({ length: below(4) }, () =>
          instance(`10.0.0.${below(9) + 1}`, 8000 + below(3), {
            zone: pick(['', 'z1']),
            status: pick(['serve', 'serve', 'drop', 'drain']),
            weight: below(3),
            changedAt: below(5),
          }),
        );
        return service(`s${below(8)}`, instances, { kind: 'file', key: { registry } });
      };
      for (let step = 0; step < 150; step++) {
        const view = pick(running.catalog.views());
        const action = below(10);
        if (action < 5) view.update([some(view.registry)], [], cause('test'));
        else if (action < 7) view.update([], [some(view.registry).key], cause('test'));
        else if (action === 7) view.setUnreadable(some(view.registry).key, new Error('test'));
        else if (action === 8) {
          const listing = view.listing();
          listing.add(Array.from({ length: below(6) }, () => some(view.registry)));
          if (below(2) === 0) listing.commit(cause('test'));
        } else {
          config = setting(pick(registries), pick(policies));
          running.catalog.configure(catalogSettings(config), registryPolicies(config));
        }
      }
      const fresh = catalogOf(config);
      for (const [index, view] of fresh.catalog.views().entries()) {
        const listing = view.listing();
        listing.add([...(running.catalog.views()[index]?.services.values() ?? [])]);
        listing.commit(cause('test'));
      }
      expect(held(running)).to.equal(held(fresh));
      running.catalog.close();
      fresh.catalog.close();
    });
});
