import { execFile } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { expect } from 'chai';

const program = fileURLToPath(new URL('../../src/cli/pontoon.js', import.meta.url));

interface Outcome {
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
}

function pontoon(...args: string[]): Promise<Outcome> {
  return new Promise((resolve) => {
    const child = execFile(process.execPath, [program, ...args], (_, stdout, stderr) => {
      resolve({ code: child.exitCode ?? -1, stdout, stderr });
    });
  });
}

describe('the command line', function () {
  this.timeout(60_000);

  it('says its version and its commands', async () => {
    const { version } = JSON.parse(readFileSync('package.json', 'utf8')) as { version: string };
    expect((await pontoon('--version')).stdout.trim()).to.equal(version);
    const help = await pontoon('--help');
    for (const command of ['run', 'validate', 'inspect', 'schema'])
      expect(help.stdout).to.match(new RegExp(`^  ${command} `, 'm'));
    expect((await pontoon('rnu')).code).to.equal(1);
  });

  it('validates a file', async () => {
    expect(await pontoon('validate', 'config/pontoon.yaml')).to.include({
      code: 0,
      stdout: 'config/pontoon.yaml: valid, 1 registry\n',
    });
    const missing = await pontoon('validate', '/nope.yaml');
    expect(missing.code).to.equal(1);
    expect(missing.stderr).to.match(/^\/nope\.yaml:1:1: cannot be read/);
  });

  it('says what is wrong with a configuration instead of running it', async () => {
    const { code, stderr } = await pontoon('run', '--config', 'package.json');
    expect(code).to.equal(1);
    expect(stderr).to.match(/^package\.json:\d+:\d+: name: unknown key/m);
  });

  it('inspects a registry', async () => {
    const { code, stdout } = await pontoon('inspect', 'local');
    expect(code).to.equal(0);
    expect(stdout)
      .to.match(/^local \(file\): live\n2 services, 3 instances/)
      .and.match(/^SERVICE +HOST +PORTS +INSTANCES +SERVING$/m)
      .and.match(/^ledger\.example +ledger\.example +9000 grpc +1 +1$/m);
    const json = JSON.parse((await pontoon('inspect', 'local', '--json')).stdout) as { services: { host: string }[] };
    expect(json.services.map(({ host }) => host)).to.deep.equal(['hello.example', 'ledger.example']);
    const unknown = await pontoon('inspect', 'nope');
    expect(unknown).to.deep.equal({
      code: 1,
      stdout: '',
      stderr: 'config/pontoon.yaml: no registry is named "nope"; there are local\n',
    });
  });

  it('shows what gets no traffic, and odd records with their reasons', async () => {
    const folder = mkdtempSync(join(tmpdir(), 'pontoon-inspect-'));
    try {
      const services = [
        {
          name: 'odd.example',
          ports: [{ protocol: 'tcp', number: 9000 }],
          instances: [
            { address: '10.0.0.1', port: 1, status: 'serve' },
            { address: '10.0.0.2', port: 1, status: 'drop' },
            { address: '10.0.0.3', port: 1, status: 'drop' },
            { address: '10.0.0.4', port: 1, weight: 0 },
            { address: '0.0.0.0', port: 1 },
          ],
        },
        { name: 'x.svc.cluster.local', instances: [{ address: '10.0.0.5', port: 1 }] },
      ];
      writeFileSync(join(folder, 'services.yaml'), JSON.stringify({ services }));
      const file = join(folder, 'pontoon.yaml');
      writeFileSync(
        file,
        JSON.stringify({ registries: [{ name: 'odd', type: 'file', path: join(folder, 'services.yaml') }] }),
      );
      const { stdout } = await pontoon('inspect', 'odd', '-c', file);
      expect(stdout)
        .to.match(/^odd\.example +odd\.example +9000 tcp +4 +1 +2 status drop, 1 weight 0$/m)
        .and.match(/^x\.svc\.cluster\.local +\(none\) +1 +0$/m)
        .and.match(/^REJECTED OF +RECORD +REASON$/m)
        .and.match(/0\.0\.0\.0.* unspecified/)
        .and.match(/lies in the cluster's own domain/);
    } finally {
      rmSync(folder, { recursive: true });
    }
  });
});
