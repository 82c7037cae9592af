import { expect } from 'chai';
import { z } from 'zod';
import { nextIndex } from '#adapters/consul/client.js';
import { decodeFailingChecks, decodeMarks, decodeNames, decodeService } from '#adapters/consul/decode.js';
import { readingOf } from '#adapters/consul/instance.js';
import { fields } from '#adapters/consul/schema.js';
import { domainOf, type Scope, serviceKey } from '#adapters/consul/scope.js';
import type { Instance, RegistryService } from '#model/service.js';

const key = serviceKey('co', { own: true }, 'web');

/** As the configuration has it, beside its defaults. */
const readingWith = (more: object = {}) => readingOf(z.object(fields).parse({ servers: ['http://c:8500'], ...more }));

const entry = (service: object = {}, checks: object[] = [], node: object = {}) => ({
  Node: { Node: 'n1', Address: '10.0.0.1', Datacenter: 'dc1', ...node },
  Service: {
    ID: 'web-1',
    Service: 'web',
    Address: '',
    Port: 8080,
    Meta: {},
    Tags: [],
    Weights: { Passing: 1, Warning: 1 },
    ...service,
  },
  Checks: checks,
});

function decode(...entries: unknown[]): RegistryService {
  const service = decodeService(key, {}, entries, readingWith());
  if (service === undefined) throw new Error('only proxies');
  return service;
}

function instanceOf(raw: unknown): Instance {
  const [instance] = decode(raw).instances;
  if (instance === undefined) throw new Error('rejected');
  return instance;
}

describe('Consul: configuration', () => {
  const parse = (more: object) => z.object(fields).safeParse({ servers: ['http://c:8500'], ...more });

  it('takes a token or a file with one, and not both', () => {
    expect(parse({ auth: { token: 't' } }).success).to.equal(true);
    expect(parse({ auth: { tokenFile: '/run/secrets/consul' } }).success).to.equal(true);
    for (const auth of [{}, { token: 't', tokenFile: '/f' }])
      expect(parse({ auth }).error?.issues[0]?.message).to.equal('expected token or tokenFile, one of the two');
  });

  it('knows the kinds that there are', () => {
    expect(parse({ kinds: ['connect-proxy'] }).success).to.equal(true);
    expect(parse({ kinds: ['proxy'] }).success).to.equal(false);
  });
});

