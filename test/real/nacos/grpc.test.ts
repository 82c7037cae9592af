import { expect } from 'chai';
import type { NacosRun } from '#test/real/nacos/recorder.js';
import { type NacosClient, startNacosClient } from '#test/servers/nacosclient.js';
import { ports, read, server, versions } from './read.js';
import { Registrations } from './registrations.js';

for (const version of versions)
  describe(`Nacos ${version} over gRPC`, function () {
    this.timeout(120_000);
    // An empty service is forgotten within seconds instead of minutes.
    const forgetful = {
      'nacos.naming.clean.empty-service.interval': 1_000,
      'nacos.naming.clean.empty-service.expired-time': 3_000,
    };
    const nacos = server({ version, settings: forgetful });
    const started: NacosRun[] = [];
    let registrations: Registrations;
    let client: NacosClient | undefined;

    /** A source that is stopped behind the test. */
    function start(config?: Record<string, unknown>): NacosRun {
      const recorder = read(nacos(), config);
      started.push(recorder);
      return recorder;
    }

    before(() => {
      registrations = new Registrations(nacos());
    });
    afterEach(async () => {
      for (const recorder of started.splice(0)) expect(await recorder.stop()).to.be.below(2_000);
      await client?.stop();
      client = undefined;
    });

    it('is live with nothing when there is nothing', async () => {
      const recorder = start();
      await recorder.wait('live', ({ lastState }) => lastState?.kind === 'live');
      expect(recorder.services.size).to.equal(0);
      expect(recorder.states.map(({ kind }) => kind)).to.deep.equal(['connecting', 'syncing', 'live']);
    });

    it('follows a real client that registers, changes, deregisters, and is killed', async () => {
      const recorder = start();
      await recorder.wait('live', ({ lastState }) => lastState?.kind === 'live');
      client = await startNacosClient({
        address: nacos().address,
        service: 'orders',
        port: 9001,
        weight: 2,
        cluster: 'C1',
        metadata: { zone: 'z1' },
      });
      const instance = () => recorder.named('orders')?.instances[0];
      await recorder.wait('registered', () => instance()?.ports[0]?.number === 9001, 5_000);
      expect(recorder.named('orders')?.key).to.deep.equal({
        registry: 'n',
        namespace: 'public',
        group: 'DEFAULT_GROUP',
        name: 'orders',
        version: '',
      });
      expect(instance()).to.deep.include({ address: '127.0.0.1', status: 'healthy', weight: 2, zone: 'z1' });
      expect(instance()?.metadata).to.include({ cluster: 'C1', zone: 'z1' });
      await client.setWeight(3);
      await recorder.wait('weight', () => instance()?.weight === 3, 5_000);
      await client.deregister();
      await recorder.wait('emptied', () => recorder.named('orders')?.instances.length === 0, 5_000);
      await client.register();
      await recorder.wait('back', () => instance()?.ports[0]?.number === 9001, 5_000);
      await client.kill();
      await recorder.wait('emptied again', () => recorder.named('orders')?.instances.length === 0, 30_000);
      expect(recorder.unreadables.size).to.equal(0);
    });

    it('reads the wanted groups, namespaces and names', async () => {
      await registrations.createNamespace('shop-id', 'shop');
      await registrations.register({ service: 'a', port: 1001 });
      await registrations.register({ service: 'a', port: 1002, group: 'g1' });
      await registrations.register({ service: 'a', port: 1003, group: 'g2', namespace: 'shop-id' });
      await registrations.register({ service: 'a', port: 1004, group: 'g1', namespace: 'shop-id' });
      await registrations.register({ service: 'not-wanted', port: 1005, group: 'g1' });
      await registrations.register({ service: 'routers:pkg.Greeter:1.0:', port: 1006, group: 'g1' });
      const found = async (config: Record<string, unknown>) => {
        const recorder = start(config);
        await recorder.wait('live', ({ lastState }) => lastState?.kind === 'live');
        return [...recorder.services.values()].flatMap((service) => ports(service) ?? []).sort();
      };
      expect(await found({ namespaces: ['*'] })).to.deep.equal([1001, 1002, 1003, 1004]);
      expect(await found({ namespaces: ['shop'] })).to.deep.equal([1003, 1004]);
      expect(await found({ namespaces: ['shop-id', 'public'], groups: ['g?'] })).to.deep.equal([1002, 1003, 1004]);
      expect(await found({ groups: ['DEFAULT_GROUP', 'g1'] })).to.deep.equal([1001, 1002]);
      const wrong = start({ namespaces: ['shopp'] });
      await wrong.wait('failed', ({ lastState }) => lastState?.kind === 'failed');
      expect(wrong.events.join()).to.match(/there is no namespace "shopp"/);
    });

    it('keeps services of one name in two namespaces apart', async () => {
      await registrations.register({ service: 'twin', port: 1101 });
      await registrations.register({ service: 'twin', port: 1102, namespace: 'shop-id' });
      const recorder = start({ namespaces: ['public', 'shop-id'] });
      await recorder.wait('live', ({ lastState }) => lastState?.kind === 'live');
      await registrations.register({ service: 'twin', port: 1103, namespace: 'shop-id' });
      const of = (namespace: string) =>
        ports([...recorder.services.values()].find(({ key }) => key.name === 'twin' && key.namespace === namespace));
      await recorder.wait('pushed', () => of('shop-id')?.length === 2);
      expect(of('shop-id')).to.deep.equal([1102, 1103]);
      expect(of('public')).to.deep.equal([1101]);
    });

    it('finds a new service soon, and drops one that is gone', async () => {
      const recorder = start();
      await recorder.wait('live', ({ lastState }) => lastState?.kind === 'live');
      await registrations.register({ service: 'fresh', port: 1201 });
      await recorder.wait('found', () => ports(recorder.named('fresh'))?.[0] === 1201, 3_000);
      await registrations.deregister({ service: 'fresh', port: 1201 });
      await recorder.wait('emptied', () => recorder.named('fresh')?.instances.length === 0, 5_000);
      await recorder.wait('gone', () => recorder.named('fresh') === undefined, 30_000);
    });

    it('notices a server that hangs, keeps what it knows, and goes on when it answers again', async () => {
      await registrations.register({ service: 'patient', port: 1301 });
      const recorder = start();
      await recorder.wait('live', ({ lastState }) => lastState?.kind === 'live');
      const before = new Map(recorder.services);
      nacos().pause();
      try {
        await recorder.wait('stale', ({ lastState }) => lastState?.kind === 'stale', 15_000);
        expect(recorder.services).to.deep.equal(before);
      } finally {
        nacos().resume();
      }
      await recorder.wait('live again', ({ lastState }) => lastState?.kind === 'live', 30_000);
      await registrations.register({ service: 'patient', port: 1302 });
      await recorder.wait('pushed', () => ports(recorder.named('patient'))?.length === 2, 5_000);
    });

    it('loses nothing while the server is away, and goes on when it is back', async () => {
      await registrations.register({ service: 'lasting', port: 1401 });
      const recorder = start();
      await recorder.wait('live', ({ lastState }) => lastState?.kind === 'live');
      const before = new Map(recorder.services);
      await nacos().kill();
      await recorder.wait('stale', ({ lastState }) => lastState?.kind === 'stale', 15_000);
      expect(recorder.services).to.deep.equal(before);
      await nacos().start();
      await recorder.wait('live again', ({ lastState }) => lastState?.kind === 'live', 30_000);
      expect(ports(recorder.named('lasting'))).to.deep.equal([1401]);
      await registrations.register({ service: 'lasting', port: 1402 });
      await recorder.wait('pushed', () => ports(recorder.named('lasting'))?.length === 2, 5_000);
      expect(recorder.unreadables.size).to.equal(0);
    });
  });
