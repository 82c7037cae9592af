import { expect } from 'chai';
import { decodeInParts } from '#adapters/eureka/decode.js';
import { applyDelta, keepOf, LeaseCollector, type Leases } from '#adapters/eureka/leases.js';
import { VipLookup } from '#adapters/eureka/lookup.js';
import { toService } from '#adapters/eureka/service.js';

const lease = (instanceId: string, fields: object = {}) => ({
  instanceId,
  ipAddr: '10.0.0.1',
  status: 'UP',
  port: { $: 8080, '@enabled': 'true' },
  securePort: { $: 8443, '@enabled': 'false' },
  actionType: 'ADDED',
  ...fields,
});
const off = { $: 8080, '@enabled': 'false' };
const secure = { $: 8443, '@enabled': 'true' };

const decoded = (applications: Record<string, object[]>) =>
  [
    ...decodeInParts(
      Object.entries(applications).map(([name, instance]) => ({ name, instance })),
      500,
    ),
  ].flat();

function leasesOf(applications: Record<string, object[]>): Leases {
  const collector = new LeaseCollector();
  collector.add(decoded(applications));
  return collector.leases;
}

/** `service: id:port+port id:port` of each. */
async function shown(leases: Leases, lookup = new VipLookup()): Promise<string[]> {
  return [...(await lookup.services(leases))]
    .map(([name, members]) => {
      const { instances } = toService('eu', name, members);
      const texts = instances.map(({ id, ports }) => `${id}:${ports.map(({ number }) => number).join('+')}`);
      return `${name}: ${texts.sort().join(' ')}`;
    })
    .sort();
}

describe('Eureka: lookup by VIP', () => {
  it('joins what several applications offer under one name, and takes lists of names', async () => {
    const leases = leasesOf({
      ORDERS: [lease('a', { vipAddress: 'Orders, orders.old' })],
      'ORDERS-NEXT': [lease('a', { vipAddress: 'orders' }), lease('b', { vipAddress: 'orders' })],
    });
    expect(await shown(leases)).to.deep.equal(['orders.old: a:8080', 'orders: a:8080 a:8080 b:8080']);
  });

  it('gives a VIP the plain ports and a secure VIP the secure ones', async () => {
    const both = { securePort: secure, vipAddress: 'plain', secureVipAddress: 'safe' };
    expect(await shown(leasesOf({ A: [lease('a', both)] }))).to.deep.equal(['plain: a:8080', 'safe: a:8443']);
    expect(await shown(leasesOf({ A: [lease('a', { ...both, secureVipAddress: 'plain' })] }))).to.deep.equal([
      'plain: a:8080+8443',
    ]);
    expect(await shown(leasesOf({ A: [lease('a', { ...both, port: off })] }))).to.deep.equal([
      'plain: a:8443',
      'safe: a:8443',
    ]);
    expect(await shown(leasesOf({ A: [lease('a', { vipAddress: 'plain', secureVipAddress: 'safe' })] }))).to.deep.equal(
      ['plain: a:8080'],
    );
  });

  it("counts an instance without a VIP under its application's name, and rejects within its VIP", async () => {
    const leases = leasesOf({ A: [lease('a'), lease('b', { ipAddr: '', vipAddress: 'v' })] });
    expect(await shown(leases)).to.deep.equal(['a: a:8080', 'v: ']);
    const members = (await new VipLookup().services(leases)).get('v');
    expect(members && toService('eu', 'v', members).rejected).to.deep.equal([{ record: 'b', reason: 'no address' }]);
  });

  it('leaves services alone that a change does not touch', async () => {
    const lookup = new VipLookup();
    const before = leasesOf({ A: [lease('a', { vipAddress: 'x' })], B: [lease('b', { vipAddress: 'y' })] });
    const after = applyDelta(before, decoded({ B: [lease('b', { vipAddress: 'z' })] }));
    const [old, now] = [await lookup.services(before), await lookup.services(after)];
    expect([...now.keys()]).to.deep.equal(['x', 'z']);
    expect(now.get('x')).to.equal(old.get('x'));
  });

  it('keeps of lost services what another server still has, and nothing that has only moved', () => {
    const lookup = new VipLookup();
    const second = leasesOf({
      A: [lease('gone', { vipAddress: 'x' }), lease('moved', { vipAddress: 'x' }), lease('other', { vipAddress: 'y' })],
    });
    const wanted = leasesOf({ A: [lease('moved', { vipAddress: 'z' })] });
    const kept = keepOf(wanted, second, (name, each) => [...lookup.names(name, each)].includes('x'));
    expect([...(kept.get('A')?.keys() ?? [])]).to.deep.equal(['moved', 'gone']);
    expect(keepOf(wanted, second, () => false)).to.equal(wanted);
  });
});

describe('Eureka: names as metadata', () => {
  const serviceOf = (...instances: object[]) => {
    const application = leasesOf({ A: instances }).get('A');
    if (application === undefined) throw new Error('no application');
    return toService('eu', 'A', application);
  };

  it('are the VIPs and the group', () => {
    const service = serviceOf(lease('a', { vipAddress: 'v', secureVipAddress: 's', appGroupName: 'SHOP' }));
    expect(service.metadata).to.deep.equal({ vipAddress: 'v', secureVipAddress: 's', appGroupName: 'SHOP' });
    expect(serviceOf(lease('a', { appGroupName: 'UNKNOWN' })).metadata).to.deep.equal({});
  });

  it('are the first of several, with a note', () => {
    const service = serviceOf(lease('b', { vipAddress: 'y' }), lease('a', { vipAddress: 'x' }), lease('c'));
    expect(service.metadata).to.deep.equal({ vipAddress: 'x' });
    expect(service.notes).to.deep.equal([
      { record: 'A', text: 'its instances say different vipAddress: x and y; templates get the first' },
    ]);
  });
});
