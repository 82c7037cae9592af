import { execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { expect } from 'chai';
import { parseAllDocuments } from 'yaml';
import { Catalog } from '#catalog/catalog.js';
import { isServed, type ServedShards, shardOf, shardsText } from '#catalog/shards.js';
import { bucketOf, parseRanges, VipAllocator } from '#catalog/vip.js';
import { parseConfig } from '#config/load.js';
import { Projection } from '#istio/projection.js';
import { type RegistryService, serviceId } from '#model/service.js';
import { type Foreseen, Foresight } from '#policy/foresight.js';
import { cause } from '#sources/contract.js';
import { random } from '#test/random.js';
import { catalogSettings, registryPolicies, sourceChanges } from '../../src/registries.js';
import { instance, service } from './builders.js';

function setting(policies: string, serve?: ServedShards, hosts: readonly string[] = ['', '', '']) {
  const names = ['a', 'b', 'c'].map((name, index) => {
    const host = hosts[index] === '' ? '' : `, host: ${JSON.stringify(hosts[index])}`;
    return `{ name: ${name}, type: file, path: x${host} }`;
  });
  const shards =
    serve === undefined ? '' : `, serve: ${shardsText(serve)}, xds: [{ listen: "127.0.0.1:1", shards: ${serve.of} }]`;
  return parseConfig(`registries: [${names.join(', ')}]\n${policies}\nistio: { grace: 5m${shards} }`, 'p.yaml');
}

type Setting = ReturnType<typeof setting>;

/** One Pontoon without its sources. */
function pontoon(config: Setting) {
  // Few places: hosts collide.
  const catalog = new Catalog(catalogSettings(config), new VipAllocator(parseRanges(['241.0.0.0/16'])));
  const projection = new Projection(catalog);
  catalog.configure(catalogSettings(config), registryPolicies(config));
  return { catalog, projection };
}

/** Lists what a Pontoon has to read. @param known what is known of a service before it is read */
function list(
  { catalog }: ReturnType<typeof pontoon>,
  config: Setting,
  services: readonly RegistryService[],
  known: (service: RegistryService) => Foreseen,
): number {
  let read = 0;
  const { serve } = config.istio;
  for (const { settings } of registryPolicies(config)) {
    const foresight = new Foresight(settings, config.policies, (host) => isServed(host, serve));
    const ours = services.filter(({ key }) => key.registry === settings.name);
    const wanted = ours.filter((service) => serve === undefined || foresight.mayServe(known(service)));
    const listing = catalog.view(settings.name)?.listing();
    listing?.add(wanted);
    listing?.commit(cause('test'));
    read += wanted.length;
  }
  return read;
}

function served({ catalog, projection }: ReturnType<typeof pontoon>): Map<string, string> {
  const hosts = [...catalog.services.values()].filter(({ endpoints }) => endpoints.length > 0).map(({ host }) => host);
  return new Map(hosts.map((host) => [host, JSON.stringify(projection.resources(host))]));
}

/** Ranges that together are all shards, each once. */
function ranges(below: (bound: number) => number): ServedShards[] {
  const of = 2 ** below(9);
  const found: ServedShards[] = [];
  for (let from = 0; from < of; ) {
    const to = Math.min(of - 1, from + below(of));
    found.push({ from, to, of });
    from = to + 1;
  }
  return found;
}

const all = ({ key, metadata, kind }: RegistryService): Foreseen => ({ ...key, metadata, kind });
const nameAlone = ({ key, kind }: RegistryService): Foreseen => ({ name: key.name, kind });
const withoutMetadata = ({ key, kind }: RegistryService): Foreseen => ({ ...key, kind });

const policies = [
  'policies: []',
  'policies: [{ when: service.name == "s1" || service.name == "s2", host: joined.mesh }]',
  'policies: [{ aliases: ["{{ service.name }}.old", fixed.mesh] }]',
  'policies: [{ when: registry.name == "a", aliases: ["{{ service.name }}.old"] }]',
  'policies: [{ when: service.name == "s3", host: three.mesh, aliases: [three.old] }, { when: service.name == "s4", host: three.mesh }]',
  'policies: [{ when: registry.name == "b", aliases: [b.old] }, { when: service.name.startsWith("s1"), host: one.mesh }]',
  'policies: [{ when: service.metadata.team == "x", host: "{{ service.name }}.team" }]',
  'policies: [{ when: has(service.metadata.alias), aliases: ["{{ service.metadata.alias }}.old"] }, { when: service.name == "s5", drop: true }]',
  'policies: [{ when: service.group == "g1", host: "{{ service.group }}-{{ service.name }}.mesh" }]',
];
const templates = ['', '{{ service.name }}.mesh', '{{ service.name }}.{{ service.group }}.mesh', 'preset:name'];

describe('shards over several Pontoons', function () {
  this.timeout(60_000);
  it('divides hosts as listeners do', () => {
    for (const of of [1, 2, 16, 64, 256]) {
      expect(shardOf('orders.eureka', of)).to.equal(bucketOf('orders.eureka') % of);
      const parts = Array.from({ length: of }, (_, shard) => ({ from: shard, to: shard, of }));
      expect(parts.filter((part) => isServed('orders.eureka', part))).to.have.length(1);
    }
    expect(isServed('orders.eureka', undefined)).to.equal(true);
  });

  for (let seed = 1; seed <= 30; seed++)
    it(`together are one Pontoon that serves all (seed ${seed})`, () => {
      const below = random(seed);
      const pick = <T>(values: readonly T[]): T => values[below(values.length)] as T;
      const some = (): RegistryService[] => {
        const found = Array.from({ length: 40 }, () => {
          const instances = Array.from({ length: below(3) }, () => instance(`10.0.0.${below(200) + 1}`, 8000));
          const key = { registry: pick(['a', 'b', 'c']), group: pick(['', 'g1', 'g2']) };
          const metadata = pick([{}, { team: 'x' }, { alias: `n${below(5)}` }]);
          return service(`s${below(30)}`, instances, { kind: 'file', key, metadata });
        });
        return [...new Map(found.map((one) => [serviceId(one.key), one])).values()];
      };
      const policy = pick(policies);
      const hosts = [pick(templates), pick(templates), pick(templates)];
      const one = pontoon(setting(policy, undefined, hosts));
      let parts: ReturnType<typeof pontoon>[] = [];
      for (let round = 0; round < 3; round++) {
        const configs = ranges(below).map((serve) => setting(policy, serve, hosts));
        const services = some();
        list(one, setting(policy, undefined, hosts), services, all);
        // Some of the Pontoons go on with other shards, some come or go.
        for (const { catalog } of parts.slice(configs.length)) catalog.close();
        parts = configs.map((config, index) => {
          const part = parts[index] ?? pontoon(config);
          part.catalog.configure(catalogSettings(config), registryPolicies(config));
          list(part, config, services, pick([all, withoutMetadata, nameAlone]));
          for (const host of part.catalog.services.keys()) expect(isServed(host, config.istio.serve)).to.equal(true);
          return part;
        });
        const together = parts.flatMap((part) => [...served(part)]).sort();
        expect(together).to.deep.equal([...served(one)].sort());
      }
      for (const { catalog } of [one, ...parts]) catalog.close();
    });

  it('read their parts only, where names tell the hosts', () => {
    const services = Array.from({ length: 1_000 }, (_, index) =>
      service(`s${index}`, [], { kind: 'file', key: { registry: 'a' } }),
    );
    const read = (policy: string, known: (service: RegistryService) => Foreseen) =>
      [0, 1, 2, 3].map((quarter) => {
        const serve = { from: quarter * 16, to: quarter * 16 + 15, of: 64 };
        const { policies } = setting(policy, serve);
        const kinds = { file: { host: '{{ service.name }}', nominalWeight: 1, protocol: 'http' } } as const;
        const foresight = new Foresight({ name: 'a', type: 'file', kinds }, policies, (host) => isServed(host, serve));
        return services.filter((service) => foresight.mayServe(known(service))).length;
      });
    const sum = (counts: number[]) => counts.reduce((total, count) => total + count, 0);
    expect(sum(read('policies: []', nameAlone))).to.equal(1_000);
    for (const count of read('policies: []', nameAlone)) expect(count).to.be.within(200, 300);
    // Metadata is asked for where the name alone does not say no.
    const conditional = 'policies: [{ when: service.name == "s1" && service.metadata.team == "x", host: one.mesh }]';
    expect(sum(read(conditional, nameAlone))).to.equal(1_003);
    expect(sum(read('policies: [{ when: service.metadata.team == "x", host: one.mesh }]', nameAlone))).to.equal(4_000);
    expect(sum(read('policies: [{ when: service.metadata.team == "x", exportTo: ["."] }]', nameAlone))).to.equal(1_000);
    // An alias of a host is read with all services of that host: by two Pontoons, or by one that has both.
    const alias = 'policies: [{ when: service.name == "s1", host: one.mesh, aliases: [old.mesh] }]';
    expect(sum(read(alias, nameAlone))).to.be.within(1_000, 1_001);
  });

  it('forgets at once, without a grace, what falls into a shard that leaves, and says where it is', () => {
    const catalog = new Catalog(
      { namespace: 'pontoon', exportTo: ['*'], grace: 600_000 },
      new VipAllocator(parseRanges(['241.0.0.0/8'])),
    );
    const config = setting('policies: []');
    const settings = catalogSettings(config);
    const registries = registryPolicies(config);
    const removed: string[] = [];
    const projection = new Projection(catalog);
    projection.on('change', (change) => removed.push(...change.removed.map(({ host }) => host)));
    catalog.configure(settings, registries);
    const services = ['one', 'two', 'three', 'gone'].map((name) =>
      service(name, [instance('10.0.0.1', 80)], { kind: 'file', key: { registry: 'a' } }),
    );
    catalog.view('a')?.update(services, [], cause('test'));
    const vips = new Map([...catalog.services.values()].map(({ host, vips }) => [host, vips]));
    const gone = services[3];
    if (gone !== undefined) catalog.view('a')?.update([], [gone.key], cause('test'));
    expect(catalog.services.get('gone')?.endpoints).to.deep.equal([]);
    const shard = shardOf('one', 256);
    catalog.configure({ ...settings, serve: { from: shard, to: shard, of: 256 } }, registries);
    expect([...catalog.services.keys()]).to.deep.equal(['one']);
    expect(removed.sort()).to.deep.equal(['gone', 'three', 'two']);
    expect(catalog.services.get('one')?.vips).to.deep.equal(vips.get('one'));
    expect(catalog.rejected()).to.deep.equal([]);
    expect(catalog.elsewhere().map(({ id }) => id)).to.deep.equal(['a///three/', 'a///two/']);
    expect(catalog.elsewhere()[1]?.reason).to.equal(
      `its host two falls into shard ${shardOf('two', 256)} of 256, which this Pontoon does not serve (it serves ${shard}-${shard}/256)`,
    );
    catalog.configure(settings, registries);
    expect(new Map([...catalog.services.values()].map(({ host, vips }) => [host, vips]))).to.deep.equal(
      new Map([...vips].filter(([host]) => host !== 'gone')),
    );
    catalog.close();
  });

  it('are divided by the ordinals of the StatefulSets in deploy/', () => {
    const documents = parseAllDocuments(readFileSync('deploy/shards.yaml', 'utf8')).map(
      (document) => document.toJS() as { kind: string; spec: { replicas: number; template: unknown } },
    );
    const sets = documents.filter(({ kind }) => kind === 'StatefulSet');
    expect(sets).to.have.length(2);
    for (const { spec } of sets) {
      const script = /args":\["([\s\S]*?)exec node/.exec(JSON.stringify(spec.template))?.[1] ?? '';
      const shell = JSON.parse(`"${script}echo $PONTOON_SERVE"`) as string;
      const ranges = Array.from({ length: spec.replicas }, (_, ordinal) =>
        execFileSync('sh', ['-c', shell], { env: { HOSTNAME: `pontoon-a-${ordinal}` }, encoding: 'utf8' }).trim(),
      );
      expect(ranges).to.deep.equal(['0-15/64', '16-31/64', '32-47/64', '48-63/64']);
    }
  });

  it('reads anew only where services are read one by one, and names depend on it', () => {
    const config = (serve: string, more = '') =>
      parseConfig(
        `registries: [{ name: f, type: file, path: x }, { name: zk, type: zookeeper, servers: [z] }]
istio: { serve: ${serve}, xds: [{ listen: "127.0.0.1:1", shards: 64 }] }\n${more}`,
        'p.yaml',
      );
    expect(sourceChanges(config('0-15/64'), config('0-31/64')).restarted).to.deep.equal(['zk']);
    expect(sourceChanges(config('0-15/64'), config('0-15/64', 'policies: [{ host: x.mesh }]')).restarted).to.deep.equal(
      ['zk'],
    );
    expect(
      sourceChanges(config('0-15/64'), config('0-15/64', 'policies: [{ exportTo: ["."] }]')).restarted,
    ).to.deep.equal([]);
  });
});
