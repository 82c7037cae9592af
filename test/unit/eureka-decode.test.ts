import { readFileSync } from 'node:fs';
import { expect } from 'chai';
import { decodeDocument, decodeInParts, decodeLease, effectiveStatus } from '#adapters/eureka/decode.js';
import { applyDelta, hashCode, keepMissing, LeaseCollector, type Leases } from '#adapters/eureka/leases.js';
import { sameService, toService } from '#adapters/eureka/service.js';
import type { Instance } from '#model/service.js';

const sample = (name: string): unknown =>
  JSON.parse(readFileSync(new URL(`../../../test/real/eureka/samples/${name}.json`, import.meta.url), 'utf8'));

const lease = (fields: object = {}) => ({
  instanceId: 'one',
  hostName: 'orders-1.local',
  app: 'ORDERS',
  ipAddr: '10.0.0.1',
  status: 'UP',
  overriddenStatus: 'UNKNOWN',
  port: { $: 8080, '@enabled': 'true' },
  securePort: { $: 443, '@enabled': 'false' },
  metadata: {},
  lastUpdatedTimestamp: '1795385902734',
  actionType: 'ADDED',
  ...fields,
});

const instanceOf = (raw: unknown): Instance => {
  const { content } = decodeLease(raw, 0);
  if (typeof content === 'string') throw new Error(content);
  return content;
};

function leasesOf(...applications: unknown[]): Leases {
  const collector = new LeaseCollector();
  for (const part of decodeInParts(applications, 500)) collector.add(part);
  return collector.leases;
}

