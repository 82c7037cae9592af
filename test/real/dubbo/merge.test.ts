import { expect } from 'chai';
import { pino } from 'pino';
import { Catalog } from '#catalog/catalog.js';
import { parseRanges, VipAllocator } from '#catalog/vip.js';
import { configSchema } from '#config/schema.js';
import { server } from '#test/real/nacos/read.js';
import { type DubboProvider, type DubboProviderOptions, startDubboProvider } from '#test/servers/dubbo.js';
import { until } from '#test/servers/probes.js';
import { requireServers } from '#test/servers/require.js';
import { startZookeeper, type Zookeeper } from '#test/servers/zookeeper.js';
import { catalogSettings, Registries } from '../../../src/registries.js';

describe('Dubbo on ZooKeeper and on Nacos', function () {
  this.timeout(120_000);
  const nacos = server({});
  let zookeeper: Zookeeper;
  let catalog: Catalog;
  let registries: Registries;
  const providers: DubboProvider[] = [];

  before(async function () {
    await requireServers(this, 'zookeeper', 'dubbo');
    zookeeper = await startZookeeper();
    const config = configSchema.parse({
      registries: [
        { name: 'zk', type: 'zookeeper', servers: [zookeeper.connectString] },
        { name: 'nacos', type: 'nacos', servers: [nacos().address], pollInterval: '500ms' },
      ],
    });
    catalog = new Catalog(catalogSettings(config), new VipAllocator(parseRanges(['240.0.0.0/8'])));
    registries = new Registries(catalog, pino({ level: 'silent' }));
    await registries.apply(config);
  });

  after(async () => {
    await Promise.all(providers.map((provider) => provider.stop()));
    await registries.stop();
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
