import { setTimeout as sleep } from 'node:timers/promises';
import { expect } from 'chai';
import type { Recorder, Running } from '#test/real/recorder.js';
import { type Consul, startConsul } from '#test/servers/consul.js';
import { requireServers } from '#test/servers/require.js';
import { read, TestAgent } from './agent.js';

const shown = (out: Recorder, name: string) =>
  out.instances(name).map(({ id, status, weight }) => `${id} ${status} ${weight}`);

describe('Consul: a real server', function () {
  this.timeout(120_000);
  let server: Consul;
  let agent: TestAgent;
  let running: Running;

  before(async function () {
    await requireServers(this, 'consul');
    server = await startConsul();
    agent = new TestAgent(server.url);
    running = read([server.url]);
    await running.until('live', (out) => out.now === 'live');
  });

  after(async () => {
    if (running !== undefined) expect(await running.stop()).to.be.lessThan(2_000);
    await server?.stop();
  });

  it('shows what registers, changes and deregisters', async () => {
    const { out, until } = running;
    expect(out.services.size, 'consul itself').to.equal(0);
    const web = { id: 'web-1', name: 'web', tags: ['a', 'b'], meta: { zone: 'z1' }, check: 'passing' } as const;
    await agent.register(web);
    await until('registered', () => out.instances('web').length === 1);
    expect(out.instances('web')[0]).to.deep.equal({
      id: 'n1/web-1',
      address: '127.0.0.1',
      ports: [{ name: '', protocol: 'http', number: 80 }],
      status: 'passing',
      weight: 1,
      zone: 'z1',
      locality: undefined,
      network: undefined,
      metadata: { zone: 'z1', tags: 'a,b', datacenter: 'dc1' },
      changedAt: 0,
    });
    const begun = performance.now();
    await agent.register({ ...web, weights: { passing: 5, warning: 2 }, address: '10.0.0.9' });
    await until('changed', () => out.instances('web')[0]?.address === '10.0.0.9');
    console.log(`      changed after ${(performance.now() - begun).toFixed(0)} ms`);
    expect(shown(out, 'web')).to.deep.equal(['n1/web-1 passing 5']);
    await agent.register({ id: 'web-2', name: 'web', port: 0 });
    await until('rejected', () => out.named('web')?.rejected.length === 1);
    expect(out.named('web')?.rejected[0]).to.deep.equal({
      record: 'n1/web-2',
      reason: 'port 0 is not a whole number from 1 to 65535',
    });
    await agent.deregister('web-2');
    await until('one again', () => out.named('web')?.rejected.length === 0);
  });

  it('shows warning, critical and maintenance, with the weight of each', async () => {
    const { out, until } = running;
    await agent.check('web-1', 'warning');
    await until('warning', () => shown(out, 'web')[0] === 'n1/web-1 warning 2');
    await agent.check('web-1', 'critical');
    await until('critical', () => shown(out, 'web')[0] === 'n1/web-1 critical 5');
    await agent.check('web-1', 'passing');
    await until('passing', () => shown(out, 'web')[0] === 'n1/web-1 passing 5');
    await agent.maintenance(true, 'web-1');
    await until('maintenance', () => out.instances('web')[0]?.status === 'maintenance');
    await agent.maintenance(false, 'web-1');
    await until('no maintenance', () => out.instances('web')[0]?.status === 'passing');
    await agent.maintenance(true);
    await until("the node's maintenance", () => out.instances('web')[0]?.status === 'maintenance');
    await agent.maintenance(false);
    await until("no maintenance of the node's", () => out.instances('web')[0]?.status === 'passing');
  });

  it('shows no proxies, and no service that has nothing else', async () => {
    const { out, until } = running;
    await agent.register({ id: 'web-proxy', name: 'web', kind: 'connect-proxy', port: 21000 });
    await agent.register({ id: 'side-proxy', name: 'web-sidecar-proxy', kind: 'connect-proxy', port: 21001 });
    await agent.register({ id: 'other-1', name: 'other' });
    await until('the other', () => out.instances('other').length === 1);
    await sleep(500);
    expect(shown(out, 'web')).to.deep.equal(['n1/web-1 passing 5']);
    expect(out.named('web-sidecar-proxy')).to.equal(undefined);
    for (const id of ['web-proxy', 'side-proxy', 'other-1']) await agent.deregister(id);
    await until('gone', () => out.named('other') === undefined);
  });

  it('takes a node of the catalog that is no agent', async () => {
    const { out, until } = running;
    await agent.send('PUT', '/v1/catalog/register', {
      Node: 'outside',
      Address: 'db.example.com',
      Service: { ID: 'db-1', Service: 'db', Port: 5432 },
    });
    await until('registered', () => out.instances('db')[0]?.address === 'db.example.com');
    await agent.send('PUT', '/v1/catalog/deregister', { Node: 'outside' });
    await until('gone', () => out.named('db') === undefined);
  });

  it('asks for next to nothing while nothing changes', async () => {
    const { out } = running;
    const [lives, updates] = [out.lives, out.updates];
    await sleep(6_000);
    // One blocking query for the list and one for the service, each ending after 5 to 5.3 s.
    expect(out.lives - lives).to.be.at.most(4);
    expect(out.updates).to.equal(updates);
  });

  it('keeps all while the server hangs, and goes on', async () => {
    const { out, until } = running;
    server.pause();
    await until('stale', () => out.now === 'stale');
    expect(out.reason).to.include('timed out');
    expect(shown(out, 'web')).to.deep.equal(['n1/web-1 passing 5']);
    server.resume();
    await until('live', () => out.now === 'live');
    await agent.register({ id: 'web-3', name: 'web' });
    await until('changes again', () => out.instances('web').length === 2);
  });

  it('empties nothing when the server is killed and started again', async () => {
    const { out, until } = running;
    out.fewest = Number.POSITIVE_INFINITY;
    await server.kill();
    await until('stale', () => out.now === 'stale');
    await sleep(2_000);
    await server.start();
    await until('live', () => out.now === 'live');
    expect(out.instances('web')).to.have.length(2);
    expect(Math.min(out.fewest, 1)).to.equal(1);
    await agent.deregister('web-3');
    await until('changes again', () => out.instances('web').length === 1);
    expect(out.unreadables.size).to.equal(0);
  });
});

