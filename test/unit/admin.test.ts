import { get as httpGet } from 'node:http';
import { expect } from 'chai';
import { pino } from 'pino';
import { parse } from 'yaml';
import { parseConfig } from '#config/load.js';
import { freePort } from '#test/servers/ports.js';
import { until } from '#test/servers/probes.js';
import { type Pontoon, startPontoon } from '../../src/main.js';

describe('admin API', () => {
  let pontoon: Pontoon;
  const get = (path: string) => fetch(`${pontoon.adminUrl}${path}`);
  const json = async (path: string): Promise<unknown> => (await get(path)).json();

  before(async () => {
    const config = parseConfig(
      `
registries:
  - { name: local, type: file, path: config/services.yaml, locality: "{{ instance.zone }}" }
  - { name: absent, type: file, path: /nope/services.yaml, required: false }
  - { name: awaited, type: file, path: /nope/either.yaml }
admin: { listen: "127.0.0.1:${await freePort()}" }
istio: { xds: [{ listen: "127.0.0.1:${await freePort()}" }] }
`,
      'p.yaml',
    );
    pontoon = await startPontoon(config, pino({ level: 'silent' }));
    await until('the services', async () => ((await json('/api/v1/services')) as unknown[]).length === 2);
  });
  after(() => pontoon.stop());

  it('is alive, and ready only when every required registry has been read', async () => {
    expect((await get('/healthz')).status).to.equal(200);
    const ready = await get('/readyz');
    expect(ready.status).to.equal(503);
    expect(await ready.json()).to.deep.equal({ ready: false, waitingFor: ['awaited'] });
  });

  it('shows registries with their state and last error', async () => {
    expect(await json('/api/v1/registries/local')).to.include({ state: 'live', services: 2, instances: 3 });
    expect(await json('/api/v1/registries/absent')).to.include({ state: 'failed', required: false });
    expect(((await json('/api/v1/registries/absent')) as { error: string }).error).to.include('ENOENT');
    expect((await get('/api/v1/registries/nope')).status).to.equal(404);
    expect(await json('/api/v1/registries/local/rejected')).to.deep.equal([]);
  });

  it('shows what becomes of the services of a registry', async () => {
    const [hello] = (await json('/api/v1/registries/local/services')) as object[];
    expect(hello).to.deep.equal({
      key: { registry: 'local', namespace: '', group: '', name: 'hello.example', version: '' },
      host: 'hello.example',
      elsewhere: false,
      ports: [{ name: 'http', number: 80, protocol: 'http' }],
      instances: 2,
      serving: 2,
      leftOut: {},
    });
    expect((await get('/api/v1/registries/nope/services')).status).to.equal(404);
  });

  it('finds services by a part of their host, and shows one with its endpoints', async () => {
    expect(((await json('/api/v1/services?q=HELLO')) as { host: string }[]).map(({ host }) => host)).to.deep.equal([
      'hello.example',
    ]);
    const hello = (await json('/api/v1/services/hello.example')) as {
      endpoints: { weight: number; locality?: string }[];
    };
    expect(hello.endpoints.map(({ weight }) => weight)).to.deep.equal([100, 200]);
    expect(
      hello.endpoints.map(({ locality }) => locality),
      'an empty locality is none',
    ).to.deep.equal([undefined, undefined]);
    expect((await get('/api/v1/services/nope')).status).to.equal(404);
    expect((await get('/api/v1/services?q=a&q=b')).status).to.equal(400);
  });

  it('gives ServiceEntries as YAML', async () => {
    const entry = parse(await (await get('/api/v1/istio/serviceentries?host=ledger.example')).text()) as {
      kind: string;
      spec: { ports: object[] };
    };
    expect(entry.kind).to.equal('ServiceEntry');
    expect(entry.spec.ports).to.deep.equal([{ name: 'grpc', number: 9000, protocol: 'GRPC' }]);
  });

  it('answers on loopback for names of loopback only', async () => {
    const status = (host: string) =>
      new Promise((resolve, reject) => {
        httpGet(`${pontoon.adminUrl}/healthz`, { headers: { host } }, (answer) =>
          resolve(answer.resume().statusCode),
        ).on('error', reject);
      });
    expect(await status('attacker.example:15380')).to.equal(403);
    expect(await status('localhost:15380')).to.equal(200);
  });

  it('escapes what stands in the page, and lets nothing be loaded or embedded', async () => {
    const answer = await get(`/?q=${encodeURIComponent('"><script>alert(1)</script>')}`);
    const page = await answer.text();
    expect(page).to.include('&quot;&gt;&lt;script&gt;').and.not.include('<script>');
    expect(answer.headers.get('content-security-policy')).to.include("default-src 'none'");
  });
});
