import { expect } from 'chai';
import { decodeFile, type Entry } from '#adapters/file/decode.js';
import { join } from '#adapters/file/join.js';
import type { RegistryService } from '#model/service.js';

const decode = (text: string, file = 'f.yaml'): Entry[] => [...decodeFile(text, file, 'r')];

function only(text: string): RegistryService {
  const [entry] = decode(text);
  if (entry === undefined || typeof entry.content === 'string') throw new Error(`no service: ${entry?.content}`);
  return entry.content;
}

describe('file: decode', () => {
  it('reads a service with all that it can have', () => {
    const service = only(`
services:
  - name: billing
    namespace: prod
    group: g
    version: 1
    metadata: { team: pay, level: 3 }
    ports:
      - { name: web, protocol: http, number: 80 }
      - { name: rpc, protocol: grpc, number: 9090 }
    instances:
      - id: one
        address: "[2001:DB8::1]"
        ports: { web: 8080, rpc: "9091" }
        weight: 2
        status: drain
        zone: a
        locality: cn/sh/a
        network: shanghai
        metadata: { version: v1 }
`);
    expect(service).to.deep.include({
      key: { registry: 'r', namespace: 'prod', group: 'g', name: 'billing', version: '1' },
      metadata: { team: 'pay', level: '3' },
      rejected: [],
    });
    expect(service.instances).to.deep.equal([
      {
        id: 'one',
        address: '2001:db8::1',
        ports: [
          { name: 'web', protocol: 'http', number: 8080 },
          { name: 'rpc', protocol: 'grpc', number: 9091 },
        ],
        weight: 2,
        status: 'drain',
        zone: 'a',
        locality: 'cn/sh/a',
        network: 'shanghai',
        metadata: { version: 'v1' },
        changedAt: 0,
      },
    ]);
  });

  it('reads JSON, with tabs and a byte order mark, and anchors of YAML', () => {
    const text =
      '\uFEFF{\n\t"services": [\n\t\t{ "name": "a",\n\t"instances": [{ "address": "10.0.0.1", "port": 80 }] }\n\t]\n}\n';
    expect(only(text).instances[0]).to.include({ id: '10.0.0.1:80', address: '10.0.0.1', status: 'serve', weight: 1 });
    const [, second] = decode('services:\n  - &a { name: a, metadata: { x: "1" } }\n  - { <<: *a, name: b }\n');
    expect(second?.content).to.be.a('string');
    expect(decode('services:\n  - name: a\n    metadata: &m { x: 1 }\n  - name: b\n    metadata: *m\n')).to.have.length(
      2,
    );
  });

  for (const [what, instance, reason] of [
    ['no address', '{ port: 80 }', 'address: '],
    ['port 70000', '{ address: 10.0.0.1, port: 70000 }', 'port 70000 is not a whole number from 1 to 65535'],
    ['no port', '{ address: 10.0.0.1 }', 'port missing is not a whole number'],
    ['an unknown key', '{ address: 10.0.0.1, prot: 80 }', 'f.yaml:3:38: unknown key "prot"'],
    ['an unknown status', '{ address: 10.0.0.1, port: 80, status: UP }', 'f.yaml:3:56: status: '],
    ['a port that the service has not', '{ address: 10.0.0.1, ports: { rpc: 80 } }', 'port "rpc" is none of'],
    ['a text', 'here', 'f.yaml:3:17: '],
  ] as const)
    it(`leaves an instance with ${what} out, with its place and reason`, () => {
      const { instances, rejected } = only(
        `services:\n  - name: a\n    instances: [${instance}, { address: 10.0.0.9, port: 80 }]\n`,
      );
      expect(instances.map(({ address }) => address)).to.deep.equal(['10.0.0.9']);
      expect(rejected).to.have.length(1);
      expect(rejected[0]?.record).to.equal('f.yaml:3:17');
      expect(rejected[0]?.reason).to.include(reason);
    });

  it('knows a malformed service by what can be read of its key', () => {
    const [entry, nameless] = decode('services:\n  - { name: u, namespace: prod, version: 1, instnces: [] }\n  - []\n');
    expect(entry?.key).to.deep.equal({ registry: 'r', namespace: 'prod', group: '', name: 'u', version: '1' });
    expect(entry?.content).to.match(/^f\.yaml:2:45: unknown key "instnces"; the keys here are name, namespace,/);
    expect(nameless?.key.name).to.equal('f.yaml:3:5');
  });

  it('refuses aliases that make a flood of a few lines', () => {
    const levels = Array.from(
      { length: 9 },
      (_, level) => `l${level + 1}: &l${level + 1} [${`*l${level},`.repeat(9)}]`,
    );
    expect(() => decode(['l0: &l0 [x]', ...levels, 'services: []', ''].join('\n'))).to.throw(/^f\.yaml:1:1: .*alias/);
  });

  it('says where a file is malformed without showing what stands there', () => {
    expect(() => decode('services: [{ name: "secret" instances: [] }]')).to.throw(/^f\.yaml:1:\d+: (?!.*secret)/);
    expect(() => decode('a: &x [1]\nb: *y\n')).to.throw('f.yaml:2:4: *y refers to an anchor that is not there');
    expect(() => decode('services: 7')).to.throw(/^f\.yaml:1:11: services: .*; expected "services:" with a list$/);
  });
});

describe('file: join', () => {
  const joined = (...texts: string[]) => join(texts.map((text, index) => decode(text, `${index}.yaml`)));
  const service = (name: string, address: string) =>
    `  - { name: ${name}, instances: [{ address: ${address}, port: 80 }] }\n`;

  it('counts the first of several places of a service, in a file or in two, and shows the others', () => {
    const { services, malformed } = joined(
      `services:\n${service('a', '10.0.0.1')}${service('a', '10.0.0.2')}`,
      `services:\n${service('a', '10.0.0.3')}${service('b', '10.0.0.4')}`,
    );
    expect(malformed).to.deep.equal([]);
    expect([...services.values()].map(({ instances }) => instances[0]?.address)).to.deep.equal([
      '10.0.0.1',
      '10.0.0.4',
    ]);
    expect(services.get('r///a/')?.rejected).to.deep.equal(
      ['0.yaml:3:5', '1.yaml:2:5'].map((record) => ({
        record,
        reason: '"a" stands at 0.yaml:2:5 already, and that is what counts: one of them is to go',
      })),
    );
  });

  it('shows a malformed place of a service with the good one', () => {
    const { services, malformed } = joined(
      'services: [{ name: a, wrong: 1 }, { name: c, wrong: 1 }]',
      `services:\n${service('a', '10.0.0.1')}`,
    );
    expect(services.get('r///a/')?.rejected[0]?.reason).to.include('unknown key "wrong"');
    expect(malformed.map(({ key }) => key.name)).to.deep.equal(['c']);
  });
});