describe('Eureka: decode', () => {
  it('reads a full answer of a Spring Cloud server', () => {
    const document = decodeDocument(sample('eureka-apps'));
    expect(document.hashCode).to.equal('UP_1_');
    const leases = leasesOf(...document.applications);
    expect(hashCode(leases)).to.equal('UP_1_');
    const application = leases.get('ORDERS');
    expect(application && toService('eu', 'ORDERS', application)).to.deep.equal({
      key: { registry: 'eu', namespace: '', group: '', name: 'ORDERS', version: '' },
      kind: 'eureka',
      ports: [],
      metadata: { vipAddress: 'orders', secureVipAddress: 'orders' },
      instances: [
        {
          id: '127.0.0.1:orders:9001',
          address: '127.0.0.1',
          ports: [{ name: '', protocol: 'http', number: 9001 }],
          status: 'UP',
          weight: 1,
          zone: 'z1',
          locality: undefined,
          network: undefined,
          metadata: { zone: 'z1', version: 'v1' },
          changedAt: 1795385902734,
        },
      ],
      rejected: [],
      notes: [],
      consumers: [],
    });
  });

  it('applies the deltas of an override and of an eviction, with the count that the server sends', () => {
    let leases = leasesOf(...decodeDocument(sample('eureka-apps')).applications);
    for (const name of ['eureka-delta', 'eureka-delta-oos', 'eureka-delta-deleted']) {
      const delta = decodeDocument(sample(name));
      leases = applyDelta(leases, [...decodeInParts(delta.applications, 500)].flat());
      expect(hashCode(leases), name).to.equal(delta.hashCode);
    }
    expect(leases.size).to.equal(0);
  });

  it('reads an empty registry', () => {
    expect(decodeDocument(sample('eureka-apps-empty'))).to.deep.equal({ hashCode: '', applications: [] });
    expect(decodeDocument({ applications: { versions__delta: '1', apps__hashcode: '' } }).applications).to.deep.equal(
      [],
    );
  });

  it('counts statuses as the server does: all of them, sorted', () => {
    const leases = leasesOf(
      { name: 'A', instance: [lease({ instanceId: '1' }), lease({ instanceId: '2', status: 'STARTING' })] },
      { name: 'B', instance: lease({ status: 'DOWN', ipAddr: '' }) },
      { name: 'C', instance: [lease({ instanceId: '4' }), lease({ instanceId: '5', port: undefined })] },
    );
    expect(hashCode(leases)).to.equal('DOWN_1_STARTING_1_UP_3_');
  });

  it('takes one object for a list, numbers for texts and texts for numbers, from older servers', () => {
    const document = decodeDocument({
      applications: { versions__delta: 1, apps__hashcode: 'UP_1_', application: { name: 2048, instance: lease() } },
    });
    expect(leasesOf(...document.applications).get('2048')?.size).to.equal(1);
    const old = {
      port: { $: '8080', '@enabled': true },
      metadata: { version: 2 },
      lastUpdatedTimestamp: 1795385902734,
    };
    expect(instanceOf(lease(old))).to.deep.equal(instanceOf(lease({ metadata: { version: '2' } })));
  });

  for (const [what, json] of Object.entries({
    null: null,
    'a list': [],
    'a text': 'UP',
    'another object': { status: 404, error: 'Not Found' },
    'no applications': { applications: null },
    'no hash code': { applications: { application: [] } },
    'a text for the list': { applications: { apps__hashcode: '', application: 'none' } },
  }))
    it(`refuses ${what}`, () => {
      expect(() => decodeDocument(json)).to.throw(Error);
    });

  it('refuses an application without a name, rather than take the rest for all', () => {
    expect(() => leasesOf({ instance: [lease()] })).to.throw('without a name');
    expect(() => leasesOf({ name: 'A', instance: 'x' })).to.throw('expected a list');
  });

  it('cuts big applications into parts and loses none', () => {
    const instances = (count: number) =>
      Array.from({ length: count }, (_, index) => lease({ instanceId: `i${index}` }));
    const raw = [7, 0, 3, 10, 1].map((count, index) => ({ name: `A${index}`, instance: instances(count) }));
    const parts = [...decodeInParts(raw, 4)];
    const sizes = parts.map((part) => part.reduce((sum, { leases }) => sum + leases.length, 0));
    expect(sizes).to.deep.equal([4, 4, 4, 4, 4, 1]);
    expect(leasesOf(...raw).get('A3')?.size).to.equal(10);
  });

  describe('an instance', () => {
    it('has one port for each enabled one', () => {
      const ports = (fields: object) =>
        instanceOf(lease(fields)).ports.map(({ protocol, number }) => `${protocol} ${number}`);
      const off = { $: 80, '@enabled': 'false' };
      expect(ports({ securePort: { $: '8443', '@enabled': 'true' } })).to.deep.equal(['http 8080', 'https 8443']);
      expect(ports({ port: off, securePort: { $: 8443, '@enabled': true } })).to.deep.equal(['https 8443']);
      expect(ports({ port: 9090, securePort: undefined })).to.deep.equal(['http 9090']);
      expect(ports({ port: { $: 0, '@enabled': 'true' }, securePort: { $: 1, '@enabled': 'true' } })).to.deep.equal([
        'https 1',
      ]);
    });

    for (const [what, fields, reason] of [
      ['no enabled port', { port: { $: 80, '@enabled': 'false' } }, 'no enabled port'],
      ['no port at all', { port: undefined, securePort: undefined }, 'no enabled port'],
      ['port 0', { port: { $: 0, '@enabled': 'true' } }, 'port 0'],
      ['port 70000', { port: { $: '70000', '@enabled': 'true' } }, 'port "70000"'],
      ['no number in its port', { port: { '@enabled': 'true' } }, 'port null'],
      ['no address', { ipAddr: '', hostName: '' }, 'no address'],
      [
        'an address that is none',
        { ipAddr: 'not an address', hostName: undefined },
        'neither an IP address nor a DNS name',
      ],
    ] as const)
      it(`is rejected with its reason for ${what}`, () => {
        expect(decodeLease(lease(fields), 0).content)
          .to.be.a('string')
          .that.includes(reason);
      });

    it('is rejected if it is no object, beside others', () => {
      const leases = leasesOf({ name: 'ORDERS', instance: [null, lease(), 7] });
      const application = leases.get('ORDERS');
      const service = application && toService('eu', 'ORDERS', application);
      expect(service?.instances).to.have.length(1);
      expect(service?.rejected).to.deep.equal([
        { record: '#0', reason: 'not an object' },
        { record: '#2', reason: 'not an object' },
      ]);
    });

    it('takes IPv6, and the host name where the address cannot be dialled', () => {
      expect(instanceOf(lease({ ipAddr: '[2001:DB8::0:1]' })).address).to.equal('2001:db8::1');
      expect(instanceOf(lease({ ipAddr: '' })).address).to.equal('orders-1.local');
      expect(instanceOf(lease({ ipAddr: '0.0.0.0', hostName: 'Orders-2.local.' })).address).to.equal('orders-2.local');
    });

    it('has the id that the server gives it', () => {
      const aws = { name: 'Amazon', metadata: { 'instance-id': 'i-1', 'availability-zone': 'us-east-1c' } };
      expect(decodeLease(lease({ instanceId: undefined }), 0).id).to.equal('orders-1.local');
      expect(decodeLease(lease({ instanceId: undefined, dataCenterInfo: aws }), 0).id).to.equal('i-1');
    });

    it("has the zone of its metadata, else Amazon's and then its region", () => {
      const place = (zone: string, metadata = {}) => {
        const aws = { name: 'Amazon', metadata: { 'availability-zone': zone } };
        const { zone: found, locality } = instanceOf(lease({ dataCenterInfo: aws, metadata }));
        return { zone: found, locality };
      };
      expect(place('us-east-1c')).to.deep.equal({ zone: 'us-east-1c', locality: 'us-east-1/us-east-1c' });
      expect(place('us-gov-west-1a').locality).to.equal('us-gov-west-1/us-gov-west-1a');
      expect(place('us-east-1c', { zone: 'mine' })).to.deep.equal({ zone: 'mine', locality: undefined });
      expect(place('rack-7')).to.deep.equal({ zone: 'rack-7', locality: undefined });
    });

    it('has a note where something of it could not be used and the rest could', () => {
      const notes = (fields: object) => decodeLease(lease(fields), 0).notes.join();
      expect(notes({})).to.equal('');
      expect(notes({ securePort: { $: 0, '@enabled': 'true' } })).to.match(/port 0 is not .*; its other port is used/);
      expect(notes({ ipAddr: '0.0.0.0' })).to.match(/unspecified.*; its host name orders-1.local is used/);
      expect(notes({ ipAddr: '' })).to.equal('');
    });

    it('is taken out by an override, never brought in', () => {
      expect(effectiveStatus('UP', 'OUT_OF_SERVICE')).to.equal('OUT_OF_SERVICE');
      expect(effectiveStatus('DOWN', 'UP')).to.equal('DOWN');
      expect(effectiveStatus('STARTING', 'OUT_OF_SERVICE')).to.equal('STARTING');
      expect(effectiveStatus('UP', 'UNKNOWN')).to.equal('UP');
      expect(effectiveStatus('UP', '')).to.equal('UP');
    });

    it('has metadata of texts only', () => {
      const metadata = { '@class': 'java.util.Collections$EmptyMap', a: 'x', b: 1, c: true, d: null, e: { f: 1 } };
      expect(instanceOf(lease({ metadata })).metadata).to.deep.equal({ a: 'x', b: '1', c: 'true', e: '{"f":1}' });
      const big = { blob: 'x'.repeat(10_000) };
      expect(instanceOf(lease({ metadata: big })).metadata).to.deep.equal(big);
      const nasty = JSON.parse('{"__proto__": "x", "constructor": "y"}');
      expect(Object.entries(instanceOf(lease({ metadata: nasty })).metadata)).to.have.length(2);
    });
  });

  describe('a change', () => {
    const application = (...instances: object[]) => {
      const found = leasesOf({ name: 'A', instance: instances }).get('A');
      if (found === undefined) throw new Error('no application');
      return found;
    };

    it('is not a renewal, a new time stamp or another order', () => {
      const a = application(lease(), lease({ instanceId: 'two', ipAddr: '10.0.0.2' }));
      const b = application(
        lease({ instanceId: 'two', ipAddr: '10.0.0.2', leaseInfo: { lastRenewalTimestamp: 5 } }),
        lease({ lastUpdatedTimestamp: '1795385999999' }),
      );
      expect(sameService(a, b)).to.equal(true);
    });

    it('is a status, metadata, a port, another instance or another reason', () => {
      const a = application(lease());
      for (const fields of [
        { status: 'DOWN' },
        { metadata: { v: '2' } },
        { port: 1 },
        { port: 0 },
        { instanceId: 'two' },
        { ipAddr: '10.0.0.9' },
        { vipAddress: 'orders.vip' },
        { securePort: { $: 0, '@enabled': 'true' } },
      ])
        expect(sameService(a, application(lease(fields))), JSON.stringify(fields)).to.equal(false);
    });

    it('is an instance that was deregistered in between, and not another server or a registration that renews', () => {
      const at = (up: number, said: number, updated: string) =>
        application(
          lease({
            leaseInfo: { serviceUpTimestamp: up },
            lastDirtyTimestamp: String(said),
            lastUpdatedTimestamp: updated,
          }),
        );
      const before = at(1000, 900, '1000');
      expect(sameService(before, at(5000, 4900, '5000'))).to.equal(false);
      expect(sameService(before, at(1000, 4900, '5000')), 'registered over').to.equal(true);
      expect(sameService(before, at(1003, 900, '1003')), 'on another server').to.equal(true);
      expect(sameService(before, application(lease())), 'without them').to.equal(true);
    });

    it('is that the other one of two leases for one endpoint is newer', () => {
      const old = lease({ lastUpdatedTimestamp: '1' });
      const down = lease({ instanceId: 'two', status: 'DOWN', lastUpdatedTimestamp: '2' });
      const renewed = lease({ lastUpdatedTimestamp: '3' });
      expect(sameService(application(old, down), application(renewed, down))).to.equal(false);
    });

    it('leaves untouched applications alone, and the old state as it was', () => {
      const before = leasesOf({ name: 'A', instance: [lease()] }, { name: 'B', instance: [lease()] });
      const delta = [...decodeInParts([{ name: 'B', instance: [lease({ actionType: 'DELETED' })] }], 500)].flat();
      const after = applyDelta(before, delta);
      expect([...after.keys()]).to.deep.equal(['A']);
      expect(after.get('A')).to.equal(before.get('A'));
      expect(before.size).to.equal(2);
    });

    it('keeps what is missing, and says when nothing is', () => {
      const before = leasesOf(
        { name: 'A', instance: [lease(), lease({ instanceId: 'two' })] },
        { name: 'B', instance: lease() },
      );
      const next = leasesOf({ name: 'A', instance: [lease({ status: 'DOWN' })] });
      const kept = keepMissing(next, before);
      expect([...(kept.get('A')?.values() ?? [])].map(({ status }) => status)).to.deep.equal(['DOWN', 'UP']);
      expect(kept.has('B')).to.equal(true);
      expect(keepMissing(before, next)).to.equal(before);
    });
  });
});
