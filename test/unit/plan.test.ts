import { execFile } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { expect } from 'chai';
import { pino } from 'pino';
import { loadConfig } from '#config/load.js';
import { freePort } from '#test/servers/ports.js';
import { until } from '#test/servers/probes.js';
import { type Pontoon, startPontoon } from '../../src/main.js';

const cli = fileURLToPath(new URL('../../src/cli/pontoon.js', import.meta.url));

describe('plan', function () {
  this.timeout(60_000);
  const folder = mkdtempSync(join(tmpdir(), 'pontoon-plan-'));
  const path = (name: string) => join(folder, name);
  let pontoon: Pontoon;
  let base: string;

  /** Plans another configuration. */
  const plan = (yaml: string, ...args: readonly string[]): Promise<{ code: number; out: string }> => {
    writeFileSync(path('next.yaml'), yaml);
    return new Promise((resolve) =>
      execFile(
        process.execPath,
        [cli, 'plan', '-c', path('next.yaml'), '--url', pontoon.adminUrl, ...args],
        (error, stdout, stderr) => resolve({ code: error === null ? 0 : Number(error.code), out: stdout + stderr }),
      ),
    );
  };

  before(async () => {
    writeFileSync(
      path('services.yaml'),
      `services:
  - { name: orders, instances: [{ address: 10.0.0.1, port: 8080 }, { address: 10.0.1.2, port: 8080 }] }
  - { name: carts, instances: [{ address: 10.0.0.3, port: 8080 }] }
  - { name: users, instances: [{ address: 10.0.0.4, port: 8080 }] }
`,
    );
    base = `registries: [{ name: local, type: file, path: ${path('services.yaml')} }]
admin: { listen: "127.0.0.1:${await freePort()}" }
istio: { xds: [{ listen: "127.0.0.1:${await freePort()}" }], vip: off }
`;
    writeFileSync(path('pontoon.yaml'), base);
    pontoon = await startPontoon(loadConfig(path('pontoon.yaml')), pino({ level: 'silent' }));
    await until('read', async () => (await fetch(`${pontoon.adminUrl}/readyz`)).status === 200);
  });
  after(async () => {
    await pontoon.stop();
    rmSync(folder, { recursive: true });
  });

  it('says that nothing changes', async () => {
    expect(await plan(base)).to.deep.equal({ code: 0, out: 'nothing changes\n' });
  });

  it('shows what appears, changes and goes, and which pushes are full', async () => {
    const { code, out } = await plan(`${base}policies:
  - { when: 'cidr(instance.address, "10.0.1.0/24")', health: drop }
  - { when: service.name == "carts", ports: [{ name: http, number: 8000 }] }
  - { when: service.name == "users", host: people.mesh }
`);
    expect(code).to.equal(2);
    expect(out).to.equal(`~ carts: ports 80 http → 8000 http (full push)
~ orders: 1 endpoint now (endpoints push)
    10.0.1.2:8080 removed: by this configuration
+ people.mesh: appeared; 1 endpoint now (full push)
    10.0.0.4:8080 added
- users: removed: emptied at once, deleted after its grace (full push)
    10.0.0.4:8080 removed: by this configuration

4 hosts change: 3 with a full push, 1 with their endpoints only
`);
  });

  it('shows registries that come, services that are lost, and what takes a restart', async () => {
    const { code, out } =
      await plan(`${base.replace('[{ name: local', '[{ name: new, type: file, path: new.yaml }, { name: local')}
policies: [{ when: service.name == "carts", drop: true }, { host: same.mesh }]
log: { level: debug }
`);
    expect(code).to.equal(2);
    expect(out).to.include('registries added: new\n');
    expect(out).to.include('registry new has not been read: what it would add is not known\n');
    expect(out).to.include('log: to be changed by a restart only\n');
    expect(out).to.include('- local///carts/: left out by policies[0].drop\n');
    expect(out).to.include(
      '- local///users/: host same.mesh is held by local///orders/: give one of them another host\n',
    );
  });

  it('knows what is not even read any more', async () => {
    const { out } = await plan(base.replace('path: ', 'exclude: [users], path: '));
    expect(out).to.include('registries restarted: local\n');
    expect(out).to.include('- users: removed');
  });

  it('does not say that nothing changes where it cannot tell', async () => {
    const absent = base.replace('}]\nadmin', '}, { name: absent, type: file, path: /nope.yaml }]\nadmin');
    expect((await plan(absent)).out).to.include('registry absent has not been read');
  });

  it('gives nothing away that the daemon could look up', async () => {
    process.env.PONTOON_TEST_SECRET = 'hunter2';
    for (const reference of ['${PONTOON_TEST_SECRET}', 'file:/etc/hostname']) {
      const { code, out } = await plan(`${base}policies: [{ namespace: "${reference}" }]`);
      expect(code).to.equal(1);
      expect(out).to.include('cannot be looked up here').and.not.include('hunter2');
    }
  });

  it('changes nothing', async () => {
    const services = (await (await fetch(`${pontoon.adminUrl}/api/v1/services`)).json()) as { host: string }[];
    expect(services.map(({ host }) => host)).to.deep.equal(['carts', 'orders', 'users']);
  });

  it('prints JSON', async () => {
    const { out } = await plan(`${base}policies: [{ when: service.name == "carts", drop: true }]`, '--json');
    expect(JSON.parse(out)).to.deep.include({
      lost: [{ id: 'local///carts/', reason: 'left out by policies[0].drop' }],
    });
  });

  it('sees no change in a service that has lost its instances', async () => {
    const list = (instances: string) =>
      writeFileSync(path('services.yaml'), `services: [{ name: ledger, instances: [${instances}] }]`);
    const endpoints = async () => {
      const found = (await (await fetch(`${pontoon.adminUrl}/api/v1/services/ledger`)).json()) as {
        endpoints?: unknown[];
      };
      return found.endpoints?.length;
    };
    list('{ address: 10.0.0.9, port: 1, metadata: { protocol: grpc } }');
    await until('there', async () => (await endpoints()) === 1);
    list('');
    await until('emptied', async () => (await endpoints()) === 0);
    expect(await plan(base)).to.deep.equal({ code: 0, out: 'nothing changes\n' });
  });

  it('names file, line and column of a mistake', async () => {
    const { code, out } = await plan(`${base}policies: [{ when: service.nme == "a" }]`);
    expect(code).to.equal(1);
    expect(out).to.include('next.yaml:4:20: policies[0].when: service.nme == "a": No such key: nme');
  });
});
