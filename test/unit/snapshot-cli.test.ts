import { execFile } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { expect } from 'chai';
import { pino } from 'pino';
import { parse } from 'yaml';
import { parseConfig } from '#config/load.js';
import { decodeSnapshot, encodeSnapshot } from '#snapshot/format.js';
import type { Known } from '#snapshot/known.js';
import { freePort } from '#test/servers/ports.js';
import { until } from '#test/servers/probes.js';
import { type Pontoon, startPontoon } from '../../src/main.js';
import { knownOf } from './known.js';

const program = fileURLToPath(new URL('../../src/cli/pontoon.js', import.meta.url));

const services = (weight: number, ...hosts: readonly string[]) =>
  JSON.stringify({
    services: hosts.map((name, index) => ({
      name,
      ports: [{ name: 'admin', protocol: 'grpc', number: 9000 }],
      metadata: { team: 'a' },
      instances: [
        {
          address: `10.0.${index}.1`,
          port: 8080,
          weight,
          locality: 'cn/sh/a',
          network: 'n',
          metadata: { version: 'v1' },
        },
        { address: `10.0.${index}.2`, port: 8081, status: 'drain' },
        { address: `10.0.${index}.3`, port: 8082, status: 'drop' },
      ],
    })),
  });

describe('pontoon snapshot', function () {
  this.timeout(60_000);
  let folder: string;
  let config: string;
  let pontoon: Pontoon;
  const at = (name: string) => join(folder, name);

  function snapshot(...args: string[]): Promise<{ code: number; stdout: string; stderr: string }> {
    return new Promise((resolve) => {
      const child = execFile(process.execPath, [program, 'snapshot', ...args], (_, stdout, stderr) => {
        resolve({ code: child.exitCode ?? -1, stdout, stderr });
      });
    });
  }
  async function start(yaml: string): Promise<Pontoon> {
    return startPontoon(parseConfig(yaml, 'p.yaml'), pino({ level: 'silent' }));
  }
  const isRead = (count: number) => async () =>
    ((await (await fetch(`${pontoon.adminUrl}/api/v1/services`)).json()) as object[]).length === count;

  before(async () => {
    folder = mkdtempSync(join(tmpdir(), 'pontoon-snapshot-cli-'));
    config = at('pontoon.yaml');
    writeFileSync(at('services.yaml'), services(2, 'orders.test', 'carts.test', 'kept.test'));
    writeFileSync(
      config,
      `registries: [{ name: local, type: file, path: ${at('services.yaml')} }]
state: { directory: ${folder} }
admin: { listen: "127.0.0.1:${await freePort()}" }
istio: { xds: [{ listen: "127.0.0.1:${await freePort()}" }] }
`,
    );
    pontoon = await start(readFileSync(config, 'utf8'));
    await until('read', isRead(3));
    await pontoon.stop();
    writeFileSync(at('kept'), readFileSync(at('snapshot')));
    writeFileSync(at('services.yaml'), services(3, 'orders.test', 'new.test', 'kept.test'));
    pontoon = await start(readFileSync(config, 'utf8'));
    await until('read again', isRead(4));
  });
  after(async () => {
    await pontoon.stop();
    rmSync(folder, { recursive: true });
  });

  it('shows what is on disk', async () => {
    const { code, stdout } = await snapshot('show', at('kept'));
    expect(code).to.equal(0);
    expect(stdout)
      .to.match(/^\/.*kept: saved \d{4}-.*Z, \d+s ago, by Pontoon \d+\.\d+\.\d+; format 1, \d+ bytes$/m)
      .and.match(/^REGISTRY +TYPE +SERVICES +INSTANCES +HELD$/m)
      .and.match(/^local +file +3 +9 +0$/m);
    const { stdout: other } = await snapshot('show', '-c', config);
    expect(other).to.include(`${at('snapshot')}: saved`);
  });

  it('shows holds and empty services', async () => {
    writeFileSync(at('held'), await encodeSnapshot(knownOf(3)));
    const { stdout } = await snapshot('show', at('held'));
    expect(stdout)
      .to.match(/^r +test +3 +\d+ +6$/m)
      .and.match(/^r +3 +2023-11-14T22:12:20.000Z +9m 0s +30 of 50 instances went within 5 minutes$/m)
      .and.match(/^r +r\/\/\/1\/ +3 +2023\S+ +past its time +30 of 50/m)
      .and.match(/^gone\.test +4m 59s$/m)
      .and.match(/^held\.test +a registry has it$/m);
    const json = JSON.parse((await snapshot('show', '--json', at('held'))).stdout);
    expect(json).to.include({ services: 3, held: 6, format: 1 });
    expect(json.registries[0].holds[1]).to.include({ scope: 'service', service: 'r///1/', held: 3 });
  });

  it('tells in what a file and the running Pontoon differ', async () => {
    const { code, stdout } = await snapshot('diff', '-c', config, at('kept'));
    expect(stdout).to.equal(
      [
        '- local/carts.test',
        '    - 10.0.1.1:8080',
        '    - 10.0.1.2:8081',
        '    - 10.0.1.3:8082',
        '~ local/kept.test',
        '    ~ 10.0.2.1:8080: weight 2 → 3',
        '+ local/new.test',
        '    + 10.0.1.1:8080',
        '    + 10.0.1.2:8081',
        '    + 10.0.1.3:8082',
        '~ local/orders.test',
        '    ~ 10.0.0.1:8080: weight 2 → 3',
        '',
        'services: 1 added, 1 removed, 2 changed; instances: 3 added, 3 removed, 2 changed',
        '',
      ].join('\n'),
    );
    expect(code).to.equal(1);
  });

  it('finds nothing where nothing differs, be it in another order', async () => {
    const known = knownOf(30);
    const [registry, ...others] = known.registries;
    const turned = [{ ...registry, services: [...(registry?.services ?? [])].reverse() }, ...others];
    writeFileSync(at('one'), await encodeSnapshot(known));
    writeFileSync(at('two'), await encodeSnapshot({ ...known, savedAt: 1, registries: turned } as Known));
    expect(await snapshot('diff', at('one'), at('two'))).to.deep.equal({
      code: 0,
      stdout: 'nothing differs\n',
      stderr: '',
    });
    expect((await snapshot('diff', '--json', at('one'), at('two'))).stdout).to.equal('[]\n');
  });

  it('exports all of it', async () => {
    const { known } = decodeSnapshot(readFileSync(at('kept')), 'kept');
    const plain: unknown = JSON.parse(JSON.stringify(known));
    expect(JSON.parse((await snapshot('export', at('kept'))).stdout)).to.deep.equal(plain);
    expect(parse((await snapshot('export', '--format', 'yaml', at('kept'))).stdout)).to.deep.equal(plain);
  });

  it('exports what a registry of files serves as it was', async () => {
    const { code, stdout, stderr } = await snapshot('export', '-c', config, '--format', 'services', at('kept'));
    expect({ code, stderr }).to.deep.equal({ code: 0, stderr: '' });
    writeFileSync(at('frozen.yaml'), stdout);
    const entries = async (path: string): Promise<string> => {
      const one = await start(
        `registries: [{ name: any, type: file, path: ${path} }]
admin: { listen: "127.0.0.1:0" }
istio: { xds: [{ listen: "127.0.0.1:0" }] }
`,
      );
      try {
        const get = async (what: string) => (await fetch(`${one.adminUrl}${what}`)).text();
        await until('ready', async () => (await get('/readyz')).includes('true'));
        return await get('/api/v1/istio/serviceentries');
      } finally {
        await one.stop();
      }
    };
    writeFileSync(at('before.yaml'), services(2, 'orders.test', 'carts.test', 'kept.test'));
    const frozen = await entries(at('frozen.yaml'));
    expect(frozen).to.include('10.0.1.1');
    expect(frozen).to.equal(await entries(at('before.yaml')));
  });

  it('says which registries it cannot export as services', async () => {
    writeFileSync(at('others'), await encodeSnapshot(knownOf(3)));
    expect(await snapshot('export', '-c', config, '--format', 'services', at('others'))).to.deep.equal({
      code: 0,
      stdout: '{"services":[\n\n]}\n',
      stderr: `left out, since ${config} has no such registry: r (test), none (file)\n`,
    });
  });

  it('says what it cannot read', async () => {
    expect(await snapshot('show', at('nope'))).to.deep.include({ code: 1, stdout: '' });
    expect((await snapshot('show', at('nope'))).stderr).to.match(/nope cannot be read: ENOENT/);
    expect((await snapshot('show', at('services.yaml'))).stderr).to.match(/services\.yaml is no snapshot of Pontoon/);
    expect(await snapshot('show')).to.deep.equal({
      code: 1,
      stdout: '',
      stderr: 'config/pontoon.yaml: state.directory is not set: say which file\n',
    });
    const unheard = await snapshot('diff', '--url', `http://127.0.0.1:${await freePort()}`, at('kept'));
    expect(unheard).to.include({ code: 2, stdout: '' });
    expect(unheard.stderr).to.match(/no Pontoon answers/);
    expect((await snapshot('export', '--format', 'xml', at('kept'))).stderr).to.equal(
      '--format xml: expected json, yaml, services\n',
    );
  });
});
