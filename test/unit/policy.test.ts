import { expect } from 'chai';
import { parseAddress, parsePort } from '#model/address.js';
import { portName } from '#model/protocol.js';
import { ExpressionError, instanceTemplate, serviceTemplate } from '#policy/expression.js';
import { endpointLabels } from '#policy/labels.js';
import { hostName } from '#policy/naming.js';
import { endpointPort, numberPorts, portClaims } from '#policy/ports.js';
import { warmth } from '#policy/warmup.js';
import { meshWeight } from '#policy/weight.js';
import { instance, service } from './builders.js';

describe('host names', () => {
  const cases: [string, string][] = [
    ['ORDERS', 'orders'],
    ['com.acme.Outer$Inner.dubbo', 'com.acme.outer-inner.dubbo'],
    ['a_b:1.0.0.dubbo', 'a-b-1.0.0.dubbo'],
    ['_x_.nacos', 'x.nacos'],
    ['订单.nacos', 'xn--4kr132k.nacos'],
    ['a..b', 'a.b'],
  ];
  for (const [text, host] of cases)
    it(`${text} → ${host}`, () => {
      expect(hostName(text)).to.equal(host);
    });

  it('keeps long labels apart by a hash', () => {
    const long = 'x'.repeat(80);
    expect(hostName(`${long}a.test`)).not.to.equal(hostName(`${long}b.test`));
    expect(hostName(`${long}a.test`).split('.')[0]).to.have.length(63);
  });

  it('refuses what cannot be a host', () => {
    expect(() => hostName('...')).to.throw('is no host name');
    expect(() => hostName('___.eureka')).to.throw('"___" in "___.eureka" has no character');
    expect(() => hostName('orders.2')).to.throw('ends in a number');
    expect(() => hostName('a.default.svc.cluster.local')).to.throw("cluster's own domain");
    expect(() => hostName(Array(10).fill('x'.repeat(60)).join('.'))).to.throw('DNS allows 253');
  });
});

describe('templates', () => {
  const scope = {
    registry: { name: 'r', type: 't' },
    service: { name: 'orders', namespace: 'prod', group: '', version: '', metadata: { team: 'a' } },
  };

  it('fill in text', () => {
    expect(serviceTemplate('{{ service.name }}.{{service.namespace}}.x')(scope)).to.equal('orders.prod.x');
    expect(serviceTemplate('plain')(scope)).to.equal('plain');
  });

  it('are undefined where a key is missing', () => {
    expect(serviceTemplate('{{ service.metadata.zone }}')(scope)).to.equal(undefined);
  });

  it('are checked when they are compiled', () => {
    expect(() => serviceTemplate('{{ service.nme }}')).to.throw(ExpressionError, 'nme');
    expect(() => serviceTemplate('{{ instance.zone }}')).to.throw(ExpressionError, 'instance');
    expect(() => serviceTemplate('{{ service.name')).to.throw(ExpressionError, 'without');
    expect(() => serviceTemplate('{{ service.name == "a" }}')).to.throw(
      ExpressionError,
      'expected a string, found bool',
    );
    expect(() => serviceTemplate('{{ service. }}')).to.throw(ExpressionError);
    instanceTemplate('{{ instance.zone }}-{{ instance.port }}');
  });
});

describe('ports', () => {
  it('are named by their protocol', () => {
    expect(portName('', 'http')).to.equal('http');
    expect(portName('admin', 'http')).to.equal('http-admin');
    expect(portName('', 'dubbo')).to.equal('tcp-dubbo');
    expect(portName('grpc-tri', 'tri')).to.equal('grpc-tri');
  });

  it('keep their numbers whatever instances come', () => {
    const claims = portClaims(
      service('s', [
        instance('10.0.0.1', 9001),
        instance('10.0.0.2', 9443, { ports: [{ name: '', protocol: 'https', number: 9443 }] }),
      ]),
    );
    expect(numberPorts(claims).map(({ name, number }) => [name, number])).to.deep.equal([
      ['http', 80],
      ['https', 443],
    ]);
  });

  it('that want one number get the next free one, in an order of their own', () => {
    const claim = (protocol: 'dubbo' | 'tri') => ({ name: portName('', protocol), protocol, number: undefined });
    const numbered = numberPorts([claim('tri'), claim('dubbo')]);
    expect(numbered.map(({ name, number }) => [name, number])).to.deep.equal([
      ['tcp-dubbo', 20880],
      ['grpc-tri', 20881],
    ]);
    expect(numberPorts([claim('dubbo'), claim('tri')])).to.deep.equal(numbered);
  });

  it('that the registry declares come first', () => {
    const ports = numberPorts([
      { name: 'http', protocol: 'http', number: undefined },
      { name: 'http-admin', protocol: 'http', number: 80 },
    ]);
    expect(ports.map(({ name, number }) => [name, number])).to.deep.equal([
      ['http-admin', 80],
      ['http', 81],
    ]);
  });

  it("speak what the instance's metadata says, where the registry does not say", () => {
    const port = { name: '', protocol: 'http', number: 1 } as const;
    expect(endpointPort(port, { protocol: 'gRPC' })).to.deep.equal({ name: 'grpc', protocol: 'grpc', number: 1 });
    expect(endpointPort(port, { protocol: 'carrier pigeon' }).protocol).to.equal('http');
  });
});

