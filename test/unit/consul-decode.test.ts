import { expect } from 'chai';
import { nextIndex } from '#adapters/consul/client.js';
import { decodeFailingChecks, decodeNames, decodeService, serviceKey } from '#adapters/consul/decode.js';
import type { Instance, RegistryService } from '#model/service.js';

const key = serviceKey('co', 'web');

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
  const service = decodeService(key, entries);
  if (service === undefined) throw new Error('only proxies');
  return service;
}

function instanceOf(raw: unknown): Instance {
  const [instance] = decode(raw).instances;
  if (instance === undefined) throw new Error('rejected');
  return instance;
}

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
    expect([onNode.zone, onNode.locality]).to.deep.equal(['', 'eu']);
    const nasty = JSON.parse('{"__proto__": "x", "blob": ""}');
    nasty.blob = 'x'.repeat(10_000);
    expect(Object.keys(instanceOf(entry({ Meta: nasty })).metadata)).to.have.length(3);
  });

  it('leaves proxies and gateways out', () => {
    expect(decodeService(key, [entry({ Kind: 'connect-proxy' }), entry({ Kind: 'mesh-gateway' })])).to.equal(undefined);
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
      expect(() => decodeService(key, body)).to.throw('no list of instances');
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
