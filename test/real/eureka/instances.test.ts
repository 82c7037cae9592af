import { expect } from 'chai';
import { z } from 'zod';
import { fields } from '#adapters/eureka/schema.js';
import { EurekaSource } from '#adapters/eureka/source.js';
import { contextOf, type Recorder, type Running, run } from '#test/real/recorder.js';
import { type Eureka, startEureka } from '#test/servers/eureka.js';
import { requireServers } from '#test/servers/require.js';
import { type TestLease, TestLeases } from './leases.js';
import { Relay } from './relay.js';

const on = (port: number) => ({ $: port, '@enabled': 'true' });
const off = (port: number) => ({ $: port, '@enabled': 'false' });
const amazon = (zone: string) => ({
  '@class': 'com.netflix.appinfo.AmazonInfo',
  name: 'Amazon',
  metadata: { 'availability-zone': zone, 'instance-id': 'i-1', 'local-ipv4': '10.0.0.1' },
});

const ports = (out: Recorder, name: string) =>
  out
    .instances(name)
    .map((instance) => `${instance.id} ${instance.ports.map(({ protocol, number }) => `${protocol}:${number}`)}`)
    .sort();

describe('Eureka: what instances say to a real server', function () {
  this.timeout(120_000);
  let server: Eureka;
  let leases: TestLeases;
  const started: Running[] = [];

  function start(url = server.url, more: object = {}, registry = 'eu'): Running {
    const config = z.object(fields).parse({ servers: [url], pollInterval: '300ms', timeout: '2s', ...more });
    const running = run(new EurekaSource(config, contextOf(registry)));
    started.push(running);
    return running;
  }

  const register = (app: string, id: string, more: Partial<TestLease> = {}) => leases.register({ app, id, ...more });

  before(async function () {
    await requireServers(this, 'eureka');
    server = await startEureka();
    leases = new TestLeases([server.url]);
  });

  afterEach(() => Promise.all(started.splice(0).map(({ stop }) => stop())));

  after(async () => {
    await leases?.stop();
    await server?.stop();
  });

  it('has its plain port, its secure port, both, or neither and a reason; the same in full and by deltas', async () => {
    const deltas = start();
    await deltas.until('live', () => deltas.out.now === 'live');
    await register('PORTS', 'both', { address: '10.0.0.1', securePort: 8443 });
    await register('PORTS', 'plain', { address: '10.0.0.2' });
    await register('PORTS', 'secure', { address: '10.0.0.3', fields: { port: off(8080), securePort: on(8443) } });
    await register('PORTS', 'none', { address: '10.0.0.4', fields: { port: off(8080) } });
    const full = start();
    for (const { out, until } of [deltas, full]) {
      await until(
        'all of them',
        () => out.instances('PORTS').length === 3 && out.named('PORTS')?.rejected.length === 1,
      );
      expect(ports(out, 'PORTS')).to.deep.equal(['both http:8080,https:8443', 'plain http:8080', 'secure https:8443']);
      expect(out.named('PORTS')?.rejected).to.deep.equal([{ record: 'none', reason: 'no enabled port' }]);
    }
    expect(deltas.out.causes.at(-1)).to.equal('delta');
  });

  it('is another one when it was deregistered and is back at the next poll, and the same when it only registers again', async () => {
    await register('BACK', 'one');
    const { out, until } = start(server.url, { pollInterval: '2s' });
    const changedAt = () => out.instances('BACK')[0]?.changedAt ?? 0;
    await until('live', () => changedAt() > 0);
    const first = changedAt();
    await register('BACK', 'one');
    await register('BACK-MARK', 'mark');
    await until('the other one', () => out.instances('BACK-MARK').length === 1);
    expect(changedAt()).to.equal(first);
    await leases.deregister({ app: 'BACK', id: 'one' });
    await register('BACK', 'one');
    await until('back', () => changedAt() > first);
  });

  it("has the zone of its metadata, else Amazon's with its region", async () => {
    await register('ZONES', 'mine', { metadata: { zone: 'rack-1' } });
    await register('ZONES', 'cloud', { port: 8081, fields: { dataCenterInfo: amazon('us-east-1c') } });
    const { out, until } = start();
    await until('both', () => out.instances('ZONES').length === 2);
    expect(out.instances('ZONES').map(({ id, zone, locality }) => ({ id, zone, locality }))).to.deep.equal([
      { id: 'mine', zone: 'rack-1', locality: undefined },
      { id: 'cloud', zone: 'us-east-1c', locality: 'us-east-1/us-east-1c' },
    ]);
  });

  it('has VIPs and a group that host templates can name', async () => {
    const names = { vipAddress: 'shop.vip', secureVipAddress: 'shop.safe', appGroupName: 'SHOP' };
    await register('NAMED', 'one', { fields: names });
    const { out, until } = start();
    await until('listed', () => out.named('NAMED') !== undefined);
    expect(out.named('NAMED')?.metadata).to.deep.equal(names);
  });

  it('is looked up by VIP: one of two applications, a list of them, a secure one, and one that moves', async () => {
    const { out, until } = start(server.url, { lookup: 'vip' });
    await until('live', () => out.now === 'live');
    const vip = (vipAddress: string, secureVipAddress = '') => ({ fields: { vipAddress, secureVipAddress } });
    await register('OLD', 'old-1', { address: '10.0.1.1', ...vip('Checkout') });
    await register('NEW', 'new-1', { address: '10.0.1.2', ...vip('checkout,checkout.next') });
    await register('NEW', 'new-2', { address: '10.0.1.3', securePort: 8443, ...vip('checkout', 'checkout.safe') });
    await until('one VIP of two applications', () => out.instances('checkout').length === 3);
    expect(ports(out, 'checkout')).to.deep.equal(['new-1 http:8080', 'new-2 http:8080', 'old-1 http:8080']);
    expect(ports(out, 'checkout.next')).to.deep.equal(['new-1 http:8080']);
    expect(ports(out, 'checkout.safe')).to.deep.equal(['new-2 https:8443']);
    expect(out.named('OLD')).to.equal(undefined);

    await register('NEW', 'new-1', { address: '10.0.1.2', ...vip('elsewhere') });
    await until('moved', () => out.instances('elsewhere').length === 1 && out.named('checkout.next') === undefined);
    expect(ports(out, 'checkout')).to.deep.equal(['new-2 http:8080', 'old-1 http:8080']);
    await leases.deregister({ app: 'OLD', id: 'old-1' });
    await until('gone', () => out.instances('checkout').length === 1);
    expect(out.causes.slice(1)).to.include('delta').and.not.include('full fetch');
  });

  it('is read gzipped, in full and by deltas', async () => {
    const relay = await Relay.open(server.url);
    try {
      const { out, until } = start(relay.url);
      await until('a delta', () => out.lives > 0);
      for (const path of ['/eureka/apps', '/eureka/apps/delta']) {
        const exchange = relay.exchanges.find((each) => each.path === path);
        expect(exchange?.asked['accept-encoding'], path).to.equal('gzip');
        expect(exchange?.answered['content-encoding'], path).to.equal('gzip');
      }
      const plain = await fetch(`${server.url}/apps`, {
        headers: { accept: 'application/json', 'accept-encoding': 'identity' },
      });
      const [full] = relay.exchanges;
      console.log(`      ${full?.bytes} bytes instead of ${(await plain.arrayBuffer()).byteLength}`);
    } finally {
      await relay.close();
    }
  });

  it('may be in another region, which the server reads for its clients', async () => {
    const settings = {
      'eureka.server.remote-region-urls-with-name.west': `${server.url}/`,
      'eureka.server.remote-region-registry-fetch-interval': 1,
      // Nothing else ends what a server has cached of another region.
      'eureka.server.response-cache-auto-expiration-in-seconds': 1,
    };
    const near = await startEureka({ settings });
    try {
      await register('FAR', 'far-1');
      const named = start(near.url, { regions: ['west'] });
      const unnamed = start(near.url);
      const elsewhere = start(near.url, { regions: ['east'] });
      await named.until('listed', () => named.out.instances('FAR').length === 1);
      await unnamed.until('listed', () => unnamed.out.instances('FAR').length === 1);
      await named.until('deltas', () => named.out.lives > 3);
      expect(named.out.causes.slice(1)).to.not.include('full fetch');
      await elsewhere.until('live', () => elsewhere.out.lives > 0);
      expect(elsewhere.out.services.size).to.equal(0);
    } finally {
      await near.stop();
    }
  });

  it('belongs to its own cluster, of two that are read side by side', async () => {
    const other = await startEureka();
    const others = new TestLeases([other.url]);
    try {
      await register('SHARED', 'here');
      await others.register({ app: 'SHARED', id: 'there' });
      const [first, second] = [start(server.url, {}, 'one'), start(other.url, {}, 'two')];
      await first.until('its own', () => first.out.instances('SHARED').some(({ id }) => id === 'here'));
      await second.until('its own', () => second.out.instances('SHARED').some(({ id }) => id === 'there'));
      await other.kill();
      await second.until('stale', () => second.out.now === 'stale');
      expect(first.out.instances('SHARED').map(({ id }) => id)).to.deep.equal(['here']);
      expect(second.out.instances('SHARED').map(({ id }) => id)).to.deep.equal(['there']);
      expect(second.out.named('SHARED')?.key.registry).to.equal('two');
      expect(first.out.now).to.equal('live');
    } finally {
      await others.stop();
      await other.stop();
    }
  });
});

