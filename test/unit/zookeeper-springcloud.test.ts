import { expect } from 'chai';
import type { Entry } from '#adapters/zookeeper/instances.js';
import { parseSpringInstance, springService } from '#adapters/zookeeper/springcloud.js';

const key = { registry: 'zk', namespace: 'services', group: '', name: 'orders', version: '' };

/** As Spring Cloud 2024.0.1 writes it. */
const written = {
  name: 'orders',
  id: '4f60b79c-1c84-4a07-a0c3-74bb723b78d8',
  address: '10.0.0.1',
  port: 8080,
  sslPort: null,
  payload: {
    '@class': 'org.springframework.cloud.zookeeper.discovery.ZookeeperInstance',
    id: 'orders',
    name: 'orders',
    metadata: { zone: 'z1', instance_status: 'UP' },
  },
  registrationTimeUTC: 1795449361631,
  serviceType: 'DYNAMIC',
  uriSpec: {
    parts: [
      { value: 'scheme', variable: true },
      { value: '://', variable: false },
      { value: 'address', variable: true },
      { value: ':', variable: false },
      { value: 'port', variable: true },
    ],
  },
};

function entry(changes: object): Entry {
  return { kind: 'spring-cloud', instance: parseSpringInstance(JSON.stringify({ ...written, ...changes })) };
}

function read(changes: object) {
  return springService(key, new Map([['one', entry(changes)]]), false);
}

const literal = (value: string) => ({ value, variable: false });
const variable = (value: string) => ({ value, variable: true });

describe('Spring Cloud in ZooKeeper', () => {
  it('reads what its client writes', () => {
    expect(read({})).to.deep.equal({
      key,
      kind: 'spring-cloud',
      ports: [],
      metadata: {},
      instances: [
        {
          id: 'one',
          address: '10.0.0.1',
          ports: [{ name: '', protocol: 'http', number: 8080 }],
          status: 'UP',
          weight: 1,
          zone: 'z1',
          locality: undefined,
          network: undefined,
          metadata: { zone: 'z1', instance_status: 'UP' },
          changedAt: 1795449361631,
        },
      ],
      rejected: [],
      notes: [],
      consumers: [],
    });
  });

  it('reads what other users of Curator write', () => {
    for (const payload of [null, 'text', { metadata: null }, undefined]) {
      const [instance] = read({ payload, uriSpec: null, registrationTimeUTC: undefined })?.instances ?? [];
      expect(instance).to.deep.include({ status: 'UP', zone: '', metadata: {}, changedAt: 0 });
    }
    expect(read({ enabled: false })?.instances[0]?.status).to.equal('disabled');
  });

  it('has a port for each that is set, and the protocol that its metadata or its URI names', () => {
    const ports = (changes: object) => read(changes)?.instances[0]?.ports.map((one) => `${one.protocol}:${one.number}`);
    expect(ports({ sslPort: 8443 })).to.deep.equal(['http:8080', 'https:8443']);
    expect(ports({ port: null, sslPort: 8443 })).to.deep.equal(['https:8443']);
    expect(ports({ payload: { metadata: { protocol: 'grpc' } } })).to.deep.equal(['grpc:8080']);
    const parts = [literal('https://'), variable('address'), literal(':'), variable('port')];
    expect(ports({ uriSpec: { parts } })).to.deep.equal(['https:8080']);
  });

  it('says that a mesh adds no path', () => {
    const parts = [
      variable('scheme'),
      literal('://'),
      variable('address'),
      literal(':'),
      variable('port'),
      literal('/v1'),
    ];
    expect(read({ uriSpec: { parts } })?.notes).to.deep.equal([
      { record: 'one', text: 'its URI has the path /v1, which callers through the mesh have to add themselves' },
    ]);
  });

  it('rejects what cannot be dialled, and keeps the rest', () => {
    const entries = new Map<string, Entry>([
      ['bad address', entry({ address: '0.0.0.0' })],
      ['bad port', entry({ port: 0 })],
      ['good', entry({})],
      ['malformed', { kind: 'malformed', reason: 'its data is not JSON' }],
      ['no port', entry({ port: null })],
    ]);
    const service = springService(key, entries, false);
    expect(service?.instances.map(({ id }) => id)).to.deep.equal(['good']);
    expect(service?.rejected).to.deep.equal([
      { record: 'bad address', reason: 'address "0.0.0.0" is unspecified: nothing can be dialled there' },
      { record: 'bad port', reason: 'port 0 is not a whole number from 1 to 65535' },
      { record: 'malformed', reason: 'its data is not JSON' },
      { record: 'no port', reason: 'neither port nor sslPort' },
    ]);
  });

  it('is no service where only Dubbo, or nobody, is; and an empty one where it was one', () => {
    const malformed: Entry = { kind: 'malformed', reason: 'x' };
    const dubbo = { kind: 'dubbo', instance: {} } as unknown as Entry;
    expect(springService(key, new Map(), false)).to.equal(undefined);
    expect(springService(key, new Map([['folder', { kind: 'folder' } as Entry]]), false)).to.equal(undefined);
    const both = new Map([
      ['dubbo', dubbo],
      ['malformed', malformed],
    ]);
    expect(springService(key, both, false)).to.equal(undefined);
    expect(springService(key, new Map(), true)?.instances).to.deep.equal([]);
    expect(springService(key, new Map([['malformed', malformed]]), false)?.rejected).to.have.lengthOf(1);
  });

  it('says what is wrong with data that is no instance', () => {
    expect(() => parseSpringInstance('{"id":1}')).to.throw(/id/);
    expect(() => parseSpringInstance('{')).to.throw('its data is not JSON: "{"');
  });
});
