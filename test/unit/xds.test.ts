import { expect } from 'chai';
import type { EncodedResource, ResourceType } from '#istio/resource.js';
import { DiscoveryRequest, DiscoveryResponse } from '#proto/xds/discovery.js';
import { ShardedSets } from '#sinks/xds/set.js';
import { SotwStream } from '#sinks/xds/sotw.js';
import type { Connection } from '#sinks/xds/stream.js';
import { compatibility } from '#sinks/xds/workarounds.js';

const entries = 'networking.istio.io/v1/ServiceEntry';
const rules = 'networking.istio.io/v1/DestinationRule';

const mesh = { host: 'h', name: 'h', namespace: 'n', registries: [], location: 'internal' } as const;

function resource(name: string, version: string, bucket = 0): EncodedResource {
  const field = DiscoveryResponse.encode(
    DiscoveryResponse.fromPartial({ resources: [{ typeUrl: 't', value: Buffer.from(`${name}=${version}`) }] }),
  ).finish();
  return { type: 'ServiceEntry', name, host: name, bucket, mesh, version, field };
}

const connection: Connection = { id: 's', peer: 'peer', listener: 'l', shard: 0, identity: undefined };

/** One set, and what changes it. */
function oneSet(mayShow?: (type: ResourceType) => boolean) {
  const sets = new ShardedSets(1, undefined, mayShow);
  const [own] = sets.sets;
  if (own === undefined) throw new Error('there is a shard');
  return { own, apply: (change: Parameters<ShardedSets['apply']>[0]) => sets.apply(change).get(0) };
}

function harness(ready = true, mayShow?: (type: ResourceType) => boolean) {
  const set = oneSet(mayShow);
  set.own.ready = ready;
  set.apply({ set: [resource('b', '2'), resource('a', '1')], removed: [] });
  const responses: DiscoveryResponse[] = [];
  const flow = { open: true };
  const sent: ReadonlyMap<string, number>[] = [];
  const stream: SotwStream = new SotwStream(connection, set.own, {
    write: (message) => {
      responses.push(DiscoveryResponse.decode(message));
      if (flow.open) stream.written();
    },
    sent: (changes) => sent.push(changes),
  });
  const request = (typeUrl: string, responseNonce = '', more: Partial<DiscoveryRequest> = {}) =>
    stream.request(DiscoveryRequest.fromPartial({ typeUrl, responseNonce, ...more }));
  const contents = () => responses.at(-1)?.resources.map(({ value }) => value.toString());
  return { set, stream, responses, flow, request, contents, sent };
}