describe('Consul: a real server with ACLs', function () {
  this.timeout(120_000);

  before(async function () {
    await requireServers(this, 'consul');
  });

  it('needs a token that may see the services, and keeps what a token no longer sees', async () => {
    const management = '11111111-2222-3333-4444-555555555555';
    const tokens = { initial_management: management, agent: management };
    const acl = { enabled: true, default_policy: 'deny', tokens };
    const server = await startConsul({ config: { acl }, token: management });
    const agent = new TestAgent(server.url, management);
    const stops: (() => Promise<number>)[] = [];
    const begin = (auth: object) => {
      const running = read([server.url], auth);
      stops.push(running.stop);
      return running;
    };
    try {
      await agent.register({ id: 'web-1', name: 'web' });
      await agent.register({ id: 'db-1', name: 'db' });
      const policy = async (rules: string) =>
        agent.send('PUT', '/v1/acl/policy', { Name: `p${performance.now()}`.replace('.', '-'), Rules: rules });
      const { ID } = JSON.parse(
        await policy('service_prefix "" { policy = "read" } node_prefix "" { policy = "read" }'),
      );
      const Policies = [{ ID }];
      const { SecretID, AccessorID } = JSON.parse(await agent.send('PUT', '/v1/acl/token', { Policies }));

      const wrong = begin({ auth: { token: '99999999-2222-3333-4444-555555555555' } });
      await wrong.until('refused', (out) => out.now === 'failed' && out.reason.includes('403'));
      const none = begin({});
      await none.until('shown nothing', (out) => out.now === 'failed' && out.reason.includes('token'));

      const { out, until } = begin({ auth: { token: SecretID } });
      await until('live', () => out.services.size === 2);
      const rules = 'service "web" { policy = "read" } node_prefix "" { policy = "read" }';
      await agent.send('PUT', `/v1/acl/policy/${ID}`, { Name: 'less', Rules: rules });
      await agent.register({ id: 'web-2', name: 'web' });
      await until('unreadable', () => out.unreadables.size === 1);
      expect(out.services.size).to.equal(2);
      await agent.send('PUT', `/v1/acl/policy/${ID}`, { Name: 'none', Rules: 'node_prefix "" { policy = "read" }' });
      await agent.register({ id: 'web-3', name: 'web' });
      await until('stale', () => out.now === 'stale');
      await agent.send('DELETE', `/v1/acl/token/${AccessorID}`);
      await sleep(1_000);
      await until('refused', () => out.reason.includes('403'));
      expect(out.services.size).to.equal(2);
      expect(out.instances('db')).to.have.length(1);
    } finally {
      for (const stop of stops) expect(await stop()).to.be.lessThan(2_000);
      await server.stop();
    }
  });
});

