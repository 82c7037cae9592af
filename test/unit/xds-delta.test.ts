import { expect } from 'chai';
import type { EncodedResource } from '#istio/resource.js';
import { DeltaDiscoveryRequest, DeltaDiscoveryResponse, DiscoveryResponse } from '#proto/xds/discovery.js';
import { DeltaStream } from '#sinks/xds/delta.js';
import { ShardedSets } from '#sinks/xds/set.js';

const entries = 'networking.istio.io/v1/ServiceEntry';
const mesh = { host: 'h', name: 'h', namespace: 'n', registries: [], location: 'internal' } as const;

function resource(name: string, version: string): EncodedResource {
  const field = DiscoveryResponse.encode(
    DiscoveryResponse.fromPartial({ resources: [{ typeUrl: 't', value: Buffer.from(`${name}=${version}`) }] }),
  ).finish();
  return { type: 'ServiceEntry', name, host: name, bucket: 0, mesh, version, field };
}

function harness(ready = true) {
  const sets = new ShardedSets(1, ({ mesh: { namespace } }) => namespace === 'n');
  const [set] = sets.sets;
  if (set === undefined) throw new Error('there is a shard');
  set.ready = ready;
  sets.apply({ set: [resource('a', '1'), resource('b', '2'), resource('c', '3')], removed: [] });
  const responses: DeltaDiscoveryResponse[] = [];
  const flow = { open: true };
  const stream: DeltaStream = new DeltaStream(
    { id: 's', peer: 'peer', listener: 'l', shard: 0, identity: undefined },
    set,
    {
      write: (message) => {
        responses.push(DeltaDiscoveryResponse.decode(message));
        if (flow.open) stream.written();
      },
      sent: () => undefined,
    },
  );
  const request = (more: Partial<DeltaDiscoveryRequest>) =>
    stream.request(DeltaDiscoveryRequest.fromPartial({ typeUrl: entries, ...more }));
  const change = (changed: EncodedResource[], removed: EncodedResource[] = []) => {
    for (const names of sets.apply({ set: changed, removed }).values()) stream.changed(names, 'r', 0);
    stream.push();
  };
  /** The last response: `name=content@version` of what it has, `-name` of what it removes. */
  const last = () => {
    const { resources = [], removedResources = [] } = responses.at(-1) ?? {};
    const there = resources.map((one) => `${one.name}:${one.resource?.value.toString()}@${one.version}`);
    return [...there, ...removedResources.map((name) => `-${name}`)].sort();
  };
  return { set, stream, responses, flow, request, change, last };
}