describe('labels', () => {
  it('are made valid, and volatile or reserved keys stay out', () => {
    const { labels, unfit } = endpointLabels({
      version: 'v1',
      'team name': 'a b',
      timestamp: '1',
      pid: '2',
      'istio.io/rev': 'canary',
      token: 's3cret',
      'db.Password': 's3cret',
      accessKeyId: 's3cret',
      'security.istio.io/tlsMode': 'istio',
      'topology.kubernetes.io/zone': 'z',
      huge: 'x'.repeat(10_000),
      empty: '',
      '--': 'x',
    });
    expect(labels).to.deep.equal({ 'team-name': 'a-b', version: 'v1' });
    expect(unfit).to.deep.equal([
      'metadata -- (1 characters) can be no label: a label has at most 63',
      'metadata huge (10000 characters) can be no label: a label has at most 63',
    ]);
  });
});

describe('weights', () => {
  it('are relative to 100, and 0 takes the instance out', () => {
    expect(meshWeight(1, 1)).to.equal(100);
    expect(meshWeight(2.5, 1)).to.equal(250);
    expect(meshWeight(50, 100)).to.equal(50);
    expect(meshWeight(0.001, 1)).to.equal(1);
    expect(meshWeight(0, 1)).to.equal(undefined);
    expect(meshWeight(1e12, 1)).to.equal(100_000);
  });
});

describe('warm-up', () => {
  const warmup = { since: 1_000_000, length: 600_000 };

  it('grows in ten steps, each with the mean of its stretch', () => {
    const seen: [number, number | undefined][] = [];
    for (let now: number | undefined = warmup.since; now !== undefined; ) {
      const { share, until } = warmth(warmup, now);
      seen.push([share, until]);
      now = until;
    }
    expect(seen.map(([share]) => share)).to.deep.equal([0.05, 0.15, 0.25, 0.35, 0.45, 0.55, 0.65, 0.75, 0.85, 0.95, 1]);
    expect(seen.at(-2)?.[1]).to.equal(1_600_000);
  });

  it('is at its beginning while the clocks differ a little, and over where they differ by more than its length', () => {
    expect(warmth(warmup, warmup.since - 5_000).share).to.equal(0.05);
    expect(warmth(warmup, warmup.since - 600_001)).to.deep.equal({ share: 1, until: undefined });
  });

  it('is none unless the instance says so', () => {
    expect(warmth(undefined, 5)).to.deep.equal({ share: 1, until: undefined });
  });
});

describe('addresses', () => {
  it('are normalised', () => {
    expect(parseAddress('10.0.0.1')).to.deep.equal({ kind: 'ipv4', text: '10.0.0.1' });
    expect(parseAddress('[2001:DB8:0:0::1]')).to.deep.equal({ kind: 'ipv6', text: '2001:db8::1' });
    expect(parseAddress('::ffff:10.0.0.1')).to.deep.equal({ kind: 'ipv4', text: '10.0.0.1' });
    expect(parseAddress('Node-1.Example.')).to.deep.equal({ kind: 'dns', text: 'node-1.example' });
  });
  for (const bad of [
    '',
    'fe80::1%eth0',
    '0.0.0.0',
    '::',
    '224.0.0.1',
    '10.0.0.999',
    '10.1',
    'a b',
    'under_score',
    '-x',
    'http://x',
  ])
    it(`refuse "${bad}"`, () => {
      expect(() => parseAddress(bad)).to.throw(/address/);
    });
  for (const bad of [0, 70000, -1, 1.5, '', '12x', null, undefined, {}])
    it(`refuse port ${JSON.stringify(bad)}`, () => {
      expect(() => parsePort(bad)).to.throw('not a whole number from 1 to 65535');
    });
});
