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

describe('explain', function () {
  this.timeout(60_000);
  const folder = mkdtempSync(join(tmpdir(), 'pontoon-explain-'));
  let pontoon: Pontoon;

  const run = (...args: readonly string[]): Promise<{ code: number; out: string }> =>
    new Promise((resolve) =>
      execFile(process.execPath, [cli, ...args, '--url', pontoon.adminUrl], (error, stdout, stderr) =>
        resolve({ code: error === null ? 0 : Number(error.code), out: stdout + stderr }),
      ),
    );

  before(async () => {
    writeFileSync(
      join(folder, 'services.yaml'),
      `services:
  - name: orders
    instances:
      - { address: 10.0.0.1, port: 8080, metadata: { zone: z1 } }
      - { address: 10.0.0.2, port: 8080, status: drop }
      - { address: 10.0.9.3, port: 8080 }
      - { address: no address, port: 8080 }
  - name: test-orders
    instances: [{ address: 10.0.0.4, port: 8080 }]
`,
    );
    writeFileSync(
      join(folder, 'pontoon.yaml'),
      `registries: [{ name: local, type: file, path: ${join(folder, 'services.yaml')}, exclude: ["secret-*"] }]
policies:
  - { when: service.name == "orders", host: orders.mesh, aliases: [orders.old] }
  - { when: 'cidr(instance.address, "10.0.9.0/24")', health: drop }
  - { when: service.name.startsWith("test-"), drop: true }
  - { when: '"zone" in instance.metadata', locality: "cn/sh/{{ instance.metadata.zone }}" }
admin: { listen: "127.0.0.1:${await freePort()}" }
istio: { xds: [{ listen: "127.0.0.1:${await freePort()}" }], vip: off }
`,
    );
    pontoon = await startPontoon(loadConfig(join(folder, 'pontoon.yaml')), pino({ level: 'silent' }));
    await until('read', async () => (await fetch(`${pontoon.adminUrl}/readyz`)).status === 200);
  });
  after(async () => {
    await pontoon.stop();
    rmSync(folder, { recursive: true });
  });

  it('walks a host through every stage, word by word', async () => {
    const { code, out } = await run('explain', 'Orders.mesh');
    expect(code).to.equal(0);
    expect(out).to.equal(`orders in local
  registry   3 instances, 1 records that cannot be used   [local is live]
  policies   policies[0]   [their conditions hold]
  selection  kept   [no policy drops it]
  host       orders.mesh   [policies[0].host]
  merge      orders.mesh: 1 endpoints, ports 80 http   [from local///orders/]
  Istio      pontoon/orders.mesh   [all of it is valid]
  merge      orders.old: 1 endpoints, ports 80 http   [from local///orders/]
  Istio      pontoon/orders.old   [all of it is valid]
  clients    0 connected   [no istiod is connected]
  10.0.0.1:8080 (10.0.0.1:8080): endpoint of orders.mesh
    health     serve → serve   [health table]
    weight     1 → 100   [nominal is 1]
    locality   cn/sh/z1   [policies[3].locality]
  10.0.0.2:8080 (10.0.0.2:8080): gets no traffic: status drop
    health     drop → drop   [health table]
  10.0.9.3:8080 (10.0.9.3:8080): gets no traffic: status serve, by policies[1].health
    health     serve → drop   [policies[1].health]
  services.yaml:7:9: cannot be used: address "no address" is neither an IP address nor a DNS name
`);
  });

  it('finds one instance by its address, and says where it was dropped', async () => {
    const { out } = await run('explain', '10.0.9.3');
    expect(out).to.include('10.0.9.3:8080 (10.0.9.3:8080): gets no traffic: status serve, by policies[1].health');
    expect(out).to.not.include('10.0.0.1');
  });

  it('names the policy that leaves a service out', async () => {
    const { out } = await run('explain', 'test-orders');
    expect(out).to.include('selection  left out   [policies[2].drop]');
    expect(out).to.include('10.0.0.4:8080 (10.0.0.4:8080): gets no traffic: its service is not in the mesh');
  });

  it('says of what nobody knows where it was looked for', async () => {
    const { code, out } = await run('explain', 'secret-orders');
    expect(code).to.equal(1);
    expect(out).to.equal('secret-orders: no registry holds it\n\nsecret-orders: local reads *, not secret-*\n');
  });

  it('says where to look when no Pontoon answers', async () => {
    const port = await freePort();
    const found = await new Promise<string>((resolve) =>
      execFile(process.execPath, [cli, 'explain', 'x', '--url', `http://127.0.0.1:${port}`], (_, __, stderr) =>
        resolve(stderr),
      ),
    );
    expect(found).to.match(/^no Pontoon answers at http:.*ECONNREFUSED.*--url where it listens/);
  });
});
