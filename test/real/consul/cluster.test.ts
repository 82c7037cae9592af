import { setTimeout as sleep } from 'node:timers/promises';
import { expect } from 'chai';
import type { Running } from '#test/real/recorder.js';
import { type Consul, startConsul } from '#test/servers/consul.js';
import { until } from '#test/servers/probes.js';
import { requireServers } from '#test/servers/require.js';
import { read, TestAgent } from './agent.js';

describe('Consul: a real cluster of three servers', function () {
  this.timeout(180_000);
  const servers: Consul[] = [];
  const started: Running[] = [];
  const server = (place: number) => servers[place] as Consul;

  before(async function () {
    await requireServers(this, 'consul');
    // A server that is killed stays one of the three, however soon the others notice.
    const config = { autopilot: { cleanup_dead_servers: false } };
    servers.push(await startConsul({ config }));
    for (const node of ['n2', 'n3']) servers.push(await startConsul({ node, config, join: server(0) }));
    const voters = async () => {
      const { Servers } = JSON.parse(await new TestAgent(server(0).url).send('GET', '/v1/operator/raft/configuration'));
      return Servers.filter(({ Voter }: { Voter: boolean }) => Voter).length === 3;
    };
    await until('three voters', voters, 60_000);
    await new TestAgent(server(2).url).register({ id: 'web-1', name: 'web' });
  });

  after(async () => {
    for (const { stop } of started) await stop();
    await Promise.all(servers.map((each) => each.kill()));
  });

  const begin = (urls: readonly string[], more: object = {}): Running => {
    const running = read(urls, more);
    started.push(running);
    return running;
  };

  it('goes over to another server when one is killed, keeps all without a leader, and goes on', async () => {
    const urls = servers.map(({ url }) => url);
    const all = begin(urls);
    const stale = begin(urls, { consistency: 'stale' });
    const consistent = begin(urls, { consistency: 'consistent' });
    for (const { until: seen } of [all, stale, consistent])
      await seen('live', (out) => out.now === 'live' && out.instances('web').length === 1);

    await server(0).kill();
    await new TestAgent(server(2).url).register({ id: 'web-2', name: 'web', port: 81 });
    for (const { until: seen } of [all, stale, consistent])
      await seen('read from another', (out) => out.instances('web').length === 2, 30_000);

    await server(1).kill();
    for (const { until: seen, out } of [all, stale, consistent]) {
      await seen('stale', ({ now }) => now === 'stale', 60_000);
      expect(out.reason).to.include(server(0).url);
    }
    await stale.until('says that it has no leader', ({ reason }) => reason.includes('has no leader'), 60_000);
    await sleep(1_000);
    for (const { out } of [all, stale, consistent]) expect(out.instances('web')).to.have.length(2);

    // A server is ready once there is a leader again.
    await server(1).start();
    for (const { until: seen } of [all, stale, consistent]) await seen('live', ({ now }) => now === 'live', 60_000);
    await until('writable', () =>
      new TestAgent(server(2).url).register({ id: 'web-3', name: 'web', port: 82 }).then(() => true),
    );
    for (const { until: seen, out } of [all, stale, consistent]) {
      await seen('changes', () => out.instances('web').length === 3, 60_000);
      expect(out.fewest).to.be.at.least(1);
    }
  });
});

describe('Consul: a real agent that is no server', function () {
  this.timeout(120_000);
  let server: Consul;
  let client: Consul;
  let running: Running;

  before(async function () {
    await requireServers(this, 'consul');
    server = await startConsul();
    client = await startConsul({ node: 'n2', client: true, join: server });
  });

  after(async () => {
    await running?.stop();
    await client?.stop();
    await server?.stop();
  });

  it('is read as a server is, and keeps all while its servers are away', async () => {
    const agent = new TestAgent(client.url);
    await agent.register({ id: 'web-1', name: 'web', check: 'passing' });
    running = read([client.url]);
    const { out, until: seen } = running;
    await seen('live', () => out.now === 'live' && out.instances('web').length === 1);
    await agent.check('web-1', 'critical');
    await seen('critical', () => out.instances('web')[0]?.status === 'critical');
    await server.kill();
    await seen('stale', () => out.now === 'stale', 60_000);
    await sleep(1_000);
    expect(out.instances('web')).to.have.length(1);
    await server.start();
    await seen('live', () => out.now === 'live', 60_000);
    await until('writable', () => agent.check('web-1', 'passing').then(() => true));
    await seen('passing', () => out.instances('web')[0]?.status === 'passing', 60_000);
  });
});