describe('xDS delta stream', () => {
  it('answers a subscription to everything with everything, then with what changes and what goes', () => {
    const { request, responses, change, last } = harness();
    request({});
    expect(last()).to.deep.equal(['a:a=1@1', 'b:b=2@2', 'c:c=3@3']);
    expect(responses[0]?.typeUrl).to.equal(entries);
    change([resource('a', '5')]);
    expect(last()).to.deep.equal(['a:a=5@5']);
    change([resource('d', '4')], [resource('b', '2')]);
    expect(last()).to.deep.equal(['-b', 'd:d=4@4']);
    expect(responses).to.have.length(3);
    expect(responses[2]?.systemVersionInfo).to.not.equal(responses[1]?.systemVersionInfo);
    expect(new Set(responses.map(({ nonce }) => nonce)).size).to.equal(3);
  });

  it('after a reconnection sends what differs and removes what is gone, nothing else', () => {
    const { request, last, responses } = harness();
    request({ initialResourceVersions: { a: '1', b: 'old', gone: '7' } });
    expect(last()).to.deep.equal(['-gone', 'b:b=2@2', 'c:c=3@3']);
    expect(responses).to.have.length(1);
  });

  it('answers a reconnection without differences once, with nothing', () => {
    const { request, last, responses } = harness();
    request({ initialResourceVersions: { a: '1', b: '2', c: '3' } });
    expect(responses).to.have.length(1);
    expect(last()).to.deep.equal([]);
  });

  it('sends those that are asked for by name, says which there are none of, and forgets those that are given up', () => {
    const { request, last, change, responses } = harness();
    request({ resourceNamesSubscribe: ['a', 'z'] });
    expect(last()).to.deep.equal(['-z', 'a:a=1@1']);
    change([resource('b', '9')]);
    expect(responses).to.have.length(1);
    change([resource('z', '1')]);
    expect(last()).to.deep.equal(['z:z=1@1']);
    request({ resourceNamesUnsubscribe: ['a'], responseNonce: responses.at(-1)?.nonce ?? '' });
    change([resource('a', '8')]);
    expect(responses).to.have.length(2);
  });

  it('takes an ACK that asks for more as both, and answers a name again that is asked for again', () => {
    const { request, last, responses, stream } = harness();
    request({ resourceNamesSubscribe: ['a'] });
    request({ resourceNamesSubscribe: ['b'], responseNonce: responses[0]?.nonce ?? '' });
    expect(stream.state().subscriptions[0]?.counts.acknowledged).to.equal(1);
    expect(last()).to.deep.equal(['b:b=2@2']);
    request({ resourceNamesSubscribe: ['a'] });
    expect(last()).to.deep.equal(['a:a=1@1']);
    expect(responses).to.have.length(3);
  });

  it('ends a subscription to everything, and keeps the names beside it', () => {
    const { request, change, responses, last } = harness();
    request({ resourceNamesSubscribe: ['*', 'a'] });
    request({ resourceNamesUnsubscribe: ['*'] });
    change([resource('b', '9')]);
    expect(responses).to.have.length(1);
    change([resource('a', '9')]);
    expect(last()).to.deep.equal(['a:a=9@9']);
  });

  it('never answers an ACK or a NACK, and keeps what a NACK says', () => {
    const { request, responses, stream } = harness();
    request({});
    request({ responseNonce: responses[0]?.nonce ?? '' });
    request({ responseNonce: responses[0]?.nonce ?? '', errorDetail: { code: 3, message: 'bad entry' } });
    expect(responses).to.have.length(1);
    expect(stream.state().subscriptions[0]?.refused).to.equal('bad entry');
    expect(stream.state().subscriptions[0]?.counts).to.deep.equal({ sent: 1, acknowledged: 1, refused: 1 });
  });

  it('withholds its answer until the set is complete, and then has all of it', () => {
    const { request, responses, set, change, last, stream } = harness(false);
    request({ initialResourceVersions: { a: '1', gone: '7' } });
    change([resource('d', '4')]);
    expect(responses).to.deep.equal([]);
    set.ready = true;
    stream.push();
    expect(last()).to.deep.equal(['-gone', 'b:b=2@2', 'c:c=3@3', 'd:d=4@4']);
  });

  it('gives a slow reader what is newest when it is ready for it, as one', () => {
    const { request, responses, flow, change, last, stream } = harness();
    flow.open = false;
    request({});
    for (const version of ['4', '5', '6']) change([resource('a', version)]);
    change([resource('e', '1')]);
    change([], [resource('e', '1'), resource('b', '2')]);
    expect(responses).to.have.length(1);
    flow.open = true;
    stream.written();
    expect(responses).to.have.length(2);
    expect(last()).to.deep.equal(['-b', 'a:a=6@6']);
  });

  it('says nothing of a change that was taken back', () => {
    const { request, responses, change, flow, stream } = harness();
    flow.open = false;
    request({});
    change([resource('a', '7')]);
    change([resource('a', '1')]);
    flow.open = true;
    stream.written();
    expect(responses).to.have.length(1);
  });

  it('removes what its condition takes no longer', () => {
    const { request, change, last } = harness();
    request({});
    change([{ ...resource('a', '1'), mesh: { ...mesh, namespace: 'other' } }]);
    expect(last()).to.deep.equal(['-a']);
  });

  it('answers types that it makes none of with nothing, once', () => {
    const { request, responses, stream } = harness();
    request({ typeUrl: 'networking.istio.io/v1/DestinationRule' });
    stream.push();
    expect(responses).to.have.length(1);
    expect(responses[0]?.resources).to.deep.equal([]);
  });

  it('bounds the names that one client may ask for', () => {
    const { request } = harness();
    expect(() => request({ resourceNamesSubscribe: Array.from({ length: 100_001 }, (_, i) => `n${i}`) })).to.throw(
      'more than 100000 names',
    );
  });
});
