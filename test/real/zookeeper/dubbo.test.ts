import { expect } from 'chai';
import {
  type DubboProvider,
  type DubboProviderOptions,
  GREETER,
  startDubboConsumer,
  startDubboProvider,
} from '#test/servers/dubbo.js';
import { startDubbo27 } from '#test/servers/dubbo27.js';
import { until } from '#test/servers/probes.js';
import { requireServers } from '#test/servers/require.js';
import { startZookeeper, type Zookeeper } from '#test/servers/zookeeper.js';
import { Reading, Writer } from './harness.js';

describe('ZooKeeper source with real Dubbo applications', function () {
  this.timeout(120_000);
  let server: Zookeeper;
  let writer: Writer;
  let reading: Reading;

  before(async function () {
    await requireServers(this, 'zookeeper', 'dubbo', 'dubbo27');
    server = await startZookeeper();
    writer = await new Writer(server.port).open();
  });

  after(async () => {
    await writer?.close();
    await server?.stop();
  });

  beforeEach(async () => {
    reading = new Reading({ servers: [server.connectString] });
    await reading.is('live');
  });

  afterEach(async () => {
    await reading.stop();
    for (const root of ['/dubbo', '/services']) if (await writer.exists(root)) await writer.removeAll(root);
  });

  async function withProvider(
    options: DubboProviderOptions,
    act: (provider: DubboProvider) => Promise<void>,
  ): Promise<void> {
    const provider = await startDubboProvider({ zookeeper: server.connectString, ...options });
    try {
      await act(provider);
    } finally {
      await provider.stop();
    }
  }

  const modes: DubboProviderOptions[] = [
    { mode: 'interface', protocol: 'dubbo', weight: 150 },
    { mode: 'interface', protocol: 'tri' },
    { mode: 'instance', protocol: 'dubbo' },
    { mode: 'instance', protocol: 'dubbo', group: 'g1', version: '1.0.0', weight: 50 },
    { mode: 'instance', protocol: 'tri', metadata: 'remote', group: 'g1', version: '1.0.0', weight: 50 },
    { mode: 'all', protocol: 'dubbo', group: 'g1', version: '1.0.0+build.5', weight: 50 },
    { mode: 'all', protocol: 'tri', metadata: 'remote' },
  ];

  for (const options of modes) {
    const { mode, protocol, metadata = 'local', group = '', version = '', weight = 100 } = options;
    it(`reads ${protocol} registered by ${mode}, metadata ${metadata}, service ${group}/${version}`, async () => {
      const key = `${group}/${version}`;
      await withProvider(options, async ({ address }) => {
        await reading.sees(GREETER, { [key]: [`${protocol}://${address}`] });
        const [service] = reading.services(GREETER);
        const [instance] = service?.instances ?? [];
        expect(service?.rejected).to.deep.equal([]);
        expect(instance).to.include({ status: 'UP', weight });
        expect(instance?.changedAt).to.be.closeTo(Date.now(), 60_000);
        expect(instance?.metadata).to.include({ application: 'greet-provider' });
        // Another start sees the same.
        const late = new Reading({ servers: [server.connectString] });
        await late.is('live');
        expect(late.services(GREETER)).to.deep.equal(reading.services(GREETER));
        await late.stop();
      });
      await reading.sees(GREETER, { [key]: [] });
      // No other service has ever been told, not even while the records came one after the other.
      expect(new Set(reading.changes.flatMap(({ ids }) => ids))).to.have.lengthOf(1);
    });
  }

  it('asks a provider itself for what no znode says', async () => {
    for (const protocol of ['dubbo', 'tri'] as const)
      await withProvider({ mode: 'instance', protocol, group: 'g1', version: '1.0.0', weight: 50 }, async (one) => {
        await reading.sees(GREETER, { 'g1/1.0.0': [`${protocol}://${one.address}`] });
        // Nothing is left of group and version but the provider's own word.
        await writer.removeAll(`/dubbo/metadata/${GREETER}`);
        const late = new Reading({ servers: [server.connectString] });
        await late.sees(GREETER, { 'g1/1.0.0': [`${protocol}://${one.address}`] });
        expect(late.services(GREETER)[0]?.instances[0]).to.include({ weight: 50 });
        expect(late.services(GREETER)[0]?.notes).to.equal(undefined);
        await late.stop();
      });
  });

  it('takes what was published, and says so, where the provider cannot be asked; and asks again', async () => {
    await withProvider({ mode: 'instance', group: 'g1', version: '1.0.0' }, async (provider) => {
      await reading.sees(GREETER, { 'g1/1.0.0': [`dubbo://${provider.address}`] });
      provider.pause();
      const late = new Reading({ servers: [server.connectString], probe: 'off' }, [], {
        unreadable: 500,
        probes: 60_000,
      });
      try {
        await late.sees(GREETER, { 'g1/1.0.0': [`dubbo://${provider.address}`] });
        const text = () => late.services(GREETER)[0]?.notes?.[0]?.text ?? '';
        await until('the reason', () => text().includes('no answer within'));
        console.log(`      ${text()}`);
        provider.resume();
        await until('an answer', () => text() === '');
      } finally {
        provider.resume();
        await late.stop();
      }
    });
  });

  it('reads Dubbo 2.7, each of its protocols, below a root of its own', async () => {
    const roots = new Reading({ servers: [server.connectString], dubbo: { root: ['/dubbo', '/own/dubbo27'] } });
    const old = await startDubbo27({
      zookeeper: server.connectString,
      protocols: 'dubbo,rmi',
      root: 'own/dubbo27',
      group: 'g1',
      version: '1.0.0',
      weight: 50,
    });
    try {
      await roots.sees(GREETER, { 'g1/1.0.0': [`dubbo://${old.address}`] });
      await until('the other protocol', () => roots.services(GREETER)[0]?.rejected.length === 1);
      const [service] = roots.services(GREETER);
      expect(service?.key.namespace).to.equal('own/dubbo27');
      expect(service?.rejected[0]?.reason).to.include('protocol "rmi" cannot be carried');
      expect(service?.instances[0]).to.include({ weight: 50, status: 'UP' });
      expect(service?.instances[0]?.metadata).to.include({ application: 'greet-27', release: '2.7.23' });
      expect(reading.of(GREETER)).to.equal(undefined);
    } finally {
      await old.stop();
    }
    await roots.sees(GREETER, { 'g1/1.0.0': [] });
    await roots.stop();
  });

  it('moves from the interface level to the application level without a change of the service', async () => {
    await withProvider({ mode: 'interface' }, async (old) => {
      await reading.sees(GREETER, { '/': [`dubbo://${old.address}`] });
      await withProvider({ mode: 'instance' }, async (young) => {
        await reading.sees(GREETER, { '/': [`dubbo://${old.address}`, `dubbo://${young.address}`].sort() });
        await old.stop();
        await reading.sees(GREETER, { '/': [`dubbo://${young.address}`] });
      });
    });
    expect(reading.view.said.size).to.equal(1);
  });

  it('loses a killed provider when its session ends, and has it back when it is started again', async () => {
    await withProvider({ mode: 'all' }, async (provider) => {
      await reading.sees(GREETER, { '/': [`dubbo://${provider.address}`] });
      await provider.kill();
      await reading.sees(GREETER, { '/': [] }, 30_000);
      await provider.start();
      await reading.sees(GREETER, { '/': [`dubbo://${provider.address}`] });
    });
  });

  it('keeps a provider over a restart of the server, as the provider does itself', async () => {
    await withProvider({ mode: 'all' }, async ({ address }) => {
      await reading.sees(GREETER, { '/': [`dubbo://${address}`] });
      await server.restart();
      await reading.is('live');
      expect(reading.of(GREETER)).to.deep.equal({ '/': [`dubbo://${address}`] });
    });
    await reading.sees(GREETER, { '/': [] });
  });

  it('knows the consumers', async () => {
    const consumer = await startDubboConsumer({ zookeeper: server.connectString });
    try {
      await until('the consumer', () => reading.services(GREETER)[0]?.consumers[0]?.application === 'greet-consumer');
    } finally {
      await consumer.stop();
    }
    await until('no consumer', () => reading.services(GREETER)[0]?.consumers.length === 0);
  });
});
