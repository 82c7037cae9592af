import { setTimeout as sleep } from 'node:timers/promises';
import { expect } from 'chai';
import { z } from 'zod';
import { fields } from '#adapters/eureka/schema.js';
import { EurekaSource } from '#adapters/eureka/source.js';
import { contextOf, type Recorder, type Running, run } from '#test/real/recorder.js';
import { type Eureka, startEureka } from '#test/servers/eureka.js';
import { freePort } from '#test/servers/ports.js';
import { requireServers } from '#test/servers/require.js';
import { type TestLease, TestLeases } from './leases.js';

function start(servers: readonly string[], more: object = {}): Running {
  const config = z.object(fields).parse({ servers, pollInterval: '300ms', timeout: '2s', settleTime: '3s', ...more });
  return run(new EurekaSource(config, contextOf('eu')));
}

const shown = (out: Recorder, name: string) => out.instances(name).map(({ id, status }) => `${id} ${status}`);

describe('Eureka: a real server', function () {
  this.timeout(120_000);
  let server: Eureka;
  let leases: TestLeases;
  let running: Running;

  before(async function () {
    await requireServers(this, 'eureka');
    server = await startEureka();
    leases = new TestLeases([server.url]);
    running = start([server.url]);
    await running.until('live', (out) => out.now === 'live');
  });

  after(async () => {
    await leases?.stop();
    if (running !== undefined) expect(await running.stop()).to.be.lessThan(2_000);
    await server?.stop();
  });

  const orders: TestLease = { app: 'ORDERS', id: 'orders-1', metadata: { zone: 'z1' } };

  it('shows what registers, changes and deregisters, by deltas', async () => {
    const { out, until } = running;
    const from = out.causes.length;
    const begun = performance.now();
    await leases.register(orders);
    await until('registered', () => out.instances('ORDERS').length === 1);
    console.log(`      registered after ${Math.round(performance.now() - begun)} ms, polling every 300 ms`);
    expect(out.instances('ORDERS')[0]).to.include({ address: '127.0.0.1', status: 'UP', zone: 'z1', weight: 1 });
    await leases.register({ ...orders, metadata: { zone: 'z2' }, securePort: 8443 });
    await until('changed', () => out.instances('ORDERS')[0]?.zone === 'z2');
    expect(out.instances('ORDERS')[0]?.ports.map(({ protocol, number }) => [protocol, number])).to.deep.equal([
      ['http', 8080],
      ['https', 8443],
    ]);
    await leases.register({ app: 'ORDERS', id: 'orders-2', port: 8081 });
    await until('a second one', () => out.instances('ORDERS').length === 2);
    await leases.deregister({ app: 'ORDERS', id: 'orders-2' });
    await until('one again', () => out.instances('ORDERS').length === 1);
    await leases.deregister(orders);
    await until('gone', () => out.named('ORDERS') === undefined);
    expect(new Set(out.causes.slice(from))).to.deep.equal(new Set(['delta']));
  });

  it('shows the status of an override, and of its end', async () => {
    const { out, until } = running;
    await leases.register(orders);
    await until('registered', () => shown(out, 'ORDERS')[0] === 'orders-1 UP');
    await leases.override(orders, 'OUT_OF_SERVICE');
    await until('out of service', () => shown(out, 'ORDERS')[0] === 'orders-1 OUT_OF_SERVICE');
    await leases.override(orders, undefined);
    await until('up', () => shown(out, 'ORDERS')[0] === 'orders-1 UP');
    expect(out.states.some(({ kind }) => kind === 'stale')).to.equal(false);
  });

  it('loses an instance whose lease ends', async () => {
    const { out, until } = running;
    const dying: TestLease = { app: 'DYING', id: 'dying-1', seconds: 2 };
    await leases.register(dying);
    await until('registered', () => out.instances('DYING').length === 1);
    leases.abandon(dying);
    await until('evicted', () => out.named('DYING') === undefined);
    expect(shown(out, 'ORDERS')).to.deep.equal(['orders-1 UP']);
  });

  it('gives nothing while leases are only renewed', async () => {
    const { out } = running;
    const [updates, lives] = [out.updates, out.lives];
    await sleep(3_000);
    expect(out.updates).to.equal(updates);
    expect(out.lives - lives).to.be.within(5, 12);
  });

  it('is stale while the server hangs, and comes back', async () => {
    const { out, until } = running;
    server.pause();
    await until('stale', () => out.now === 'stale');
    expect(out.reason).to.include('no answer in time');
    expect(out.services.size).to.equal(1);
    server.resume();
    await until('live', () => out.now === 'live');
  });

  it('empties nothing when the server is killed and comes back with nothing', async () => {
    const { out, until } = running;
    await leases.register({ app: 'PAY', id: 'pay-1' });
    await until('registered', () => out.named('PAY') !== undefined);
    await server.kill();
    out.fewest = Number.POSITIVE_INFINITY;
    await until('stale', () => out.now === 'stale');
    await sleep(1_000);
    expect(out.services.size).to.equal(2);
    const { updates } = out;
    await server.start();
    await until('live', () => out.now === 'live');
    await sleep(5_000);
    expect(shown(out, 'ORDERS')).to.deep.equal(['orders-1 UP']);
    expect(out.services.size).to.equal(2);
    expect(Math.min(out.fewest, 2)).to.equal(2);
    console.log(`      ${out.updates - updates} services were given again after the restart`);
    await leases.deregister({ app: 'PAY', id: 'pay-1' });
    await until('changes again', () => out.named('PAY') === undefined);
  });
});

