import { spawn } from 'node:child_process';
import { mkdtempSync, renameSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { expect } from 'chai';
import { pino } from 'pino';
import type { RegistryReport, ServiceReport, ServiceSummary } from '#admin/report.js';
import { loadConfig, parseConfig } from '#config/load.js';
import { freePort } from '#test/servers/ports.js';
import { until } from '#test/servers/probes.js';
import { type Pontoon, startPontoon } from '../../src/main.js';

const cli = fileURLToPath(new URL('../../src/cli/pontoon.js', import.meta.url));

function services(address: string, ...names: readonly string[]): string {
  return `services:\n${names.map((name) => `  - { name: ${name}, instances: [{ address: ${address}, port: 8080 }] }\n`).join('')}`;
}

describe('a new configuration at run time', () => {
  const folder = mkdtempSync(join(tmpdir(), 'pontoon-reload-'));
  const path = (name: string) => join(folder, name);
  let pontoon: Pontoon;
  let ports: string;

  const config = (registries: string, more = '') =>
    parseConfig(`registries:\n${registries}\n${ports}\n${more}`, path('pontoon.yaml'));
  const get = async (what: string): Promise<unknown> => (await fetch(`${pontoon.adminUrl}/api/v1/${what}`)).json();
  const registry = async (name: string) => (await get(`registries/${name}`)) as RegistryReport;
  const service = async (host: string) => (await get(`services/${host}`)) as ServiceReport;
  const a = `  - { name: a, type: file, path: ${path('a.yaml')} }`;
  const b = `  - { name: b, type: file, path: ${path('b.yaml')} }`;

  before(async () => {
    writeFileSync(path('a.yaml'), services('10.0.0.1', 'orders', 'carts'));
    writeFileSync(path('b.yaml'), services('10.0.0.2', 'orders', 'users'));
    ports = `admin: { listen: "127.0.0.1:${await freePort()}" }\nistio: { grace: 1s, xds: [{ listen: "127.0.0.1:${await freePort()}" }] }`;
    writeFileSync(path('pontoon.yaml'), `registries:\n${a}\n${ports}\n`);
    pontoon = await startPontoon(loadConfig(path('pontoon.yaml')), pino({ level: 'silent' }), () =>
      loadConfig(path('pontoon.yaml')),
    );
    await until('read', async () => (await registry('a')).complete);
  });
  after(async () => {
    await pontoon.stop();
    rmSync(folder, { recursive: true });
  });

  it('applies policies without asking the registries again', async () => {
    expect(
      await pontoon.reload(config(a, 'policies: [{ when: service.name == "orders", host: orders.mesh }]')),
    ).to.deep.equal({
      added: [],
      removed: [],
      restarted: [],
    });
    expect((await service('orders.mesh')).endpoints).to.have.length(1);
    expect((await service('orders')).gone).to.equal(true);
    expect((await registry('a')).runs).to.equal(1);
    await pontoon.reload(config(a));
    expect((await service('orders')).endpoints).to.have.length(1);
  });

  it('takes registries in and out', async () => {
    expect(await pontoon.reload(config(`${a}\n${b}`))).to.deep.include({ added: ['b'] });
    await until('merged', async () => (await service('orders')).endpoints.length === 2);
    expect((await fetch(`${pontoon.adminUrl}/readyz`)).status, 'ready stays ready').to.equal(200);
    expect(await pontoon.reload(config(b))).to.deep.include({ removed: ['a'] });
    expect((await service('orders')).endpoints.map(({ address }) => address)).to.deep.equal(['10.0.0.2']);
    expect(await service('carts')).to.include({ gone: true });
    await until('deleted after its grace', async () => 'error' in ((await service('carts')) as object));
    await pontoon.reload(config(a));
    await until('a again', async () => (await service('carts')).endpoints?.length === 1);
  });

  it('keeps what is known of a registry whose own keys change, until it has been read anew', async () => {
    const elsewhere = `  - { name: a, type: file, path: ${path('later.yaml')} }`;
    expect(await pontoon.reload(config(elsewhere))).to.deep.include({ restarted: ['a'] });
    await until('it cannot be read', async () => (await registry('a')).error !== undefined);
    expect((await service('orders')).endpoints).to.have.length(1);
    writeFileSync(path('tmp'), services('10.0.0.9', 'orders'));
    renameSync(path('tmp'), path('later.yaml'));
    await until('read anew', async () => (await service('orders')).endpoints[0]?.address === '10.0.0.9', 60_000);
    await pontoon.reload(config(a));
    await until('a again', async () => (await service('orders')).endpoints[0]?.address === '10.0.0.1');
  });

  it('refuses what needs a restart, and changes nothing then', async () => {
    let reason = '';
    await pontoon.reload(config(b, 'log: { level: debug }')).catch((error: Error) => {
      reason = error.message;
    });
    expect(reason).to.equal('log: to be changed by a restart only; the configuration stays as it was');
    expect((await registry('a')).state).to.equal('live');
  });

  it('is read anew by the API, and one that cannot be used says why', async () => {
    const reload = (headers = {}) =>
      fetch(`${pontoon.adminUrl}/api/v1/configuration/reload`, { method: 'POST', headers });
    writeFileSync(path('pontoon.yaml'), `registries:\n${a}\n${ports}\npolicies: [{ hots: x }]\n`);
    const refused = await reload();
    expect(refused.status).to.equal(422);
    expect(((await refused.json()) as { error: string }).error).to.include(
      'policies[0].hots: unknown key; did you mean "host"?',
    );
    expect((await service('orders')).endpoints).to.have.length(1);
    writeFileSync(path('pontoon.yaml'), `registries:\n${a}\n${b}\n${ports}\n`);
    expect(await (await reload()).json()).to.deep.include({ added: ['b'] });
    expect((await reload({ origin: 'http://elsewhere.example' })).status).to.equal(403);
  });
});

describe('pontoon run', function () {
  this.timeout(60_000);
  const folder = mkdtempSync(join(tmpdir(), 'pontoon-run-'));
  after(() => rmSync(folder, { recursive: true }));

  it('takes its configuration over when the file changes, and on SIGHUP, and keeps the old one over a bad one', async () => {
    // A link, as in a ConfigMap: what stands behind it can change unnoticed.
    const file = join(folder, 'pontoon.yaml');
    const behind = join(mkdtempSync(join(folder, 'data-')), 'pontoon.yaml');
    symlinkSync(behind, file);
    writeFileSync(join(folder, 'a.yaml'), services('10.0.0.1', 'orders'));
    const [admin, xds] = [await freePort(), await freePort()];
    const write = (host: string) => {
      writeFileSync(
        behind,
        `registries: [{ name: a, type: file, path: ${join(folder, 'a.yaml')}, host: ${host} }]
admin: { listen: "127.0.0.1:${admin}" }
istio: { xds: [{ listen: "127.0.0.1:${xds}" }] }
`,
      );
    };
    const linkAnew = () => {
      symlinkSync(behind, `${file}.new`);
      renameSync(`${file}.new`, file);
    };
    const served = async (): Promise<string[]> => {
      const list = (await (await fetch(`http://127.0.0.1:${admin}/api/v1/services`)).json()) as ServiceSummary[];
      return list.filter(({ gone }) => !gone).map(({ host }) => host);
    };
    write('one.mesh');
    const child = spawn(process.execPath, [cli, 'run', '-c', file], { stdio: 'pipe' });
    let log = '';
    for (const output of [child.stdout, child.stderr]) output.on('data', (chunk) => (log += chunk));
    try {
      await until('started', async () => (await served()).includes('one.mesh'));
      write('two.mesh');
      linkAnew();
      await until('taken over', async () => (await served()).includes('two.mesh'));
      write('"{{ service.nme }}"');
      linkAnew();
      await until('refused', () => log.includes('No such key: nme'));
      expect(await served()).to.deep.equal(['two.mesh']);
      write('three.mesh');
      child.kill('SIGHUP');
      await until('taken over on SIGHUP', async () => (await served()).includes('three.mesh'));
    } finally {
      child.kill();
    }
  });
});
