import { expect } from 'chai';
import type { NacosRun } from '#test/real/nacos/recorder.js';
import { until } from '#test/servers/probes.js';
import { ports, read, server, versions } from './read.js';
import { Registrations } from './registrations.js';

/** ms within which a push is seen, also on a busy machine: far below the interval of the looks. */
const soon = 10_000;

for (const version of versions.slice(0, 1))
  describe(`Nacos ${version} over HTTP with pushes`, function () {
    this.timeout(120_000);
    const nacos = server({ version });
    let registrations: Registrations;
    let recorder: NacosRun;

    async function live(config?: Record<string, unknown>): Promise<void> {
      recorder = read(nacos(), { api: 'http', push: true, pollInterval: '60s', ...config });
      await recorder.wait('live', ({ lastState }) => lastState?.kind === 'live');
    }
    const found = (service: string) => ports(recorder.named(service));

    /** Waits until the server knows whom to push to. */
    async function subscribed(service: string, namespace?: string): Promise<void> {
      await until(`subscription to ${service}`, () => registrations.hasSubscriber(service, namespace));
    }

    before(async () => {
      registrations = new Registrations(nacos());
      await registrations.checkHealth(false);
    });
    afterEach(async () => {
      expect(await recorder.stop()).to.be.below(2_000);
    });

    it('sees a change, an emptied service, and one that is back long before it looks again', async () => {
      await registrations.register({ service: 'orders', port: 1001 });
      await live();
      await subscribed('orders');
      await registrations.register({ service: 'orders', port: 1002 });
      await recorder.wait('changed', () => found('orders')?.length === 2, soon);
      await registrations.register({ service: 'orders', port: 1002, weight: 3 });
      await recorder.wait(
        'weighed',
        () => recorder.named('orders')?.instances.some((one) => one.weight === 3) === true,
        soon,
      );
      await registrations.deregister({ service: 'orders', port: 1001 });
      await registrations.deregister({ service: 'orders', port: 1002 });
      await recorder.wait('emptied', () => found('orders')?.length === 0, soon);
      await registrations.register({ service: 'orders', port: 1001 });
      await recorder.wait('back', () => found('orders')?.length === 1, soon);
    });

    it('sees instances in clusters that nobody named, and in other namespaces', async () => {
      await registrations.createNamespace('shop', 'shop');
      await registrations.register({ service: 'wide', port: 1101, cluster: 'A' });
      await registrations.register({ service: 'far', port: 1201, namespace: 'shop' });
      await live({ namespaces: ['public', 'shop'] });
      await subscribed('wide');
      await subscribed('far', 'shop');
      await registrations.register({ service: 'wide', port: 1102, cluster: 'B' });
      await recorder.wait('seen in B', () => found('wide')?.length === 2, soon);
      await registrations.register({ service: 'far', port: 1202, namespace: 'shop', cluster: 'C' });
      await recorder.wait('seen in shop', () => found('far')?.length === 2, soon);
    });

    it('is told again after the server was away', async () => {
      await registrations.register({ service: 'lasting', port: 1301 });
      await live();
      await subscribed('lasting');
      await nacos().kill();
      await recorder.wait('stale', ({ lastState }) => lastState?.kind === 'stale', 30_000);
      expect(found('lasting')).to.deep.equal([1301]);
      await nacos().start();
      await recorder.wait('live again', ({ lastState }) => lastState?.kind === 'live', 60_000);
      await subscribed('lasting');
      await registrations.register({ service: 'lasting', port: 1302 });
      await recorder.wait('seen', () => found('lasting')?.length === 2, soon);
    });

    it('opens a UDP port only if pushes are wanted, and closes it with the source', async () => {
      const sockets = () => process.getActiveResourcesInfo().filter((resource) => resource === 'UDPWrap').length;
      await registrations.register({ service: 'orders', port: 1001 });
      await live({ push: false });
      expect(sockets()).to.equal(0);
      await recorder.stop();
      await live();
      await subscribed('orders');
      expect(sockets()).to.equal(1);
      await recorder.stop();
      // The package does not wait for it.
      await until('a closed port', () => sockets() === 0, 2_000);
    });
  });
