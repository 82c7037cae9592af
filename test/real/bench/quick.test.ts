import { spawn } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { expect } from 'chai';
import { endWithThisProcess } from '#test/servers/lifetime.js';

const program = fileURLToPath(new URL('../../../bench/main.js', import.meta.url));

/** The whole bench, small: the times say nothing here, the endpoints at the end of each scenario everything. */
describe('the bench in its quick form', function () {
  this.timeout(900_000);

  it('loses no endpoint and has none too many in any scenario', async () => {
    const folder = mkdtempSync(join(tmpdir(), 'pontoon-bench-'));
    const child = spawn(process.execPath, [program, '--quick', '--to', folder], { stdio: ['ignore', 'pipe', 'pipe'] });
    endWithThisProcess(child, 'SIGTERM');
    let said = '';
    for (const output of [child.stdout, child.stderr])
      output.setEncoding('utf8').on('data', (text: string) => {
        said += text;
      });
    const status = await new Promise((resolve) => child.once('close', resolve));
    expect(status, said.slice(-4_000)).to.equal(0);
    const { figures, wrong } = JSON.parse(readFileSync(join(folder, 'result.json'), 'utf8'));
    expect(wrong).to.deep.equal([]);
    const scenarios = new Set((figures as { scenario: string }[]).map(({ scenario }) => scenario));
    expect(scenarios.size).to.be.at.least(16);
    expect(readFileSync(join(folder, 'result.svg'), 'utf8')).to.match(/^<svg [\s\S]*<\/svg>\n$/);
    rmSync(folder, { recursive: true });
  });
});
