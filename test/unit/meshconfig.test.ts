import { expect } from 'chai';
import { parse, parseAllDocuments } from 'yaml';
import { type IstioConfig, istioSchema } from '#config/istio.js';
import { Subject } from '#doctor/finding.js';
import { difference, lasting } from '#doctor/holdings.js';
import { compareSources, type IstiodSource } from '#doctor/sources.js';
import { adviseShards, type ConfigSource, meshConfigFragment } from '#istio/meshconfig.js';
import { createTime } from '#istio/resource.js';

interface Fragment {
  readonly configSources: readonly ConfigSource[];
}

function istio(input: object): IstioConfig {
  return istioSchema.parse(input);
}

const fragment = (input: object, context = {}) => parse(meshConfigFragment(istio(input), context)) as Fragment;
const addresses = (input: object, context = {}) => fragment(input, context).configSources.map(({ address }) => address);
const tls = { cert: 'a.pem', key: 'a.key' };

describe('the fragment for meshConfig', () => {
  it('names each shard in order, and the store that a list replaces', () => {
    expect(fragment({})).to.deep.equal({
      configSources: [{ address: 'xds://127.0.0.1:15310', tlsSettings: { mode: 'DISABLE' } }, { address: 'k8s://' }],
    });
    const xds = [{ listen: '[::1]:15400', shards: 4, address: 'pontoon.mesh' }];
    expect(addresses({ xds })).to.deep.equal([
      ...[15400, 15401, 15402, 15403].map((port) => `xds://pontoon.mesh:${port}`),
      'k8s://',
    ]);
  });

  it('says TLS once, with the authority itself', () => {
    const xds = [{ listen: '0.0.0.0:15400', shards: 2, tls, address: 'pontoon.mesh' }];
    const authority = () => '-----BEGIN CERTIFICATE-----\nabc\n-----END CERTIFICATE-----\n';
    const tlsSettings = { mode: 'SIMPLE', caCertificates: authority() };
    expect(fragment({ xds }, { authority }).configSources).to.deep.equal([
      { address: 'xds://pontoon.mesh:15400', tlsSettings },
      { address: 'xds://pontoon.mesh:15401', tlsSettings },
      { address: 'k8s://' },
    ]);
    expect(fragment({ xds }).configSources[1]?.tlsSettings).to.deep.equal({ mode: 'SIMPLE' });
  });

  it('has one document for each listener', () => {
    const xds = [{ listen: '127.0.0.1:1' }, { listen: '127.0.0.1:10', shards: 2, when: 'mesh.namespace == "shop"' }];
    const documents = parseAllDocuments(meshConfigFragment(istio({ xds }))).map((one) => one.toJS() as Fragment);
    expect(documents.map(({ configSources }) => configSources.length)).to.deep.equal([2, 3]);
  });

  it('knows ports that were left open when they are said, and shards of other processes by their ports', () => {
    expect(addresses({ xds: [{ listen: '127.0.0.1:0', shards: 2 }] }, { ports: [[7, 9]] })).to.deep.equal([
      'xds://127.0.0.1:7',
      'xds://127.0.0.1:9',
      'k8s://',
    ]);
    const shared = addresses({ serve: '1/2', xds: [{ listen: '127.0.0.1:5', shards: 2 }] });
    expect(shared).to.deep.equal(['xds://<the Pontoon of this shard>:5', 'xds://127.0.0.1:6', 'k8s://']);
  });

  it('names the directory of files, or nothing for Kubernetes alone', () => {
    expect(addresses({ xds: [], files: { directory: '/var/lib/x' } })).to.deep.equal(['fs:///var/lib/x', 'k8s://']);
    expect(meshConfigFragment(istio({ xds: [], kubernetes: {} }))).to.match(/^# Nothing is to be set/);
  });
});

describe('the number of shards', () => {
  it('follows the size of the catalog, as far as it helps', () => {
    const advised = (services: number, endpoints: number) => adviseShards({ services, endpoints }).shards;
    expect(advised(0, 0)).to.equal(1);
    expect(advised(500, 5_000)).to.equal(1);
    expect(advised(1_000, 10_000)).to.equal(2);
    expect(advised(10_000, 100_000)).to.equal(16);
    expect(advised(1_000_000, 10_000_000)).to.equal(64);
  });

  it('says what a change costs', () => {
    const { cost, now } = adviseShards({ services: 10_000, endpoints: 100_000 }, 4);
    expect(now).to.be.closeTo(4 * cost, 0.01);
  });
});

describe("istiod's configSources beside ours", () => {
  const subject = new Subject('istiod');
  const compare = (input: object, sources: readonly (string | IstiodSource)[]) =>
    compareSources(
      sources.map((source) => (typeof source === 'string' ? { address: source } : source)),
      { istio: istio(input) },
      subject,
    ).findings.map(({ verdict, found }) => `${verdict} ${found}`);
  const two = { xds: [{ listen: '127.0.0.1:5', shards: 2 }] };

  it('takes loopback by any name, and any name for a listener on all addresses', () => {
    expect(compare(two, ['xds://localhost:5', 'xds://[::1]:6', 'k8s://'])).to.deep.equal([
      'ok reads listener 127.0.0.1:5: all 2 shards',
    ]);
    const everywhere = { xds: [{ listen: '0.0.0.0:5', plaintext: true }] };
    expect(compare(everywhere, ['xds://any.where:5', 'k8s://'])).to.deep.equal([
      'ok reads listener 0.0.0.0:5: its one address',
    ]);
  });

  it('sees that none is ours', () => {
    expect(compare(two, ['xds://other.mesh:15010', 'k8s://'])).to.deep.equal([
      'fail none of our listeners is in its configSources; there is other ones: xds://other.mesh:15010',
    ]);
    expect(compare(two, [])).to.deep.equal([
      'fail none of our listeners is in its configSources; there is no xds:// source',
    ]);
  });

  it('asks for shards of other processes by their ports alone', () => {
    const part = { serve: '0/2', xds: [{ listen: '127.0.0.1:5', shards: 2 }] };
    expect(compare(part, ['xds://127.0.0.1:5', 'xds://pontoon-1.mesh:6', 'k8s://'])).to.deep.equal([
      'ok reads listener 127.0.0.1:5: all 2 shards',
    ]);
    expect(compare(part, ['xds://127.0.0.1:5', 'k8s://'])).to.deep.equal([
      'fail 1 shard of 2 not in its configSources',
    ]);
  });

  it('sees TLS on one side alone', () => {
    const secure = { xds: [{ listen: '127.0.0.1:5', tls }] };
    const mutual = { address: 'xds://127.0.0.1:5', tlsSettings: { mode: 'MUTUAL' } };
    expect(compare(secure, [mutual, 'k8s://'])).to.deep.equal(['fail tlsSettings.mode of xds://127.0.0.1:5 is MUTUAL']);
    const simple = { address: 'xds://127.0.0.1:5', tlsSettings: { mode: 'SIMPLE' } };
    expect(compare(secure, [simple, 'k8s://'])).to.deep.equal(['ok reads listener 127.0.0.1:5: its one address']);
    expect(compare({ xds: [{ listen: '127.0.0.1:5' }] }, [simple, 'k8s://'])).to.deep.equal([
      'fail tlsSettings.mode of xds://127.0.0.1:5 is SIMPLE',
    ]);
  });

  it('misses k8s:// more where Pontoon writes objects', () => {
    const sources = ['xds://127.0.0.1:5', 'xds://127.0.0.1:6'];
    expect(compare(two, sources)[1]).to.equal('warn k8s:// is not among its configSources');
    expect(compare({ ...two, kubernetes: {} }, sources)[1]).to.equal('fail k8s:// is not among its configSources');
  });
});

describe('what istiod holds beside what we have', () => {
  const ours = ['a', 'b', 'c'].map((name) => ({
    type: 'ServiceEntry',
    name: `n/${name}`,
    version: '1',
    bucket: 0,
    addresses: [],
    mesh: { host: `${name}.test`, name, namespace: 'n', registries: [], location: 'internal' as const },
  }));
  const pontoons = new Date(createTime.seconds * 1_000).toISOString();
  const entry = (name: string, resourceVersion: string, host = `${name}.test`, creationTimestamp = pontoons) => ({
    kind: 'ServiceEntry',
    metadata: { namespace: 'n', name, resourceVersion, creationTimestamp },
    spec: { hosts: [host] },
  });

  it('tells missing, other, extra and foreign ones apart', () => {
    const held = [
      entry('a', '1'),
      entry('b', '2'),
      entry('old', '1'),
      entry('theirs', '9', 'a.test', '2026-01-01T00:00:00Z'),
      entry('unrelated', '9', 'u.test', '2026-01-01T00:00:00Z'),
    ];
    expect(difference(held, ours)).to.deep.equal({
      missing: ['n/c'],
      other: ['n/b'],
      extra: ['n/old'],
      foreign: ['n/theirs (a.test)'],
      same: 1,
    });
  });

  it('counts only what two looks have in common', () => {
    const first = difference([entry('a', '1'), entry('b', '0')], ours);
    const second = difference([entry('a', '0'), entry('b', '0'), entry('c', '1')], ours);
    expect(lasting(first, second)).to.deep.include({ missing: [], other: ['n/b'], extra: [] });
  });
});
