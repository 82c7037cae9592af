import { expect } from 'chai';
import { decodeService } from '#adapters/nacos/decode.js';

const key = { registry: 'n', namespace: 'public', group: 'DEFAULT_GROUP', name: 'orders', version: '' };

/** A host as Nacos 2.3.2 pushes it. */
const host = {
  instanceId: '127.0.0.1#7001#DEFAULT#DEFAULT_GROUP@@orders',
  ip: '127.0.0.1',
  port: 7001,
  weight: 1,
  healthy: true,
  enabled: true,
  ephemeral: true,
  clusterName: 'DEFAULT',
  serviceName: 'DEFAULT_GROUP@@orders',
  metadata: {},
  instanceHeartBeatInterval: 5000,
  instanceHeartBeatTimeOut: 15000,
  ipDeleteTimeout: 30000,
};

/** The ServiceInfo around hosts. */
function info(...hosts: unknown[]) {
  return {
    name: 'orders',
    groupName: 'DEFAULT_GROUP',
    clusters: '',
    cacheMillis: 10000,
    hosts,
    lastRefTime: 1795386859317,
    checksum: '',
    allIPs: false,
    reachProtectionThreshold: false,
    valid: true,
  };
}

function decode(...hosts: unknown[]) {
  return decodeService(key, info(...hosts));
}

/** Why the only host was rejected. */
function reason(change: Record<string, unknown>): string | undefined {
  const { instances, rejected } = decode({ ...host, ...change });
  expect(instances).to.deep.equal([]);
  return rejected[0]?.reason;
}

