import { expect } from 'chai';
import { z } from 'zod';
import { fields } from '#adapters/eureka/schema.js';
import { EurekaSource } from '#adapters/eureka/source.js';
import { contextOf, run } from '#test/real/recorder.js';
import { startEureka } from '#test/servers/eureka.js';
import { requireServers } from '#test/servers/require.js';
import { startSpringCloud } from '#test/servers/springcloud.js';
import { TestLeases } from './leases.js';

describe('Eureka: a real Spring Cloud application', function () {
  this.timeout(180_000);

  before(async function () {
    await requireServers(this, 'eureka', 'springcloud');
  });

  it('comes, is taken out of service, restarts, is killed and goes', async () => {
    const server = await startEureka();
    const config = z.object(fields).parse({ servers: [server.url], pollInterval: '300ms' });
    const { out, until, stop } = run(new EurekaSource(config, contextOf('eu')));
    const byVip = run(new EurekaSource({ ...config, lookup: 'vip' }, contextOf('eu')));
    const app = await startSpringCloud({ eurekaUrl: server.url, app: 'orders', metadata: { zone: 'z1' } });
    const operator = new TestLeases([server.url]);
    try {
      const status = () => out.instances('ORDERS')[0]?.status;
      await until('up', () => status() === 'UP');
      const [instance] = out.instances('ORDERS');
      expect(instance).to.include({ id: app.instanceId, address: '127.0.0.1', zone: 'z1' });
      expect(instance?.ports).to.deep.equal([{ name: '', protocol: 'http', number: app.port }]);
      expect(instance?.metadata).to.include({ 'management.port': String(app.port) });

      expect(out.named('ORDERS')?.metadata).to.deep.equal({ vipAddress: 'orders', secureVipAddress: 'orders' });
      await byVip.until('up, by the name that Spring gives it', () => byVip.out.instances('orders').length === 1);

      const lease = { app: 'ORDERS', id: app.instanceId };
      await operator.override(lease, 'OUT_OF_SERVICE');
      await until('out of service', () => status() === 'OUT_OF_SERVICE');
      await operator.override(lease, undefined);
      await until('up again', () => status() === 'UP');

      await app.stop();
      await until('deregistered', () => out.named('ORDERS') === undefined);
      await app.start();
      await until('back', () => status() === 'UP');

      await app.kill();
      const killed = performance.now();
      await until('evicted', () => out.named('ORDERS') === undefined);
      console.log(`      gone ${Math.round(performance.now() - killed)} ms after it was killed, with a lease of 3 s`);
    } finally {
      await operator.stop();
      await stop();
      await byVip.stop();
      await app.stop();
      await server.stop();
    }
  });
});
