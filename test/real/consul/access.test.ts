import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { expect } from 'chai';
import type { Running } from '#test/real/recorder.js';
import { type Consul, type ConsulTls, consulTls, startConsul } from '#test/servers/consul.js';
import { requireServers } from '#test/servers/require.js';
import { read, TestAgent } from './agent.js';

const management = '11111111-2222-3333-4444-555555555555';
const acl = { enabled: true, default_policy: 'deny', tokens: { initial_management: management, agent: management } };

describe('Consul: tokens of a real server', function () {
  this.timeout(120_000);
  let server: Consul;
  const started: Running[] = [];

  before(async function () {
    await requireServers(this, 'consul');
    server = await startConsul({ config: { acl }, token: management });
  });

  after(async () => {
    for (const { stop } of started) await stop();
    await server?.stop();
  });

  const begin = (more: object): Running => {
    const running = read([server.url], { wait: '1s', ...more });
    started.push(running);
    return running;
  };

  it('goes on when the token in the file is replaced, and keeps all while there is none', async () => {
    const agent = new TestAgent(server.url, management);
    await agent.register({ id: 'web-1', name: 'web' });
    const { ID } = JSON.parse(
      await agent.send('PUT', '/v1/acl/policy', {
        Name: 'reader',
        Rules: 'service_prefix "" { policy = "read" } node_prefix "" { policy = "read" }',
      }),
    );
    const token = async (): Promise<{ SecretID: string; AccessorID: string }> =>
      JSON.parse(await agent.send('PUT', '/v1/acl/token', { Policies: [{ ID }] }));
    const [first, second] = [await token(), await token()];
    const tokenFile = join(server.folder, 'token');
    writeFileSync(tokenFile, `${first.SecretID}\n`);
    const { out, until } = begin({ auth: { tokenFile } });
    await until('live', () => out.now === 'live' && out.instances('web').length === 1);

    writeFileSync(tokenFile, '');
    await agent.send('DELETE', `/v1/acl/token/${first.AccessorID}`);
    await until('refused', () => out.now === 'stale');
    await until('says why', () => out.reason.includes(`${tokenFile} holds no token`));
    writeFileSync(tokenFile, second.SecretID);
    await until('live', () => out.now === 'live');
    await agent.register({ id: 'web-2', name: 'web', port: 81 });
    await until('changes again', () => out.instances('web').length === 2);
    expect(out.fewest).to.equal(1);
    expect(out.reason).to.not.include(first.SecretID).and.not.include(second.SecretID);
  });

  it('says that the token file is not there', async () => {
    const { until, out } = begin({ auth: { tokenFile: join(server.folder, 'nothing') } });
    await until('failed', () => out.now === 'failed');
    expect(out.reason).to.match(/auth.tokenFile cannot be read: ENOENT.*nothing/);
  });
});

describe('Consul: HTTPS of a real server, with client certificates', function () {
  this.timeout(180_000);
  const count = 300;
  let server: Consul;
  let tls: ConsulTls;
  const started: Running[] = [];

  before(async function () {
    await requireServers(this, 'consul');
    tls = consulTls();
    // Fewer than the 200 by default: the 100 blocking queries, and what is beside them.
    server = await startConsul({ tls, config: { limits: { http_max_conns_per_client: 120 } } });
  });

  after(async () => {
    for (const { stop } of started) await stop();
    await server?.stop();
  });

  const begin = (more: object): Running => {
    const running = read([server.httpsUrl], more);
    started.push(running);
    return running;
  };

  it('is refused without a certificate, and refuses an authority that it does not know', async () => {
    const [bare, stranger] = [begin({ tls: { ca: tls.ca } }), begin({ tls: { ...tls.client } })];
    await bare.until('refused', ({ now }) => now === 'failed');
    expect(bare.out.reason).to.match(/certificate/i);
    await stranger.until('refuses', ({ now }) => now === 'failed');
    expect(stranger.out.reason).to.match(/certificate/i);
  });

  it(`reads ${count} services with fewer connections than an agent allows, and each change within its bound`, async () => {
    const agent = new TestAgent(server.url);
    const name = (index: number) => `service-${String(index).padStart(3, '0')}`;
    for (let index = 0; index < count; index++)
      await agent.register({ id: `${name(index)}-1`, name: name(index), check: 'passing' });
    const { out, until } = begin({ tls: { ca: tls.ca, ...tls.client }, wait: '60s' });
    await until('live', () => out.now === 'live' && out.services.size === count);
    await sleep(3_000);
    const [lives, updates] = [out.lives, out.updates];
    await sleep(5_000);
    expect(out.lives - lives, 'answers while nothing changes').to.be.at.most(10);
    expect(out.updates).to.equal(updates);

    const times: number[] = [];
    for (const index of [0, count - 1, count / 2, count - 2, 1, count - 3]) {
      const begun = performance.now();
      await agent.register({ id: `${name(index)}-1`, name: name(index), check: 'passing', meta: { v: '2' } });
      await until('changed', () => out.instances(name(index))[0]?.metadata.v === '2');
      times.push(performance.now() - begun);
    }
    console.log(`      changes over HTTPS after ${times.map((time) => time.toFixed(0)).join(', ')} ms`);
    // Those beyond the blocking queries: three readings of 200 services and 1 s, with room for a busy machine.
    expect(Math.max(...times)).to.be.lessThan(5_000);
  });
});
