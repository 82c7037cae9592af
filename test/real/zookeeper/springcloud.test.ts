import { expect } from 'chai';
import { until } from '#test/servers/probes.js';
import { requireServers } from '#test/servers/require.js';
import {
  type SpringCloudZooKeeper,
  type SpringCloudZooKeeperOptions,
  startSpringCloudZooKeeper,
} from '#test/servers/springcloudzookeeper.js';
import { startZookeeper, type Zookeeper } from '#test/servers/zookeeper.js';
import { Reading, Writer } from './harness.js';

describe('ZooKeeper source with real Spring Cloud applications', function () {
  this.timeout(120_000);
  let server: Zookeeper;
  let writer: Writer;
  let reading: Reading;

  before(async function () {
    await requireServers(this, 'zookeeper', 'springcloud-zookeeper');
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

  afterEach(() => reading.stop());

  async function withApplication(
    options: Omit<SpringCloudZooKeeperOptions, 'zookeeper'>,
    act: (application: SpringCloudZooKeeper) => Promise<void>,
  ): Promise<void> {
    const application = await startSpringCloudZooKeeper({ zookeeper: server.connectString, ...options });
    try {
      await act(application);
    } finally {
      await application.stop();
    }
  }

  it('reads one with its metadata, follows its status, and keeps the service empty when it has gone', async () => {
    await withApplication({ app: 'orders', metadata: { zone: 'z1', team: 'a' } }, async (application) => {
      await reading.sees('orders', { '/': [`http://127.0.0.1:${application.port}`] });
      const [service] = reading.services('orders');
      expect(service?.kind).to.equal('spring-cloud');
      expect(service?.key.namespace).to.equal('services');
      expect(service?.rejected).to.deep.equal([]);
      expect(service?.instances[0]).to.include({ status: 'UP', zone: 'z1' });
      expect(service?.instances[0]?.metadata).to.include({ team: 'a' });
      expect(service?.instances[0]?.changedAt).to.be.closeTo(Date.now(), 60_000);
      for (const status of ['OUT_OF_SERVICE', 'UP']) {
        await application.setStatus(status);
        await until(status, () => reading.services('orders')[0]?.instances[0]?.status === status);
      }
    });
    await reading.sees('orders', { '/': [] });
  });

  it('reads one whose name has slashes, and both its ports', async () => {
    const settings = { 'spring.cloud.zookeeper.discovery.instance-ssl-port': 9443 };
    await withApplication({ app: 'shop/eu/cart', settings }, async (application) => {
      await reading.sees('shop/eu/cart', { '/': [`http://127.0.0.1:${application.port}`] });
      const ports = reading.services('shop/eu/cart')[0]?.instances[0]?.ports.map(({ number }) => number);
      expect(ports).to.deep.equal([application.port, 9443]);
      expect(reading.of('shop')).to.equal(undefined);
    });
    await reading.sees('shop/eu/cart', { '/': [] });
  });

  it('reads those below a root of their own, which is no root of Dubbo', async () => {
    const settings = { 'spring.cloud.zookeeper.discovery.root': '/spring/apps' };
    const own = new Reading({ servers: [server.connectString], springCloud: { root: '/spring/apps' } });
    try {
      await withApplication({ app: 'stock', settings }, async (application) => {
        await own.sees('stock', { '/': [`http://127.0.0.1:${application.port}`] });
        expect(own.services('stock')[0]?.key.namespace).to.equal('spring/apps');
        expect(reading.of('stock')).to.equal(undefined);
      });
    } finally {
      await own.stop();
    }
  });

  it('loses a killed one when its session ends', async () => {
    await withApplication({ app: 'killed' }, async (application) => {
      await reading.sees('killed', { '/': [`http://127.0.0.1:${application.port}`] });
      await application.kill();
      await reading.sees('killed', { '/': [] }, 60_000);
    });
  });

  it("shares the root with Dubbo's applications, and takes none of them for its own", async () => {
    const dubbo = { 'dubbo.endpoints': '[{"port":20880,"protocol":"dubbo"}]', 'dubbo.metadata.revision': '0' };
    const data = { name: 'both', id: '1', address: '10.0.0.1', port: 20880, payload: { metadata: dubbo } };
    await writer.put('/services/both/10.0.0.1:20880', JSON.stringify(data));
    await writer.put('/services/both/broken', '{"name":');
    await withApplication({ app: 'both' }, async (application) => {
      await reading.sees('both', { '/': [`http://127.0.0.1:${application.port}`] });
      await until('the broken one', () => reading.services('both')[0]?.rejected[0]?.record === 'broken');
    });
    await reading.sees('both', { '/': [] });
  });
});