describe('xDS stream', () => {
  it('answers a subscription with the whole set, in order, under the URL that was asked', () => {
    const { request, responses, contents } = harness();
    request('networking.istio.io/v1alpha3/ServiceEntry');
    expect(responses[0]?.typeUrl).to.equal('networking.istio.io/v1alpha3/ServiceEntry');
    expect(contents()).to.deep.equal(['a=1', 'b=2']);
  });

  it('answers types that it makes none of with an empty set, once', () => {
    const { request, responses, stream } = harness();
    request(rules);
    expect(responses).to.have.length(1);
    expect(responses[0]?.resources).to.deep.equal([]);
    request(rules, responses[0]?.nonce);
    stream.push();
    expect(responses).to.have.length(1);
  });

  it('tells when a change was sent, whichever type was subscribed to first', () => {
    const { request, set, stream, sent } = harness();
    request('networking.istio.io/v1/Gateway');
    request(entries);
    const names = set.apply({ set: [resource('a', '9')], removed: [] });
    if (names === undefined) throw new Error('nothing has changed');
    stream.changed(names, 'r', 10);
    expect(stream.state().pending).to.be.greaterThan(0);
    sent.length = 0;
    stream.push();
    expect(sent.map((changes) => [...changes])).to.deep.equal([[['r', 10]]]);
    expect(stream.state().pending).to.equal(undefined);
  });

  it('takes a nonce that it never issued for a new subscription', () => {
    const { request, responses } = harness();
    request(entries, '2026-11-01T00:00:00Z');
    request(entries, 'another/1');
    expect(responses).to.have.length(2);
  });

  it('never answers an ACK, neither a current nor a stale one', () => {
    const { request, responses, set, stream } = harness();
    request(entries);
    set.apply({ set: [resource('a', '3')], removed: [] });
    stream.push();
    expect(responses).to.have.length(2);
    request(entries, responses[0]?.nonce);
    expect(stream.state().subscriptions[0]?.acknowledged).to.equal(undefined);
    request(entries, responses[1]?.nonce);
    expect(stream.state().subscriptions[0]?.acknowledged?.version).to.equal(responses[1]?.versionInfo);
    expect(responses).to.have.length(2);
  });

  it('keeps what a client says when it refuses, and does not send the same again', () => {
    const { request, responses, stream } = harness();
    request(entries);
    request(entries, responses[0]?.nonce, { errorDetail: { code: 3, message: 'bad entry' } });
    stream.push();
    expect(responses).to.have.length(1);
    expect(stream.state().subscriptions[0]?.refused).to.equal('bad entry');
  });

  it('goes on without waiting for an ACK', () => {
    const { request, responses, set, stream, contents } = harness();
    request(entries);
    set.apply({ set: [], removed: [resource('a', '1')] });
    stream.push();
    expect(responses).to.have.length(2);
    expect(contents()).to.deep.equal(['b=2']);
  });

  it('withholds a type until all is known of it, and answers the others', () => {
    const known = { ports: false };
    const { request, responses, stream } = harness(true, (type) => type === 'ServiceEntry' || known.ports);
    const gateways = 'networking.istio.io/v1/Gateway';
    request(gateways);
    request(entries);
    expect(responses.map(({ typeUrl }) => typeUrl)).to.deep.equal([entries]);
    known.ports = true;
    stream.push();
    expect(responses.map(({ typeUrl }) => typeUrl)).to.deep.equal([entries, gateways]);
  });

  it('withholds its answer until the set is complete; other types are answered', () => {
    const { request, responses, set, stream, contents } = harness(false);
    request(entries);
    request(rules);
    expect(responses.map(({ typeUrl }) => typeUrl)).to.deep.equal([rules]);
    set.own.ready = true;
    stream.push();
    expect(contents()).to.deep.equal(['a=1', 'b=2']);
  });

  it('sends a slow reader the newest set when it is ready for it, never a queue', () => {
    const { request, responses, set, stream, flow, contents } = harness();
    flow.open = false;
    request(entries);
    for (const version of ['4', '5', '6']) {
      set.apply({ set: [resource('a', version)], removed: [] });
      stream.push();
    }
    expect(responses).to.have.length(1);
    flow.open = true;
    stream.written();
    expect(responses).to.have.length(2);
    expect(contents()).to.deep.equal(['a=6', 'b=2']);
  });

  it('tells when changes went out, and since when they were known, also to a slow reader', () => {
    const { request, set, stream, flow, sent } = harness();
    request(entries);
    sent.length = 0;
    const change = (version: string, observedAt: number) => {
      set.apply({ set: [resource('a', version)], removed: [] });
      stream.changed(new Map([['ServiceEntry', ['a']]]), 'r', observedAt);
      stream.push();
    };
    flow.open = false;
    change('4', 10);
    change('5', 20);
    change('6', 30);
    expect(sent.map((changes) => [...changes])).to.deep.equal([[['r', 10]]]);
    flow.open = true;
    stream.written();
    expect(sent.map((changes) => [...changes])).to.deep.equal([[['r', 10]], [['r', 20]]]);
  });

  it('sends nothing when a change has been taken back', () => {
    const { request, responses, set, stream } = harness();
    request(entries);
    set.apply({ set: [resource('a', '7')], removed: [] });
    set.apply({ set: [resource('a', '1')], removed: [] });
    stream.push();
    expect(responses).to.have.length(1);
  });

  it('serves a client nothing that is held back, and the newest then', () => {
    const { request, responses, set, stream, contents } = harness();
    stream.hold();
    request(entries);
    set.apply({ set: [resource('a', '9')], removed: [] });
    stream.push();
    expect(responses).to.deep.equal([]);
    stream.written();
    expect(responses).to.have.length(1);
    expect(contents()).to.deep.equal(['a=9', 'b=2']);
  });

  it('bounds what one client may ask for', () => {
    const { request } = harness();
    for (let index = 0; index < 64; index++) request(`type/${index}`);
    expect(() => request('one/more')).to.throw('more than 64 types');
    expect(() => harness().request('x'.repeat(257))).to.throw('type URL of over 256 letters');
  });
});

