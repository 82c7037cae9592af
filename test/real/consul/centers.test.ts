import { setTimeout as sleep } from 'node:timers/promises';
import { expect } from 'chai';
import { consul } from '#adapters/consul/index.js';
import { RegistryPolicy } from '#policy/contribution.js';
import type { Recorder, Running } from '#test/real/recorder.js';
import { type Consul, startConsul } from '#test/servers/consul.js';
import { until } from '#test/servers/probes.js';
import { requireServers } from '#test/servers/require.js';
import { read, TestAgent } from './agent.js';

const inGroup = (out: Recorder, group: string, name = 'web') =>
  [...out.services.values()].find(({ key }) => key.group === group && key.name === name);

describe('Consul: two real data centres, read from the agents of one', function () {
  this.timeout(180_000);
  let first: Consul;
  let second: Consul;
  let running: Running;
  let agents: readonly [TestAgent, TestAgent];

  before(async function () {
    await requireServers(this, 'consul');
    first = await startConsul({ wan: true });
    second = await startConsul({ wan: true, datacenter: 'dc2', join: first });
    agents = [new TestAgent(first.url), new TestAgent(second.url)];
    await until('joined', async () => (await agents[0].send('GET', '/v1/catalog/datacenters')).includes('dc2'), 30_000);
    await agents[0].register({ id: 'web-1', name: 'web', port: 8001 });
    await agents[1].register({ id: 'web-1', name: 'web', port: 8002 });
    await agents[1].register({ id: 'db-1', name: 'db', port: 5432 });
  });

  after(async () => {
    await running?.stop();
    await second?.stop();
    await first?.stop();
  });

  it('keeps their services apart, each under the host that its DNS has', async () => {
    running = read([first.url], { datacenters: ['*'] });
    await running.until('live', (out) => out.now === 'live' && out.services.size === 3);
    const [own, other] = [inGroup(running.out, ''), inGroup(running.out, 'dc2')];
    expect(own?.instances[0]?.ports[0]?.number).to.equal(8001);
    expect(other?.instances[0]?.ports[0]?.number).to.equal(8002);
    expect([own?.instances[0]?.zone, other?.instances[0]?.zone]).to.deep.equal(['dc1', 'dc2']);
    const policy = new RegistryPolicy({ name: 'co', type: 'consul', kinds: consul.kinds });
    const hosts = [own, other].map((service) => {
      const made = service === undefined ? undefined : policy.contribution(service, 0);
      return made !== undefined && 'host' in made ? made.host : undefined;
    });
    expect(hosts).to.deep.equal(['web.service.consul', 'web.service.dc2.consul']);
  });

  it('follows the other data centre as soon as its own', async () => {
    const { until: untilRead } = running;
    const begun = performance.now();
    await agents[1].register({ id: 'web-2', name: 'web', port: 8003 });
    await untilRead('registered', (out) => inGroup(out, 'dc2')?.instances.length === 2);
    console.log(`      a change in the other data centre after ${(performance.now() - begun).toFixed(0)} ms`);
    await agents[1].deregister('web-2');
    await untilRead('deregistered', (out) => inGroup(out, 'dc2')?.instances.length === 1);
  });

  it('loses nothing when one is killed, says which, and goes on with the other', async () => {
    const { out, until: untilRead } = running;
    out.fewest = Number.POSITIVE_INFINITY;
    await second.kill();
    await untilRead('stale', () => out.now === 'stale', 60_000);
    expect(out.reason)
      .to.match(/data centre dc2/)
      .and.not.match(/data centre dc1/);
    await agents[0].register({ id: 'web-3', name: 'web', port: 8004 });
    await untilRead('the own one changes', () => inGroup(out, '')?.instances.length === 2);
    await agents[0].register({ id: 'new-1', name: 'new' });
    await untilRead('a new service', () => out.named('new') !== undefined);
    expect(inGroup(out, 'dc2')?.instances).to.have.length(1);
    expect(inGroup(out, 'dc2', 'db')?.instances).to.have.length(1);
    await second.start();
    await untilRead('live', () => out.now === 'live', 60_000);
    await agents[1].register({ id: 'web-4', name: 'web', port: 8005 });
    await untilRead('the other changes again', () => inGroup(out, 'dc2')?.instances.length === 2);
    expect(out.fewest).to.equal(3);
  });

  it('shows one at the start while the other cannot be asked, and is complete only with both', async () => {
    await second.kill();
    const late = read([first.url], { datacenters: ['dc1', 'dc2'] });
    try {
      await late.until('one', (out) => inGroup(out, '')?.instances.length === 2);
      await late.until('says why', (out) => out.now === 'failed' && out.reason.includes('data centre dc2'), 60_000);
      expect(late.out.listings).to.equal(0);
      await second.start();
      await late.until('live', (out) => out.now === 'live' && inGroup(out, 'dc2') !== undefined, 60_000);
      expect(late.out.listings).to.equal(1);
    } finally {
      await late.stop();
    }
  });

  it('asks for next to nothing while nothing changes', async () => {
    const { out } = running;
    // The data centre that was away may still be settling.
    let [lives, updates] = [out.lives, -1];
    for (let round = 0; round < 4 && out.updates !== updates; round++) {
      [lives, updates] = [out.lives, out.updates];
      await sleep(6_000);
    }
    // For each data centre one blocking query on the list, and for each of four services one.
    expect(out.lives - lives).to.be.at.most(12);
    expect(out.updates).to.equal(updates);
  });

  it('says when the data centre that is wanted is not there', async () => {
    const wrong = read([first.url], { datacenters: ['dc1', 'dc9'] });
    try {
      await wrong.until('failed', (out) => out.now === 'failed' && out.reason.includes('dc9'), 60_000);
      expect(wrong.out.reason).to.include('No path to datacenter');
    } finally {
      await wrong.stop();
    }
  });
});
