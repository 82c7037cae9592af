import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect } from 'chai';
import { parse, stringify } from 'yaml';
import { type Certificates, makeCertificates } from '#test/servers/certificates.js';
import { Clock } from '#test/servers/clock.js';
import { type Consul, startConsul } from '#test/servers/consul.js';
import { type Istiod, startIstiod } from '#test/servers/istiod.js';
import { type Pontoon, startPontoon } from '#test/servers/pontoon.js';
import { freePort } from '#test/servers/ports.js';
import { httpOk, until } from '#test/servers/probes.js';
import { serverFolder } from '#test/servers/process.js';
import { requireServers } from '#test/servers/require.js';
import { startZookeeper, type Zookeeper } from '#test/servers/zookeeper.js';
import { complaints, type Diagnosis, doctor } from './command.js';

const master = 'e95b599e-166e-7d80-08ad-aee76e7ddf19';
const wrongToken = '5a1e5f4b-72d6-4e0c-8f5e-6b1d4c0f9a77';

describe('pontoon doctor', function () {
  this.timeout(120_000);

  let zookeeper: Zookeeper;
  let consul: Consul;
  let istiod: Istiod;
  let pontoon: Pontoon;
  let certificates: Certificates;
  let folder: string;
  let config: {
    [key: string]: unknown;
    istio: { xds: { [key: string]: unknown }[] };
    registries: { [key: string]: unknown }[];
  };
  let sources: string[];
  /** Where nobody listens. */
  let nobody: number;

  before(async function () {
    await requireServers(this, 'zookeeper', 'consul', 'istiod', 'libfaketime');
    nobody = await freePort();
    folder = serverFolder('doctor');
    certificates = makeCertificates(folder);
    const { ca, cert, key } = certificates;
    [zookeeper, consul] = await Promise.all([
      startZookeeper(),
      startConsul({
        token: master,
        config: { acl: { enabled: true, default_policy: 'deny', tokens: { initial_management: master } } },
        tls: { ca, server: { cert, key }, client: { cert, key } },
      }),
    ]);
    writeFileSync(join(folder, 'services.yaml'), stringify({ services: services(20) }));
    pontoon = await startPontoon({
      registries: [
        { name: 'zk', type: 'zookeeper', servers: [zookeeper.connectString] },
        {
          name: 'consul',
          type: 'consul',
          servers: [consul.httpsUrl],
          auth: { token: master },
          tls: { ca, cert, key },
        },
        { name: 'files', type: 'file', path: join(folder, 'services.yaml') },
      ],
      listener: { shards: 4 },
      state: { directory: join(folder, 'state') },
      coordination: { type: 'zookeeper', registry: 'zk' },
    });
    config = parse(readFileSync(configFile(), 'utf8'));
    sources = [0, 1, 2, 3].map((shard) => `xds://127.0.0.1:${pontoon.xdsPort + shard}`);
    await until('Pontoon is ready', () => httpOk(`${pontoon.url}/readyz`));
    istiod = await startIstiod({ configSources: sources });
  });

  after(async () => {
    await Promise.all([istiod, pontoon, consul, zookeeper].map((server) => server?.stop()));
  });

  const configFile = () => join(pontoon.folder, 'pontoon.yaml');

  /** Another configuration, of a Pontoon that does not run. */
  function written(change: (other: typeof config) => void): string {
    const other = structuredClone(config);
    change(other);
    other.admin = { listen: `127.0.0.1:${nobody}` };
    const file = join(folder, 'other.yaml');
    writeFileSync(file, stringify(other));
    return file;
  }

  /** Sets istiod's meshConfig, as an operator edits it, and waits until it shows. */
  async function setSources(addresses: readonly string[]): Promise<void> {
    const file = join(istiod.folder, 'mesh.yaml');
    const mesh = JSON.parse(readFileSync(file, 'utf8')) as object;
    writeFileSync(file, JSON.stringify({ ...mesh, configSources: addresses.map((address) => ({ address })) }));
    await until('istiod shows its meshConfig', async () => {
      const { configSources } = (await istiod.debug('mesh')) as { configSources: { address: string }[] };
      return configSources.map(({ address }) => address).join() === addresses.join();
    });
  }

  const advised = (diagnosis: Diagnosis) => {
    for (const { verdict, advice } of diagnosis.findings) if (verdict !== 'ok') expect(advice).to.be.a('string');
  };

  it('finds nothing wrong with a healthy world, and prints the fragment that istiod takes', async () => {
    const diagnosis = await doctor(configFile(), [istiod.url]);
    expect(complaints(diagnosis)).to.deep.equal([]);
    expect(diagnosis.status).to.equal(0);
    const said = diagnosis.findings.map(({ subject, found }) => `${subject}: ${found}`);
    for (const expected of [
      /^registry zk: live/,
      /^registry consul: live, .*certificate good until 20/,
      /^registry files: live, 20 services, 40 instances$/,
      /^listener .*: 4 ports are open/,
      /^clients: 4 streams connected, Istio/,
      /^istiod .*: reads listener .*: all 4 shards$/,
      /^istiod .*: holds all 20 resources as we sent them$/,
      /^shards of listener .*: 4 shards for 20 services and 40 endpoints/,
      /^clocks: \d clocks within/,
      /^coordination \(zookeeper\): reached/,
      /^state.directory: .* can be written/,
      /^guards: nothing is held/,
    ])
      expect(
        said.some((line) => expected.test(line)),
        `${expected} among\n${said.join('\n')}`,
      ).to.equal(true);
    const { configSources } = parse(diagnosis.meshConfig) as { configSources: { address: string }[] };
    expect(configSources.map(({ address }) => address)).to.deep.equal([...sources, 'k8s://']);
    expect(diagnosis.output).not.to.include(master);
  });

  it('sees a shard that is missing in istiod, one that is there twice, an old port, and no k8s://', async () => {
    const [first = '', second = '', third = ''] = sources;
    try {
      await setSources([first, second, second, third, 'xds://127.0.0.1:19']);
      const diagnosis = await doctor(configFile(), [istiod.url]);
      const subject = `istiod ${istiod.url}`;
      expect(complaints(diagnosis)).to.deep.equal([
        `fail ${subject}: 1 shard of 4 not in its configSources`,
        `fail ${subject}: listed twice: ${second}`,
        `fail ${subject}: its configSources point to xds://127.0.0.1:19, where none of our listeners is`,
        `warn ${subject}: k8s:// is not among its configSources`,
      ]);
      expect(diagnosis.findings.find(({ found }) => found.startsWith('1 shard'))?.expected).to.equal(sources[3]);
      expect(diagnosis.status).to.equal(1);
      advised(diagnosis);
    } finally {
      await setSources([...sources, 'k8s://']);
    }
  });

  it('sees what an istiod that reads three of four shards lacks', async () => {
    const other = await startIstiod({ configSources: sources.slice(1) });
    try {
      const diagnosis = await doctor(configFile(), [other.url]);
      const found = complaints(diagnosis);
      expect(found, found.join('\n')).to.have.length(2);
      expect(found[0]).to.match(/: 1 shard of 4 not in its configSources$/);
      expect(found[1]).to.match(/^fail istiod .*: \d+ resources? of ours not held: pontoon\/service-\d+\.test/);
      expect(diagnosis.status).to.equal(1);
    } finally {
      await other.stop();
    }
  });

  it('prints for TLS what a real istiod reads', async () => {
    const { ca, cert, key } = certificates;
    // The authority is found among the certificates of the file.
    const chain = join(folder, 'chain.pem');
    writeFileSync(chain, readFileSync(cert, 'utf8') + readFileSync(ca, 'utf8'));
    const secure = await startPontoon({
      registries: [{ name: 'files', type: 'file', path: join(folder, 'services.yaml') }],
      listener: { shards: 2, tls: { cert: chain, key } },
    });
    let reader: Istiod | undefined;
    try {
      await until('Pontoon is ready', () => httpOk(`${secure.url}/readyz`));
      const file = join(secure.folder, 'pontoon.yaml');
      const { meshConfig } = await doctor(file);
      reader = await startIstiod({ meshConfig: parse(meshConfig) as Record<string, unknown> });
      const diagnosis = await doctor(file, [reader.url]);
      expect(complaints(diagnosis)).to.deep.equal(['warn state.directory: not set']);
      expect(diagnosis.findings.map(({ found }) => found)).to.include('holds all 20 resources as we sent them');
      // As text, with what stands there once and is meant twice.
      writeFileSync(join(reader.folder, 'mesh.yaml'), `rootNamespace: as-text\n${meshConfig}`);
      const mesh = async () =>
        (await reader?.debug('mesh')) as {
          rootNamespace: string;
          configSources: { tlsSettings?: { mode: string; caCertificates: string } }[];
        };
      await until('istiod reads the text', async () => (await mesh()).rootNamespace === 'as-text');
      const [first, second] = (await mesh()).configSources;
      expect(first?.tlsSettings?.mode).to.equal('SIMPLE');
      expect(first?.tlsSettings?.caCertificates).to.include('BEGIN CERTIFICATE');
      expect(second?.tlsSettings).to.deep.equal(first?.tlsSettings);
    } finally {
      await reader?.stop();
      await secure.stop();
    }
  });

  it('says that it cannot tell when an istiod does not answer', async () => {
    const diagnosis = await doctor(configFile(), [`http://127.0.0.1:${nobody}`]);
    expect(complaints(diagnosis)).to.have.length(1);
    expect(complaints(diagnosis)[0]).to.match(/^unknown istiod .*ECONNREFUSED/);
    expect(diagnosis.status).to.equal(2);
  });

  it('sees a wrong token, a name that the certificate has not, and an authority that does not vouch for it', async () => {
    const of = (key: string, value: unknown) =>
      written(({ registries }) => {
        Object.assign(registries[1] ?? {}, { [key]: value });
      });
    const { ca, cert, key, otherCa } = certificates;
    const token = await doctor(of('auth', { token: wrongToken }));
    expect(complaints(token).find((line) => line.includes('consul'))).to.match(
      /^fail registry consul: cannot be read: .*40[13]/,
    );
    expect(token.output).not.to.include(wrongToken);
    const name = await doctor(of('tls', { ca, cert, key, serverName: 'elsewhere.test' }));
    expect(
      complaints(name).some((line) => /^fail registry consul: the certificate of .* is made out to/.test(line)),
    ).to.equal(true);
    const authority = await doctor(of('tls', { ca: otherCa, cert, key }));
    expect(complaints(authority).some((line) => /^fail registry consul: .* is not vouched for/.test(line))).to.equal(
      true,
    );
    for (const diagnosis of [token, name, authority]) {
      expect(diagnosis.status).to.equal(1);
      advised(diagnosis);
    }
  });

  it('sees a clock that is wrong, and certificates that have ended', async () => {
    const clock = new Clock();
    clock.set('+3d');
    const diagnosis = await doctor(
      written(({ istio }) => {
        const { cert, key } = certificates;
        Object.assign(istio.xds[0] ?? {}, { tls: { cert, key } });
      }),
      [],
      clock.env,
    );
    const found = complaints(diagnosis);
    expect(
      found.some((line) => /^fail listener .*: the certificate in .* ended on/.test(line)),
      found.join('\n'),
    ).to.equal(true);
    expect(found.some((line) => /^fail registry consul: the certificate of .* ended on/.test(line))).to.equal(true);
    expect(
      found.some((line) => /^fail clocks: .* 259\d\d\d s behind ours/.test(line)),
      found.join('\n'),
    ).to.equal(true);
    expect(diagnosis.status).to.equal(1);
  });

  it('says how many shards a catalog needs', async () => {
    writeFileSync(join(folder, 'services.yaml'), stringify({ services: services(4_000, 10) }));
    try {
      await until('they are in the catalog', async () => (await pontoon.registries())[2]?.services === 4_000, 60_000);
      const diagnosis = await doctor(configFile());
      expect(complaints(diagnosis)).to.deep.equal([
        `warn shards of listener ${sources[0]?.slice('xds://'.length)}: 4 shards for 4000 services and 40000 endpoints: a change costs istiod about 29 ms of CPU`,
      ]);
      expect(diagnosis.status).to.equal(0);
      advised(diagnosis);
    } finally {
      writeFileSync(join(folder, 'services.yaml'), stringify({ services: services(20) }));
    }
  });

  it('sees a registry that is away, with the coordination on it', async () => {
    await zookeeper.stop();
    try {
      await until('Pontoon notices', async () => (await pontoon.registries())[0]?.state === 'stale', 60_000);
      const running = await doctor(configFile());
      expect(running.status).to.equal(1);
      const found = complaints(running);
      expect(
        found.some((line) => /^fail registry zk: cannot be read/.test(line)),
        found.join('\n'),
      ).to.equal(true);
      expect(found.some((line) => /^fail registry zk: nobody can be reached at .*ECONNREFUSED/.test(line))).to.equal(
        true,
      );
      expect(
        found.some((line) => /^fail coordination \(zookeeper\)/.test(line)),
        found.join('\n'),
      ).to.equal(true);
      advised(running);
      const alone = complaints(await doctor(written(() => undefined)));
      expect(
        alone.some((line) => /^fail coordination \(zookeeper\)/.test(line)),
        alone.join('\n'),
      ).to.equal(true);
    } finally {
      await zookeeper.start();
    }
  });
});

function services(count: number, instances = 2): object[] {
  return Array.from({ length: count }, (_, service) => ({
    name: `service-${service}.test`,
    instances: Array.from({ length: instances }, (_, instance) => ({
      address: `10.${service >> 8}.${service & 255}.${instance + 1}`,
      port: 8080,
    })),
  }));
}