describe('Consul: more services than blocking queries, on a real server', function () {
  this.timeout(180_000);
  const count = 300;

  before(async function () {
    await requireServers(this, 'consul');
  });

  it('shows every kind of change soon, with few connections', async () => {
    const server = await startConsul();
    const agent = new TestAgent(server.url);
    const name = (index: number) => `service-${String(index).padStart(3, '0')}`;
    for (let index = 0; index < count; index++)
      await agent.register({ id: `${name(index)}-1`, name: name(index), check: 'passing' });
    const { out, until, stop } = read([server.url], { maxPolls: 20, wait: '60s' });
    try {
      await until('live', () => out.now === 'live' && out.services.size === count);
      await sleep(3_000);
      const [lives, updates] = [out.lives, out.updates];
      await sleep(5_000);
      expect(out.lives - lives, 'answers while nothing changes').to.be.at.most(2);
      expect(out.updates).to.equal(updates);

      const last = name(count - 1);
      const timed = async (what: string, act: () => Promise<unknown>, seen: () => boolean) => {
        const begun = performance.now();
        await act();
        await until(what, seen);
        console.log(`      ${what} after ${(performance.now() - begun).toFixed(0)} ms`);
      };
      const first = () => out.instances(last)[0];
      await timed(
        'critical',
        () => agent.check(`${last}-1`, 'critical'),
        () => first()?.status === 'critical',
      );
      await timed(
        'passing',
        () => agent.check(`${last}-1`, 'passing'),
        () => first()?.status === 'passing',
      );
      await timed(
        'maintenance of the node',
        () => agent.maintenance(true),
        () => first()?.status === 'maintenance',
      );
      await timed(
        'its end',
        () => agent.maintenance(false),
        () => first()?.status === 'passing',
      );
      const changed = { id: `${last}-1`, name: last, check: 'passing', weights: { passing: 7, warning: 1 } } as const;
      await timed(
        'weight',
        () => agent.register(changed),
        () => first()?.weight === 7,
      );
      await timed(
        'metadata',
        () => agent.register({ ...changed, meta: { v: '2' } }),
        () => first()?.metadata.v === '2',
      );
      await timed(
        'another instance',
        () => agent.register({ id: `${last}-2`, name: last, port: 81 }),
        () => out.instances(last).length === 2,
      );
      await timed(
        'one less',
        () => agent.deregister(`${last}-2`),
        () => out.instances(last).length === 1,
      );
      await timed(
        'a new service',
        () => agent.register({ id: 'new-1', name: 'new' }),
        () => out.instances('new').length === 1,
      );
      await timed(
        'a service gone',
        () => agent.deregister('new-1'),
        () => out.named('new') === undefined,
      );
      const all = Array.from({ length: count }, (_, index) => name(index));
      await timed(
        `a change of all ${count}`,
        async () => {
          for (const each of all) await agent.register({ id: `${each}-1`, name: each, meta: { v: '3' } });
        },
        () => all.every((each) => out.instances(each)[0]?.metadata.v === '3'),
      );
      await server.kill();
      await until('stale', () => out.now === 'stale');
      await server.start();
      await until('live', () => out.now === 'live');
      await sleep(3_000);
      await agent.deregister(`${last}-1`);
      await until('changes again', () => out.services.size === count - 1);
      await until('all readable', () => out.unreadables.size === 0);
    } finally {
      expect(await stop()).to.be.lessThan(2_000);
      await server.stop();
    }
  });
});
