import { expect } from 'chai';
import { pino } from 'pino';
import { Catalog } from '#catalog/catalog.js';
import { parseRanges, VipAllocator } from '#catalog/vip.js';
import { configSchema } from '#config/schema.js';
import type { Supervisor } from '#sources/supervisor.js';
import { type DubboProvider, type DubboProviderOptions, startDubboProvider } from '#test/servers/dubbo.js';
import { until } from '#test/servers/probes.js';
import { requireServers } from '#test/servers/require.js';
import { startZookeeper, type Zookeeper } from '#test/servers/zookeeper.js';
import { supervise } from '../../../src/main.js';
import { server } from './read.js';

describe('Dubbo on ZooKeeper and on Nacos', function () {
  this.timeout(120_000);
  const nacos = server({});
  let zookeeper: Zookeeper;
  let catalog: Catalog;
  let supervisors: Supervisor[];
  const providers: DubboProvider[] = [];

  before(async function () {
    await requireServers(this, 'zookeeper', 'dubbo');
    zookeeper = await startZookeeper();
    const { registries } = configSchema.parse({
      registries: [
        { name: 'zk', type: 'zookeeper', servers: [zookeeper.connectString] },
        { name: 'nacos', type: 'nacos', servers: [nacos().address], pollInterval: '500ms' },
      ],
    });
    const settings = { namespace: 'pontoon', exportTo: ['*'], grace: 300_000 };
    catalog = new Catalog(settings, new VipAllocator(parseRanges(['240.0.0.0/8'])));
    supervisors = registries.map((one) => supervise(one, catalog, pino({ level: 'silent' })));
    for (const supervisor of supervisors) supervisor.start();
  });

  after(async () => {
    await Promise.all(providers.map((provider) => provider.stop()));
    await Promise.all(supervisors.map((supervisor) => supervisor.stop()));
    catalog.close();
    await zookeeper.stop();
  });

  const cases: [DubboProviderOptions, host: string][] = [
    [{ mode: 'interface', protocol: 'dubbo', group: 'g1', version: '1.0.0' }, 'pontoon.greeter.v-1.0.0.g-g1.dubbo'],
    [{ mode: 'instance', protocol: 'tri', version: '2' }, 'pontoon.greeter.v-2.dubbo'],
  ];
  for (const [options, host] of cases)
    it(`is one mesh service, registered by ${options.mode} with ${options.protocol}`, async () => {
      for (const registry of [{ zookeeper: zookeeper.connectString }, { nacos: nacos().address }])
        providers.push(await startDubboProvider({ ...registry, ...options }));
      const service = () => catalog.services.get(host);
      await until(host, () => service()?.endpoints.length === 2, 30_000, 50).catch(() => {
        throw new Error(`it is not ${host} with two endpoints: ${JSON.stringify([...catalog.services.values()])}`);
      });
      const addresses = service()?.endpoints.map(({ address, ports }) => `${address}:${Object.values(ports)[0]}`);
      expect(addresses?.sort()).to.deep.equal(
        providers
          .slice(-2)
          .map(({ address }) => address)
          .sort(),
      );
      expect(service()?.origins.map(({ registry }) => registry)).to.deep.equal(['zk', 'nacos']);
    });
});