describe('Eureka: a real server without deltas', function () {
  this.timeout(120_000);

  before(async function () {
    await requireServers(this, 'eureka');
  });

  it('is read in full each time, overrides included', async () => {
    const server = await startEureka({ settings: { 'eureka.server.disable-delta': true } });
    const leases = new TestLeases([server.url]);
    const { out, until, stop } = start([server.url]);
    try {
      const lease: TestLease = { app: 'ORDERS', id: 'orders-1' };
      await leases.register(lease);
      await until('registered', () => shown(out, 'ORDERS')[0] === 'orders-1 UP');
      await leases.override(lease, 'OUT_OF_SERVICE');
      await until('out of service', () => shown(out, 'ORDERS')[0] === 'orders-1 OUT_OF_SERVICE');
      await leases.deregister(lease);
      await until('gone', () => out.named('ORDERS') === undefined);
      expect(out.causes).to.not.include('delta');
    } finally {
      await leases.stop();
      await stop();
      await server.stop();
    }
  });
});

describe('Eureka: two real peers', function () {
  this.timeout(180_000);

  before(async function () {
    await requireServers(this, 'eureka');
  });

  it('are read one for the other, and nothing is lost when one goes', async () => {
    const [first, second] = [await freePort(), await freePort()];
    const peer = (own: string, other: number) => ({
      'eureka.instance.hostname': own,
      'eureka.client.service-url.defaultZone': `http://127.0.0.1:${other}/eureka/`,
    });
    const servers = [
      await startEureka({ port: first, settings: peer('first', second) }),
      await startEureka({ port: second, settings: peer('second', first) }),
    ];
    const urls = servers.map(({ url }) => url);
    const leases = new TestLeases(urls);
    const { out, until, stop } = start(urls);
    try {
      await leases.register({ app: 'ORDERS', id: 'orders-1' });
      await leases.register({ app: 'PAY', id: 'pay-1' });
      await until('registered', () => out.services.size === 2);
      out.fewest = Number.POSITIVE_INFINITY;
      await servers[0]?.kill();
      await leases.register({ app: 'NEW', id: 'new-1' });
      await until('from the peer', () => out.services.size === 3);
      expect(out.fewest).to.be.at.least(2);
      expect(out.states.map(({ kind }) => kind)).to.not.include('stale');
    } finally {
      await leases.stop();
      await stop();
      await Promise.all(servers.map((each) => each.stop()));
    }
  });
});