describe('shards', () => {
  it('each holds the buckets of its number, and a change touches those of its resources only', () => {
    const sets = new ShardedSets(4);
    const touched = sets.apply({
      set: [resource('a', '1', 1), resource('b', '2', 5), resource('c', '3', 7)],
      removed: [],
    });
    expect([...touched.keys()]).to.deep.equal([1, 3]);
    expect(touched.get(1)?.get('ServiceEntry')).to.deep.equal(['a', 'b']);
    expect(sets.sets.map(({ size }) => size)).to.deep.equal([0, 2, 0, 1]);
    expect([...sets.apply({ set: [resource('a', '1', 1)], removed: [resource('c', '3', 7)] }).keys()]).to.deep.equal([
      3,
    ]);
  });

  it('serve what the filter takes, and remove what it takes no longer', () => {
    const sets = new ShardedSets(1, ({ mesh }) => mesh.namespace === 'shop');
    const inNamespace = (namespace: string) => {
      const one = resource('a', '1');
      return { set: [{ ...one, mesh: { ...one.mesh, namespace } }], removed: [] };
    };
    expect(sets.apply(inNamespace('other')).size).to.equal(0);
    expect(sets.apply(inNamespace('shop')).size).to.equal(1);
    expect(sets.sets[0]?.size).to.equal(1);
    expect(sets.apply(inNamespace('other')).get(0)?.get('ServiceEntry')).to.deep.equal(['a']);
    expect(sets.sets[0]?.size).to.equal(0);
  });
});

describe('the version of a client', () => {
  const of = (said: string, ...typeUrls: string[]) =>
    compatibility({ said, typeUrls, madeUpNonce: false, protocol: 'sotw' });

  it('is what it says, unless that is the placeholder of its library: then what its types tell', () => {
    expect(of('1.29.3', entries).version).to.equal('1.29.3');
    expect(of('65536.65536.65536', entries).version).to.equal('1.24 or later');
    expect(of('', 'networking.istio.io/v1alpha3/ServiceEntry').version).to.equal('before 1.24');
    expect(of('', entries, 'extensions.istio.io/v1alpha1/TrafficExtension').version).to.equal('1.30 or later');
    expect(of('', rules).version).to.equal('');
  });

  it('says what is done for it; what is unknown counts as old', () => {
    const ofOld = ['same-address label', 'name in one source only'];
    expect(of('1.31.0', entries).workarounds).to.deep.equal([]);
    expect(of('1.29.3', entries).workarounds).to.deep.equal(ofOld);
    expect(of('next', entries).workarounds).to.deep.equal(ofOld);
    expect(of('', 'networking.istio.io/v1alpha3/ServiceEntry').workarounds).to.deep.equal([
      'v1alpha3 type URL',
      ...ofOld,
    ]);
    expect(of('', rules).workarounds).to.deep.equal([]);
  });
});

describe('a set in blocks', () => {
  const resource = (name: string, value: number): EncodedResource => ({
    type: 'ServiceEntry',
    name,
    host: name,
    bucket: 0,
    mesh: undefined as never,
    version: value.toString(16).padStart(16, '0'),
    field: Buffer.from(`${name} ${value};`),
  });
  const bytes = (sets: ShardedSets): string =>
    Buffer.concat([...(sets.sets[0]?.of('ServiceEntry').blocks ?? [])]).toString();

  it('is the resources in the order of their names after whatever changes', () => {
    const sets = new ShardedSets(1);
    const held = new Map<string, number>();
    // Always the same numbers, without a pattern that a block could have.
    let seed = 7;
    const next = (below: number): number => {
      seed = (seed * 48_271) % 2_147_483_647;
      return seed % below;
    };
    for (let step = 0; step < 2_000; step++) {
      const name = `s${next(step < 600 ? 400 : 500)}`;
      const isGone = step > 600 && next(5) === 0;
      if (isGone) held.delete(name);
      else held.set(name, step);
      const one = resource(name, step);
      sets.apply(isGone ? { set: [], removed: [one] } : { set: [one], removed: [] });
      if (step % 7 !== 0) continue;
      const expected = [...held].sort(([a], [b]) => (a < b ? -1 : 1)).map(([name, value]) => `${name} ${value};`);
      expect(bytes(sets)).to.equal(expected.join(''));
    }
  });

  it('keeps the blocks that a change does not touch', () => {
    const sets = new ShardedSets(1);
    const names = Array.from({ length: 300 }, (_, index) => `s${index}`);
    sets.apply({ set: names.map((name) => resource(name, 1)), removed: [] });
    const before = sets.sets[0]?.of('ServiceEntry').blocks ?? [];
    sets.apply({ set: [resource('s17', 2)], removed: [] });
    const after = sets.sets[0]?.of('ServiceEntry').blocks ?? [];
    expect(after.filter((block, index) => block !== before[index])).to.have.length(1);
  });
});
