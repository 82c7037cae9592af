import { expect } from 'chai';
import type { NacosRun } from '#test/real/nacos/recorder.js';
import { type NacosClient, startNacosClient } from '#test/servers/nacosclient.js';
import { ports, read, server, versions } from './read.js';
import { Registrations } from './registrations.js';

for (const version of versions)
  describe(`Nacos ${version} over HTTP`, function () {
    this.timeout(120_000);
    const nacos = server({ version });
    let registrations: Registrations;
    let recorder: NacosRun | undefined;
    let client: NacosClient | undefined;

    async function live(config?: Record<string, unknown>): Promise<NacosRun> {
      recorder = read(nacos(), { api: 'http', ...config });
      await recorder.wait('live', ({ lastState }) => lastState?.kind === 'live');
      return recorder;
    }

    before(() => {
      registrations = new Registrations(nacos());
    });
    afterEach(async () => {
      const stopped = await recorder?.stop();
      recorder = undefined;
      await client?.stop();
      client = undefined;
      expect(stopped).to.be.below(2_000);
    });

    it('follows a real client that registers in a cluster of its own, changes, and deregisters', async () => {
      const { named, wait } = bound(await live());
      client = await startNacosClient({
        address: nacos().address,
        service: 'orders',
        port: 9001,
        weight: 2,
        cluster: 'C1',
      });
      const instance = () => named('orders')?.instances[0];
      await wait('registered', () => instance()?.ports[0]?.number === 9001, 5_000);
      expect(instance()).to.deep.include({ address: '127.0.0.1', status: 'healthy', weight: 2 });
      await client.setWeight(3);
      await wait('weight', () => instance()?.weight === 3, 5_000);
      await client.deregister();
      await wait('emptied', () => named('orders')?.instances.length === 0, 5_000);
      await client.register();
      await wait('back', () => instance()?.ports[0]?.number === 9001, 5_000);
    });

    it('reads groups by exact name and by glob, and namespaces', async () => {
      await registrations.createNamespace('shop-id', 'shop');
      await registrations.register({ service: 'a', port: 1001, group: 'g1' });
      await registrations.register({ service: 'a', port: 1002, group: 'g2' });
      await registrations.register({ service: 'a', port: 1003, group: 'g2', namespace: 'shop-id' });
      const found = async (config: Record<string, unknown>) => {
        const { services, stop } = bound(await live(config));
        await stop();
        return [...services.values()].flatMap((service) => ports(service) ?? []).sort();
      };
      expect(await found({ groups: ['g1'] })).to.deep.equal([1001]);
      expect(await found({ groups: ['g*'], namespaces: ['public', 'shop'] })).to.deep.equal([1001, 1002, 1003]);
    });

    it('follows a service through new clusters', async () => {
      await registrations.register({ service: 'wide', port: 1101, cluster: 'A' });
      const { named, wait } = bound(await live());
      expect(ports(named('wide'))).to.deep.equal([1101]);
      await registrations.register({ service: 'wide', port: 1102, cluster: 'B' });
      await wait('seen', () => ports(named('wide'))?.length === 2, 5_000);
      await registrations.register({ service: 'wide', port: 1103, cluster: 'B' });
      await wait('seen', () => ports(named('wide'))?.length === 3, 5_000);
    });

    it('loses nothing while the server is away, and goes on when it is back', async () => {
      await registrations.register({ service: 'lasting', port: 1401 });
      const { named, wait, services, unread } = bound(await live());
      const before = new Map(services);
      await nacos().kill();
      await wait('stale', ({ lastState }) => lastState?.kind === 'stale', 15_000);
      expect(services).to.deep.equal(before);
      await nacos().start();
      await wait('live again', ({ lastState }) => lastState?.kind === 'live', 30_000);
      await registrations.register({ service: 'lasting', port: 1402 });
      await wait('seen', () => ports(named('lasting'))?.length === 2, 5_000);
      expect(unread.size).to.equal(0);
    });
  });

/** A recorder's parts, to be used alone. */
function bound(recorder: NacosRun) {
  return {
    services: recorder.services,
    unread: recorder.unreadables,
    named: recorder.named.bind(recorder),
    wait: recorder.wait.bind(recorder),
    stop: recorder.stop.bind(recorder),
  };
}