describe('Nacos decoder', () => {
  it('reads a push of Nacos 2 and 3', () => {
    const service = decode({ ...host, weight: 1.5, metadata: { version: 'v1', zone: 'z1' } });
    expect(service).to.deep.equal({
      key,
      kind: 'nacos',
      ports: [],
      metadata: {},
      instances: [
        {
          id: '127.0.0.1#7001#DEFAULT#DEFAULT_GROUP@@orders',
          address: '127.0.0.1',
          ports: [{ name: '', protocol: 'http', number: 7001 }],
          status: 'healthy',
          weight: 1.5,
          zone: 'z1',
          locality: undefined,
          network: undefined,
          metadata: { cluster: 'DEFAULT', version: 'v1', zone: 'z1' },
          changedAt: 0,
        },
      ],
      rejected: [],
      consumers: [],
    });
  });

  it('reads an answer of Nacos 1, which has fewer fields', () => {
    const old = {
      service: 'DEFAULT_GROUP@@orders',
      marked: true,
      instanceId: '127.0.0.1#9401',
      ip: '127.0.0.1',
      port: 9401,
    };
    const service = decodeService(key, { dom: 'orders', clusters: '', hosts: [old], metadata: null, env: '' });
    expect(service.instances[0]).to.include({ address: '127.0.0.1', status: 'healthy', weight: 1 });
  });

  it('reads an empty service', () => {
    expect(decode()).to.deep.include({ instances: [], rejected: [] });
  });

  it('says what Nacos says of health', () => {
    const statuses = [{ healthy: false }, { enabled: false }, { enabled: false, healthy: false }, {}].map(
      (change) => decode({ ...host, ...change }).instances[0]?.status,
    );
    expect(statuses).to.deep.equal(['unhealthy', 'disabled', 'disabled', 'healthy']);
  });

  it('flags a service below its protection threshold', () => {
    const { notes } = decodeService(key, { ...info(host), reachProtectionThreshold: true });
    expect(notes?.map(({ record }) => record)).to.deep.equal(['orders']);
    expect(decode(host).notes).to.equal(undefined);
  });

  it('reads the wanted clusters only', () => {
    const hosts = [
      { ...host, clusterName: 'A', instanceId: 'a', port: 1 },
      { ...host, clusterName: 'B', instanceId: 'b', port: 2 },
      { ...host, clusterName: undefined, instanceId: 'c', port: 3 },
    ];
    const wanted = (...clusters: string[]) =>
      decodeService(key, info(...hosts), clusters).instances.map(({ id }) => id);
    expect(wanted('A')).to.deep.equal(['a']);
    expect(wanted('A', 'DEFAULT')).to.deep.equal(['a', 'c']);
    expect(decode(...hosts).instances).to.have.length(3);
  });

  it('reads IPv6 addresses and host names', () => {
    const ips = ['2001:DB8::1', '[2001:db8::2]', '::ffff:10.0.0.1', 'Node-7.example.com'];
    const addresses = decode(...ips.map((ip) => ({ ...host, ip, instanceId: ip }))).instances.map(
      ({ address }) => address,
    );
    expect(addresses).to.have.members(['2001:db8::1', '2001:db8::2', '10.0.0.1', 'node-7.example.com']);
  });

  it('rejects what cannot be dialled, and why', () => {
    expect(reason({ ip: undefined })).to.equal('ip is missing');
    expect(reason({ ip: 7 })).to.equal('ip is 7');
    expect(reason({ ip: '' })).to.match(/no address/);
    expect(reason({ ip: '0.0.0.0' })).to.match(/unspecified/);
    expect(reason({ ip: 'fe80::1%eth0' })).to.match(/zone/);
    expect(reason({ ip: 'not a host' })).to.match(/neither an IP address nor a DNS name/);
    for (const port of [0, 70_000, -1, 80.5, '80a', null, undefined])
      expect(reason({ port }), `port ${port}`).to.match(/is not a whole number from 1 to 65535/);
  });

  it('rejects weights that are none, keeps 0, and takes 1 where there is none', () => {
    for (const weight of [Number.NaN, Number.POSITIVE_INFINITY, -1, '2', {}])
      expect(reason({ weight }), `weight ${weight}`).to.match(/is not a number from 0 on/);
    expect(decode({ ...host, weight: 0 }).instances[0]?.weight).to.equal(0);
    expect(decode({ ...host, weight: null }).instances[0]?.weight).to.equal(1);
  });

  it('keeps the other instances beside a bad one, and says which it was', () => {
    const { instances, rejected } = decode(
      null,
      'text',
      { ...host, ip: undefined, instanceId: undefined },
      { ...host, port: 0, instanceId: undefined },
      host,
    );
    expect(instances.map(({ id }) => id)).to.deep.equal([host.instanceId]);
    expect(rejected.map(({ record }) => record)).to.deep.equal(['127.0.0.1:0', 'host 0', 'host 1', 'host 2']);
  });

  it('keeps big metadata and reads values of other types as text', () => {
    const big = 'x'.repeat(10_240);
    const { metadata } =
      decode({ ...host, metadata: { big, count: 3, on: true, list: [1], none: null } }).instances[0] ?? {};
    expect(metadata).to.deep.equal({ cluster: 'DEFAULT', big, count: '3', on: 'true', list: '[1]' });
  });

  it("keeps an application's own cluster, and reads metadata that is none as empty", () => {
    expect(decode({ ...host, metadata: { cluster: 'mine' } }).instances[0]?.metadata).to.deep.equal({
      cluster: 'mine',
    });
    for (const metadata of [null, undefined, 'text', ['a']])
      expect(decode({ ...host, metadata }).instances[0]?.metadata).to.deep.equal({ cluster: 'DEFAULT' });
  });

  it('reads one address and port in two clusters as one endpoint: the one that may be called', () => {
    const sick = { ...host, clusterName: 'A', instanceId: 'a', healthy: false };
    const well = { ...host, clusterName: 'B', instanceId: 'b' };
    for (const hosts of [
      [sick, well],
      [well, sick],
    ]) {
      const { instances, rejected } = decode(...hosts);
      expect(instances.map(({ id }) => id)).to.deep.equal(['b']);
      expect(rejected).to.deep.equal([{ record: 'a', reason: 'has the same address and port as b' }]);
    }
  });

  it('reads equal contents in another order as equal', () => {
    const other = { ...host, port: 7002, instanceId: 'z' };
    expect(decode(host, other)).to.deep.equal(decode(other, host));
  });

  it('does not take another answer for an empty service', () => {
    for (const answer of [undefined, null, '', '<html>', [], {}, info().hosts, { hosts: null }, { hosts: {} }])
      expect(() => decodeService(key, answer), JSON.stringify(answer)).to.throw(
        /expected a service with its list of hosts/,
      );
  });
});