describe('Consul: decode', () => {
  it("takes the service's address, else the node's", () => {
    expect(instanceOf(entry()).address).to.equal('10.0.0.1');
    expect(instanceOf(entry({ Address: '[2001:DB8::1]' })).address).to.equal('2001:db8::1');
    expect(instanceOf(entry({ Address: 'Db.Example.com' })).address).to.equal('db.example.com');
  });

  it('lets the worst check win, and maintenance over all', () => {
    const check = (Status: string, CheckID = 'c') => ({ CheckID, Status });
    const status = (...checks: object[]) => instanceOf(entry({}, checks)).status;
    expect(status()).to.equal('passing');
    expect(status(check('passing'), check('warning'), check('passing'))).to.equal('warning');
    expect(status(check('warning'), check('critical'))).to.equal('critical');
    expect(status(check('critical', '_node_maintenance'), check('passing'))).to.equal('maintenance');
    expect(status(check('passing'), check('critical', '_service_maintenance:web-1'))).to.equal('maintenance');
  });

  it('takes the weight that goes with the status', () => {
    const Weights = { Passing: 10, Warning: 3 };
    expect(instanceOf(entry({ Weights })).weight).to.equal(10);
    expect(instanceOf(entry({ Weights }, [{ CheckID: 'c', Status: 'warning' }])).weight).to.equal(3);
    expect(instanceOf(entry({ Weights: { Passing: 0, Warning: 0 } })).weight).to.equal(0);
    expect(instanceOf(entry({ Weights: undefined })).weight).to.equal(1);
  });

  it('takes tags and data centre into the metadata, zone and locality from where they are', () => {
    const instance = instanceOf(
      entry({ Tags: ['a', 'b'], Meta: { version: '1', zone: 'z1' }, Locality: { Region: 'eu', Zone: 'eu-1' } }),
    );
    expect(instance.metadata).to.deep.equal({ version: '1', zone: 'z1', tags: 'a,b', datacenter: 'dc1' });
    expect([instance.zone, instance.locality]).to.deep.equal(['z1', 'eu/eu-1']);
    const onNode = instanceOf(entry({}, [], { Locality: { Region: 'eu' } }));
    expect([onNode.zone, onNode.locality]).to.deep.equal(['dc1', 'eu']);
    const nasty = JSON.parse('{"__proto__": "x", "blob": ""}');
    nasty.blob = 'x'.repeat(10_000);
    expect(Object.keys(instanceOf(entry({ Meta: nasty })).metadata)).to.have.length(3);
  });

  it('leaves proxies and gateways out', () => {
    expect(
      decodeService(key, {}, [entry({ Kind: 'connect-proxy' }), entry({ Kind: 'mesh-gateway' })], readingWith()),
    ).to.equal(undefined);
    expect(decode(entry({ Kind: 'connect-proxy', ID: 'p' }), entry()).instances.map(({ id }) => id)).to.deep.equal([
      'n1/web-1',
    ]);
  });

  for (const [what, raw, reason] of [
    ['port 0', entry({ Port: 0 }), 'port 0'],
    ['no port', entry({ Port: undefined }), 'port 0'],
    ['port 70000', entry({ Port: 70_000 }), 'port 70000'],
    ['no address', entry({}, [], { Address: '' }), 'no address'],
    ['0.0.0.0', entry({ Address: '0.0.0.0' }), 'unspecified'],
    ['a broken list of checks', { ...entry(), Checks: 'none' }, 'no list of checks'],
    ['no service', { Node: {} }, 'not an object with a Service'],
    ['null', null, 'not an object with a Service'],
  ] as const)
    it(`rejects an instance with ${what}, and keeps the others`, () => {
      const service = decode(raw, entry({ ID: 'web-2' }));
      expect(service.instances.map(({ id }) => id)).to.deep.equal(['n1/web-2']);
      expect(service.rejected[0]?.reason).to.include(reason);
    });

  it('takes the first address of the configured ones that is there', () => {
    const tagged = {
      Address: '10.1.0.1',
      TaggedAddresses: { wan: { Address: '203.0.113.5', Port: 8443 }, lan_ipv6: { Address: '2001:db8::5', Port: 0 } },
    };
    const node = { TaggedAddresses: { wan: '203.0.113.1', lan: '10.0.0.1' } };
    const at = (addresses: string[], service: object) => {
      const [instance] =
        decodeService(key, {}, [entry(service, [], node)], readingWith({ addresses }))?.instances ?? [];
      return `${instance?.address} ${instance?.ports[0]?.number}`;
    };
    expect(at(['wan', 'service', 'node'], tagged)).to.equal('203.0.113.5 8443');
    expect(at(['lan_ipv6', 'wan'], tagged)).to.equal('2001:db8::5 8080');
    expect(at(['virtual', 'service'], tagged)).to.equal('10.1.0.1 8080');
    expect(at(['node', 'service'], tagged)).to.equal('10.0.0.1 8080');
    expect(at(['wan', 'service', 'node'], {}), "the node's, if the service has none").to.equal('203.0.113.1 8080');
    expect(at(['wan', 'service'], { Address: '10.1.0.1' }), 'not beside its own').to.equal('10.1.0.1 8080');
    const [rejected] = decodeService(key, {}, [entry(tagged)], readingWith({ addresses: ['virtual'] }))?.rejected ?? [];
    expect(rejected?.reason).to.equal(
      'has the addresses wan, lan_ipv6, service, node, expected one of virtual: see addresses',
    );
  });

  it('lets only those checks count that the configuration names, and maintenance always', () => {
    const checks = [
      { CheckID: 'serfHealth', Name: 'Serf Health Status', Status: 'critical', ServiceID: '' },
      { CheckID: 'service:web-1', Name: 'HTTP on 80', Status: 'warning', ServiceID: 'web-1' },
      { CheckID: 'disk', Name: 'Disk of web', Status: 'critical', ServiceID: 'web-1' },
    ];
    const status = (policy: object, more: object[] = []) =>
      decodeService(key, {}, [entry({}, [...checks, ...more])], readingWith({ checks: policy }))?.instances[0]?.status;
    expect(status({})).to.equal('critical');
    expect(status({ nodes: false })).to.equal('critical');
    expect(status({ nodes: false, exclude: ['disk'] })).to.equal('warning');
    expect(status({ exclude: ['serf*', 'Disk*'] })).to.equal('warning');
    expect(status({ include: ['HTTP *'] })).to.equal('warning');
    expect(status({ include: ['nothing'] })).to.equal('passing');
    expect(status({ include: [], nodes: false }, [{ CheckID: '_node_maintenance', ServiceID: '' }])).to.equal(
      'maintenance',
    );
  });

  it('takes proxies and gateways in if it is told to', () => {
    const all = [entry({ Kind: 'connect-proxy', ID: 'p' }), entry(), entry({ Kind: 'mesh-gateway', ID: 'g' })];
    const kinds = ['service', 'connect-proxy'];
    const instances = decodeService(key, {}, all, readingWith({ kinds }))?.instances ?? [];
    expect(instances.map(({ id, ports, metadata }) => [id, ports[0]?.protocol, metadata.kind])).to.deep.equal([
      ['n1/p', 'tcp', 'connect-proxy'],
      ['n1/web-1', 'http', undefined],
    ]);
  });

  it("keeps data centres, namespaces and partitions apart, and has each where Consul's DNS has it", () => {
    const scopes: Record<string, Scope> = {
      'service.consul': { own: true, datacenter: 'dc1' },
      'service.dc2.consul': { own: false, datacenter: 'dc2' },
      'service.shop.ns.consul': { own: true, datacenter: 'dc1', partition: 'default', namespace: 'shop' },
      'service.shop.ns.team.ap.dc2.dc.consul': { own: false, datacenter: 'dc2', partition: 'team', namespace: 'shop' },
      'service.team.ap.consul': { own: true, partition: 'team', namespace: 'default' },
    };
    for (const [domain, scope] of Object.entries(scopes)) expect(domainOf(scope)).to.equal(domain);
    const keys = Object.values(scopes).map((scope) => serviceKey('co', scope, 'web'));
    expect(keys.map(({ namespace, group }) => [namespace, group])).to.deep.equal([
      ['', ''],
      ['', 'dc2'],
      ['shop', ''],
      ['team/shop', 'dc2'],
      ['team/default', ''],
    ]);
    expect(domainOf({ own: true, partition: 'default', namespace: 'default' })).to.equal('service.consul');
  });

  it('marks what changes of a service, and nothing else', () => {
    const nodes = (service: object = {}, check: object = {}, node: object = {}) => [
      {
        Node: 'n1',
        Address: '10.0.0.1',
        Services: [
          { Service: 'web', ID: 'web-1', ModifyIndex: 7, ...service },
          { Service: 'db', ID: 'db-1', ModifyIndex: 7 },
        ],
        Checks: [{ CheckID: 'c1', ServiceID: 'web-1', Status: 'passing', Output: '', ...check }],
        ...node,
      },
    ];
    const before = decodeMarks(nodes());
    expect(before.instances).to.equal(2);
    const changed = (body: unknown) => {
      const { services } = decodeMarks(body);
      return [...services.keys()].filter((name) => services.get(name) !== before.services.get(name));
    };
    expect(changed(nodes())).to.deep.equal([]);
    expect(changed(nodes({}, { Output: 'took 3 ms' }))).to.deep.equal([]);
    expect(changed(nodes({ ModifyIndex: 8 }))).to.deep.equal(['web']);
    expect(changed(nodes({}, { Status: 'critical' }))).to.deep.equal(['web']);
    expect(changed(nodes({}, { ServiceID: '', Status: 'critical' }))).to.deep.equal(['web', 'db']);
    expect(changed(nodes({}, {}, { Address: '10.0.0.2' }))).to.deep.equal(['web', 'db']);
    expect(() => decodeMarks([{ Node: 'n1', Services: [{ Service: 'web' }] }])).to.throw('not a service');
  });

  it('gives the same for the same in another order', () => {
    const all = ['c', 'a', 'b'].map((ID) => entry({ ID }));
    expect(decode(...all)).to.deep.equal(decode(...all.reverse()));
  });

  for (const [what, body] of Object.entries({
    null: null,
    'a text': '<html>',
    bytes: Buffer.from('<html>'),
    nothing: undefined,
  }))
    it(`refuses ${what} instead of an answer`, () => {
      expect(() => decodeService(key, {}, body, readingWith())).to.throw('no list of instances');
      expect(() => decodeNames(body)).to.throw('no map of services');
      expect(() => decodeFailingChecks(body)).to.throw('no list of checks');
    });

  it('starts again when the index falls, and never asks with one that would not block', () => {
    expect(nextIndex(8n, 7n)).to.equal(8n);
    expect(nextIndex(3n, 7n)).to.equal(0n);
    expect(nextIndex(0n, 0n)).to.equal(1n);
    expect(nextIndex(18446744073709551615n, 7n)).to.equal(18446744073709551615n);
  });
});
