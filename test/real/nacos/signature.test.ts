import { expect } from 'chai';
import { type Resource, signed } from '#adapters/nacos/signature.js';
import { type NacosClient, startNacosClient } from '#test/servers/nacosclient.js';
import { FakeNacosGrpc, type FakeRequest } from '#test/servers/nacosfake.js';
import { requireServers } from '#test/servers/require.js';
import { readFrom } from './read.js';
import type { NacosRun } from './recorder.js';

const keys = { accessKey: 'an-access-key', secretKey: 'a-secret-key-of-the-cloud' };

describe('Nacos with an access key, as the Java client signs (fake server: only cloud vendors have one that checks)', function () {
  this.timeout(60_000);
  let server: FakeNacosGrpc;
  let port: number;
  let client: NacosClient | undefined;
  let recorder: NacosRun | undefined;

  before(async function () {
    await requireServers(this, 'nacos-client');
  });
  beforeEach(async () => {
    server = new FakeNacosGrpc();
    server.answer = ({ type }) => {
      if (type === 'SubscribeServiceRequest') return { serviceInfo: { name: 'orders', groupName: 'g', hosts: [] } };
      if (type === 'ServiceListRequest') return { count: 1, serviceNames: ['orders'] };
      return { content: 'x', md5: 'x', contentType: 'text' };
    };
    port = await server.start();
  });
  afterEach(async () => {
    await client?.stop();
    await recorder?.stop();
    server.stop();
  });

  const asked = (type: string): FakeRequest => {
    const found = server.asked.find((request) => request.type === type);
    if (found === undefined) throw new Error(`no ${type} came`);
    return found;
  };

  for (const region of [undefined, 'cn-hangzhou'])
    it(`signs naming and configuration ${region === undefined ? '' : `for the region ${region} `}alike`, async () => {
      client = await startNacosClient({
        address: `127.0.0.1:${port}`,
        service: 'orders',
        group: 'g',
        namespace: 'shop',
        port: 9_001,
        properties: { ...keys, ...(region === undefined ? {} : { signatureRegionId: region }) },
      });
      await client.watch('orders', () => {});
      await client.config('app.yaml');
      const ours = (resource: Resource, now: string | undefined) => signed(resource, { ...keys, region }, Number(now));
      const naming = asked('SubscribeServiceRequest').headers;
      const [now] = naming.data?.split('@@') ?? [];
      expect(naming).to.include(ours({ module: 'naming', group: 'g', service: 'orders' }, now));
      const config = asked('ConfigQueryRequest').headers;
      expect(config).to.include(ours({ module: 'config', tenant: 'shop', group: 'g' }, config.Timestamp));
    });

  it('sends such headers with each question, and the secret key never', async () => {
    recorder = readFrom([`127.0.0.1:${port}`], { groups: ['g'], auth: { ...keys } });
    await recorder.wait('live', ({ lastState }) => lastState?.kind === 'live');
    for (const [type, service] of [
      ['ServiceListRequest', ''],
      ['SubscribeServiceRequest', 'orders'],
    ] as const) {
      const { headers } = asked(type);
      const [now] = headers.data?.split('@@') ?? [];
      const resource: Resource = { module: 'naming', group: 'g', service };
      expect(headers).to.deep.equal(signed(resource, { ...keys, region: undefined }, Number(now)));
      expect(Math.abs(Date.now() - Number(now))).to.be.below(60_000);
    }
    expect(JSON.stringify(server.asked)).not.to.include(keys.secretKey);
  });
});
