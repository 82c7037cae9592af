import { mkdtempSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { inspect } from 'node:util';
import { expect } from 'chai';
import { nameFilter, Secret } from '#config/fields.js';
import { ConfigError, loadConfig, parseConfig } from '#config/load.js';
import { configReference } from '#config/reference.js';
import { jsonSchema } from '#config/schema.js';

function issuesOf(text: string, environment: NodeJS.ProcessEnv = {}): string[] {
  try {
    parseConfig(text, 'p.yaml', environment);
  } catch (error) {
    if (error instanceof ConfigError) return error.message.split('\n');
    throw error;
  }
  return [];
}

const minimal = 'registries: [{ name: a, type: file, path: s.yaml }]\n';

describe('configuration', () => {
  it('needs registries only, and has defaults for the rest', () => {
    const config = parseConfig(minimal, 'p.yaml');
    expect(config.registries[0]).to.include({ name: 'a', type: 'file', required: true });
    expect(config.istio.xds).to.deep.equal([
      { listen: { host: '127.0.0.1', port: 15310 }, shards: 1, plaintext: false, maxStreams: 32 },
    ]);
    expect(config.admin.listen).to.deep.equal({ host: '127.0.0.1', port: 15380 });
    expect(config.istio.grace).to.equal(300_000);
  });

  const wrong: [string, string, string][] = [
    ['an unknown key', `${minimal}admn: {}`, 'p.yaml:2:1: admn: unknown key; did you mean "admin"?'],
    [
      'an unknown key of a registry',
      'registries:\n  - name: a\n    type: file\n    pth: x\n    path: y',
      'p.yaml:4:5: registries[0].pth: unknown key; did you mean "path"?',
    ],
    [
      'an unknown type',
      'registries: [{ name: a, type: fle }]',
      'p.yaml:1:31: registries[0].type: unknown type "fle"; did you mean "file"?',
    ],
    [
      'a missing key',
      'registries:\n  - name: a\n    type: file',
      'p.yaml:2:5: registries[0].path: missing; expected string',
    ],
    ['no registries', 'admin: {}', 'p.yaml:1:1: registries: missing; expected array'],
    [
      'a second registry of the same name',
      'registries:\n  - { name: a, type: file, path: x }\n  - { name: a, type: file, path: x }',
      'p.yaml:3:13: registries[1].name: a second registry is named "a"',
    ],
    [
      'a duration without a unit',
      `${minimal}istio: { grace: "5" }`,
      'p.yaml:2:17: istio.grace: expected a duration with its unit',
    ],
    [
      'an address without a port',
      `${minimal}admin: { listen: localhost }`,
      'p.yaml:2:18: admin.listen: "localhost" is not host:port',
    ],
    [
      'a misspelt field in a template',
      'registries:\n  - { name: a, type: file, path: x, host: "{{ service.nme }}" }',
      'p.yaml:2:43: registries[0].host: service.nme: No such key: nme',
    ],
    ['malformed YAML', 'registries: [', 'p.yaml:1:14: '],
    ['a key twice', `${minimal}admin: {}\nadmin: {}`, 'p.yaml:3:1: Map keys must be unique'],
    [
      'a text that YAML takes for an alias',
      `${minimal}istio: { exportTo: [*x] }`,
      'p.yaml:2:21: *x refers to an anchor',
    ],
    [
      'a form that is none of several',
      `${minimal}istio: { vip: false }`,
      'p.yaml:2:15: istio.vip: expected off or object',
    ],
    [
      'an unknown key in one of several forms',
      `${minimal}istio: { vip: { range: [] } }`,
      'p.yaml:2:15: istio.vip.ranges: missing',
    ],
    [
      'namespaces that are none',
      `${minimal}istio: { exportTo: ["Foo bar"] }`,
      'p.yaml:2:21: istio.exportTo[0]: expected',
    ],
    [
      'a duration that is too long',
      `${minimal}istio: { grace: 720h }`,
      'p.yaml:2:17: istio.grace: expected at most 24 days',
    ],
    [
      'a URL that is none, without its password',
      'registries: [{ name: a, type: eureka, servers: ["http://u:s3cret@eu reka:1"] }]',
      'p.yaml:1:49: registries[0].servers[0]: expected a URL such as http://host:port/path',
    ],
    [
      'a URL with a query',
      'registries: [{ name: a, type: consul, servers: ["http://h:8500?token=s3cret"] }]',
      'p.yaml:1:49: registries[0].servers[0]: expected a URL such as http://host:port/path, without ? and #',
    ],
    [
      'no registry that is required',
      'registries: [{ name: a, type: file, path: x, required: false }]',
      'p.yaml:1:13: registries: at least one',
    ],
    [
      'a namespace that is no DNS label',
      'registries: [{ name: a, type: file, path: x, namespace: A_B }]',
      'p.yaml:1:57: registries[0].namespace: "A_B" cannot be used here',
    ],
    [
      'an unknown type of coordination',
      `${minimal}coordination: { type: zookeper, registry: a }`,
      'p.yaml:2:23: coordination.type: unknown type "zookeper"; did you mean "zookeeper"?; the types are file',
    ],
    [
      'an unknown key of a type of coordination',
      `${minimal}coordination: { type: file, directory: x, pth: y }`,
      'p.yaml:2:43: coordination.pth: unknown key; the keys here are type, directory',
    ],
    [
      'coordination by a registry that is not there',
      `${minimal}coordination: { type: zookeeper, registry: zk }`,
      'p.yaml:2:44: coordination.registry: no registry is named "zk"; expected a registry of type zookeeper, and there is none',
    ],
    [
      'coordination by a registry of another type',
      'registries:\n  - { name: a, type: file, path: x }\n  - { name: c, type: consul, servers: ["http://h:1"] }\ncoordination: { type: consul, registry: a }',
      'p.yaml:4:41: coordination.registry: "a" is of type file; expected a registry of type consul, and there is c',
    ],
    ['a range that is too small', `${minimal}istio: { vip: { ranges: [10.0.0.0/30] } }`, 'p.yaml:2:'],
  ];
  for (const [what, text, message] of wrong)
    it(`names file, line and column of ${what}`, () => {
      expect(issuesOf(text)[0]).to.satisfy((issue: string) => issue?.startsWith(message), `${issuesOf(text)[0]}`);
    });

  it('names everything that is wrong at once', () => {
    expect(
      issuesOf(`${minimal}admn: {}\nistio: { namespace: "\${NOPE}" }`).map((issue) => issue.slice(0, 12)),
    ).to.deep.equal(['p.yaml:2:1: ', 'p.yaml:3:21:']);
    expect(issuesOf('registries: [{ name: a, type: file }]\nadmn: {}\nistio: { grace: x }')).to.have.length(3);
  });

  it('expands environment variables and files, in scalars only, after parsing', () => {
    const folder = mkdtempSync(join(tmpdir(), 'pontoon-config-'));
    writeFileSync(join(folder, 'path.txt'), 'from-file.yaml\n');
    writeFileSync(
      join(folder, 'p.yaml'),
      'registries:\n  - { name: a, type: file, path: "${DIR}/x: [y" }\n  - { name: b, type: file, path: "file:path.txt" }\n',
    );
    const { registries } = loadConfig(join(folder, 'p.yaml'), { DIR: '/etc' });
    expect(registries.map((registry) => ('path' in registry ? registry.path : ''))).to.deep.equal([
      '/etc/x: [y',
      'from-file.yaml',
    ]);
  });

  it('names a variable or file that is missing', () => {
    expect(issuesOf('registries:\n  - { name: a, type: file, path: "${NOPE}" }')[0]).to.equal(
      'p.yaml:2:34: ${NOPE}: the environment has no variable NOPE',
    );
    expect(issuesOf('registries:\n  - { name: a, type: file, path: "file:/nope/x" }')[0]).to.match(
      /file:\/nope\/x cannot be read/,
    );
    expect(() => loadConfig('/nope/p.yaml')).to.throw(ConfigError, '/nope/p.yaml:1:1: cannot be read');
  });

  it('never shows an expanded value in a message', () => {
    const [issue] = issuesOf(`${minimal}admin: { listen: "\${TOKEN}" }`, { TOKEN: 's3cret' });
    expect(issue).to.include('[redacted]').and.not.include('s3cret');
  });

  it('keeps secrets out of every text', () => {
    const secret = new Secret('s3cret');
    expect([String(secret), JSON.stringify({ secret }), inspect({ secret }), `${secret}`].join()).not.to.include(
      's3cret',
    );
    expect(secret.reveal()).to.equal('s3cret');
  });

  it('chooses names by globs', () => {
    const wanted = nameFilter(['com.acme.*', 'ORDERS'], ['*Internal*']);
    expect(['com.acme.A', 'com.acme.b.C', 'ORDERS', 'com.acme.InternalX', 'other'].map(wanted)).to.deep.equal([
      true,
      true,
      true,
      false,
      false,
    ]);
    expect(nameFilter(undefined, undefined)('anything/at:all')).to.equal(true);
  });
});

describe('what stands in config/', () => {
  it('the default configuration and every example are valid', () => {
    const examples = readdirSync('config/examples').map((name) => join('config/examples', name));
    const known: NodeJS.ProcessEnv = { PONTOON_SERVE: '16-31/64' };
    const environment = new Proxy(known, {
      get: (_, name) => known[String(name)] ?? 'from-the-environment',
      has: () => true,
    });
    for (const file of ['config/pontoon.yaml', ...examples]) loadConfig(file, environment);
  });

  it('config/schema.json is what the code says (npm run schema)', () => {
    expect(JSON.parse(readFileSync('config/schema.json', 'utf8'))).to.deep.equal(
      JSON.parse(JSON.stringify(jsonSchema())),
    );
  });

  it('config/reference.md is what the code says (npm run schema)', () => {
    expect(readFileSync('config/reference.md', 'utf8')).to.equal(configReference());
  });
});
