import { expect } from 'chai';
import { decodePeerAuthentication, PeerPolicies } from '#adapters/kubernetes/mtls.js';
import type { PublicationConfig } from '#config/publications.js';
import type { MeshService } from '#model/mesh.js';
import { strictText } from '#model/workload.js';
import type { TargetKind } from '#publish/contract.js';
import { wanted } from '#publish/desired.js';
import { Publication } from '#publish/publication.js';

interface Said {
  readonly mode?: string;
  readonly labels?: Readonly<Record<string, string>>;
  readonly ports?: Readonly<Record<number, { mode?: string }>>;
  readonly created?: string;
}

function policies(said: Readonly<Record<string, Said>>): PeerPolicies {
  const made = new PeerPolicies('istio-system');
  for (const [id, { mode, labels, ports, created = '2026-01-01T00:00:00Z' }] of Object.entries(said)) {
    const [namespace, name] = id.split('/') as [string, string];
    const spec = {
      ...(labels && { selector: { matchLabels: labels } }),
      ...(mode === undefined ? {} : { mtls: { mode } }),
      ...(ports && { portLevelMtls: ports }),
    };
    const object = { metadata: { namespace, name, creationTimestamp: created }, spec };
    made.set(id, decodePeerAuthentication(object));
  }
  return made;
}

/** At which ports the pod `app=orders` of the namespace `shop` is strict. */
function strict(said: Readonly<Record<string, Said>>): string | undefined {
  const found = policies(said).strictOf('shop', { app: 'orders' });
  return found && strictText(found);
}

const app = { app: 'orders' };

describe('PeerAuthentications', () => {
  it('are composed as istiod does: the pod’s, its namespace’s, the mesh’s', () => {
    expect(strict({})).to.equal(undefined);
    expect(strict({ 'istio-system/a': { mode: 'STRICT' } })).to.equal('all');
    expect(strict({ 'istio-system/a': { mode: 'STRICT' }, 'shop/a': { mode: 'DISABLE' } })).to.equal(undefined);
    expect(strict({ 'istio-system/a': { mode: 'STRICT' }, 'shop/a': { mode: 'UNSET' } })).to.equal('all');
    expect(strict({ 'istio-system/a': { mode: 'STRICT' }, 'shop/a': {} })).to.equal('all');
    expect(strict({ 'shop/a': { mode: 'PERMISSIVE' }, 'shop/b': { mode: 'STRICT', labels: app } })).to.equal('all');
    expect(strict({ 'shop/b': { mode: 'STRICT', labels: { app: 'pay' } } })).to.equal(undefined);
    expect(strict({ 'pay/a': { mode: 'STRICT' } })).to.equal(undefined);
  });

  it('say ports of their own, with a selector only, and what a port does not say is as the rest', () => {
    const ports = { 8080: { mode: 'DISABLE' }, 9090: { mode: 'STRICT' }, 7070: {} };
    expect(strict({ 'shop/a': { mode: 'STRICT', labels: app, ports } })).to.equal('all but 8080');
    expect(strict({ 'shop/a': { labels: app, ports } })).to.equal('9090');
    expect(strict({ 'istio-system/a': { mode: 'STRICT' }, 'shop/a': { labels: app, ports } })).to.equal('all but 8080');
    expect(strict({ 'shop/a': { ports } })).to.equal(undefined);
  });

  it('count once on each level, the oldest; one with a selector in the root namespace for nobody', () => {
    const [older, newer] = ['2026-01-01T00:00:00Z', '2026-01-02T00:00:00Z'];
    expect(
      strict({ 'shop/a': { mode: 'STRICT', created: newer }, 'shop/b': { mode: 'PERMISSIVE', created: older } }),
    ).to.equal(undefined);
    expect(strict({ 'istio-system/a': { mode: 'STRICT', labels: app } })).to.equal(undefined);
    expect(policies({ 'istio-system/a': { mode: 'STRICT', labels: app } }).strictOf('istio-system', app)).to.equal(
      undefined,
    );
  });
});

describe('a pod that takes mutual TLS only', () => {
  const kind: TargetKind = {
    fields: {},
    as: '{{ mesh.name }}',
    nominalWeight: 1,
    hasWeights: true,
    seenWithin: 0,
    key: (name) => ({ namespace: '', group: '', name, version: '' }),
    target: () => {
      throw new Error('nothing is written here');
    },
  };
  const endpoint = { weight: 100, draining: false, locality: undefined, network: undefined, labels: {}, origins: [] };
  const service: MeshService = {
    host: 'orders.mesh',
    namespace: 'shop',
    exportTo: ['*'],
    location: 'internal',
    revision: undefined,
    vips: [],
    ports: [
      { name: 'http', number: 80, protocol: 'http' },
      { name: 'http-admin', number: 90, protocol: 'http' },
    ],
    identities: [],
    native: true,
    resolution: 'static',
    uniform: true,
    endpoints: [
      { ...endpoint, address: '10.0.0.1', ports: { http: 8080, 'http-admin': 9090 }, strict: [8080] },
      { ...endpoint, address: '10.0.0.2', ports: { http: 8080, 'http-admin': 9090 } },
    ],
    unreachable: [],
    origins: [{ registry: 'k8s', namespace: 'shop', group: '', name: 'orders', version: '' }],
  };
  const publish = (port: number) => {
    const metadata = { copy: [], drop: [], set: {} };
    const common = { name: 'p', when: 'true', to: 'r', port, metadata, draining: 'down', paused: false } as const;
    const config: PublicationConfig = { ...common, addresses: 'instances' };
    const publication = new Publication(config, 0, { type: 'test', kind });
    const gateways = { gateways: [], port: () => undefined, error: undefined };
    const none = { owner: 'o', run: 'r', serviceOf: () => undefined, isOwn: () => false, gateways };
    const want = wanted(service, publication, none);
    if (want === undefined || !('refused' in want)) throw new Error(`not wanted: ${JSON.stringify(want)}`);
    return { refused: want.refused, addresses: want.service.instances.map(({ address }) => address) };
  };

  it('is refused to callers outside the mesh with the reason, and with what to do; the other pods are published', () => {
    const { refused, addresses } = publish(80);
    expect(addresses).to.deep.equal(['10.0.0.2']);
    expect(refused).to.have.length(1);
    expect(refused[0]?.record).to.include('10.0.0.1');
    expect(refused[0]?.reason).to.match(/takes mutual TLS only .* use addresses: gateway$/);
  });

  it('is published with a port at which it takes plaintext', () => {
    expect(publish(90)).to.deep.equal({ refused: [], addresses: ['10.0.0.1', '10.0.0.2'] });
  });
});