describe('Eureka: a node that is sick, beside a real one (the sick one is faked)', function () {
  this.timeout(120_000);
  let server: Eureka;
  let leases: TestLeases;

  before(async function () {
    await requireServers(this, 'eureka');
    server = await startEureka();
    leases = new TestLeases([server.url]);
    await leases.register({ app: 'ORDERS', id: 'orders-1' });
  });

  after(async () => {
    await leases?.stop();
    await server?.stop();
  });

  for (const [what, sick] of Object.entries<NonNullable<Relay['sick']>>({
    'answers 500': (response) => response.writeHead(500).end(),
    hangs: () => {},
    'answers with a page': (response) => response.setHeader('content-type', 'text/html').end('<html>Sign in</html>'),
    'answers with half an answer': (response) => response.end('{"applications":{"apps__hashcode":"UP_1_","appl'),
    'closes connections': (response) => response.destroy(),
  }))
    it(`rests while it ${what}, and the other one is read without a gap`, async () => {
      const relay = await Relay.open(server.url);
      const servers = [relay.url, server.url];
      const config = z.object(fields).parse({ servers, pollInterval: '200ms', timeout: '1s', settleTime: '1s' });
      const { out, until, stop } = run(new EurekaSource(config, contextOf('eu')));
      const added: TestLease = { app: 'ADDED', id: 'added-1' };
      try {
        await until('live', () => out.instances('ORDERS').length === 1);
        await until('deltas of it', () => out.lives > 2);
        out.fewest = Number.POSITIVE_INFINITY;
        relay.sick = sick;
        await leases.register(added);
        await until('what the other one says', () => out.instances('ADDED').length === 1);
        const { asked } = relay;
        const { lives } = out;
        await until('ten answers of the other one', () => out.lives > lives + 10);
        await leases.deregister(added);
        await until('a removal', () => out.named('ADDED') === undefined);
        expect(relay.asked, 'questions to a node that rests').to.equal(asked);
        expect(out.states.some(({ kind }) => kind === 'stale')).to.equal(false);
        expect(out.fewest).to.be.at.least(1);
      } finally {
        await stop();
        await relay.close();
      }
    });
});
