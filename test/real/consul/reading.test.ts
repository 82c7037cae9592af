import { expect } from 'chai';
import type { Recorder, Running } from '#test/real/recorder.js';
import { type Consul, startConsul } from '#test/servers/consul.js';
import { requireServers } from '#test/servers/require.js';
import { read, TestAgent } from './agent.js';

const seen = (out: Recorder, name: string) =>
  out.instances(name).map(({ id, address, ports, status }) => `${id} ${address}:${ports[0]?.number} ${status}`);

describe('Consul: what the configuration chooses, on a real server', function () {
  this.timeout(120_000);
  let server: Consul;
  let agent: TestAgent;
  const started: Running[] = [];

  before(async function () {
    await requireServers(this, 'consul');
    server = await startConsul();
    agent = new TestAgent(server.url);
  });

  afterEach(async () => {
    for (const running of started.splice(0)) await running.stop();
  });
  after(() => server?.stop());

  async function reading(more: object): Promise<Running> {
    const running = read([server.url], more);
    started.push(running);
    await running.until('live', (out) => out.now === 'live');
    return running;
  }

  it('takes tagged addresses in the order of preference', async () => {
    await agent.send('PUT', '/v1/agent/service/register', {
      ID: 'far-1',
      Name: 'far',
      Address: '10.1.0.1',
      Port: 80,
      TaggedAddresses: { wan: { Address: '203.0.113.5', Port: 8443 }, pod: { Address: '2001:db8::5', Port: 0 } },
    });
    await agent.register({ id: 'near-1', name: 'near', port: 81 });
    const [plain, wan, pod, strict] = [
      await reading({}),
      await reading({ addresses: ['wan', 'service', 'node'] }),
      await reading({ addresses: ['pod', 'wan', 'node'] }),
      await reading({ addresses: ['pod'] }),
    ];
    expect(seen(plain.out, 'far')).to.deep.equal(['n1/far-1 10.1.0.1:80 passing']);
    expect(seen(wan.out, 'far')).to.deep.equal(['n1/far-1 203.0.113.5:8443 passing']);
    expect(seen(pod.out, 'far')).to.deep.equal(['n1/far-1 2001:db8::5:80 passing']);
    expect(seen(pod.out, 'near'), "the node's wan").to.deep.equal(['n1/near-1 127.0.0.1:81 passing']);
    expect(strict.out.named('near')?.rejected[0]?.reason).to.match(/expected one of pod/);
  });

  it('takes one service id on several nodes as several instances', async () => {
    const { out, until } = await reading({});
    for (const [node, address] of Object.entries({ 'node-a': '10.0.0.1', 'node-b': '10.0.0.2' }))
      await agent.send('PUT', '/v1/catalog/register', {
        Node: node,
        Address: address,
        Service: { ID: 'job', Service: 'job', Port: 9000 },
      });
    await until('both', () => out.instances('job').length === 2);
    expect(seen(out, 'job')).to.deep.equal(['node-a/job 10.0.0.1:9000 passing', 'node-b/job 10.0.0.2:9000 passing']);
    await agent.send('PUT', '/v1/catalog/deregister', { Node: 'node-a', ServiceID: 'job' });
    await until('one', () => seen(out, 'job').join() === 'node-b/job 10.0.0.2:9000 passing');
  });

  it("lets the configured checks count: a sick node's, or those of some names", async () => {
    await agent.send('PUT', '/v1/catalog/register', {
      Node: 'sick',
      Address: '10.0.0.9',
      Service: { ID: 'ill-1', Service: 'ill', Port: 80 },
      Checks: [
        { Node: 'sick', CheckID: 'serfHealth', Name: 'Serf Health Status', Status: 'critical' },
        { Node: 'sick', CheckID: 'ill:http', Name: 'HTTP', Status: 'warning', ServiceID: 'ill-1' },
      ],
    });
    const status = async (checks: object) => (await reading({ checks })).out.instances('ill')[0]?.status;
    expect(await status({})).to.equal('critical');
    expect(await status({ nodes: false })).to.equal('warning');
    expect(await status({ exclude: ['serf*'] })).to.equal('warning');
    expect(await status({ include: ['none'] })).to.equal('passing');
  });

  it("shows proxies and gateways of Consul's own mesh if it is told to", async () => {
    const proxy = { Kind: 'connect-proxy', Proxy: { DestinationServiceName: 'shop' } };
    const put = (body: object) => agent.send('PUT', '/v1/agent/service/register', body);
    await put({ ID: 'shop-1', Name: 'shop', Port: 80 });
    await put({ ID: 'shop-1-proxy', Name: 'shop-sidecar-proxy', Port: 21000, ...proxy });
    await put({ ID: 'gate-1', Name: 'gate', Port: 8443, Kind: 'mesh-gateway' });
    await put({ ID: 'out-1', Name: 'out', Port: 8444, Kind: 'terminating-gateway' });
    const [plain, more] = [await reading({}), await reading({ kinds: ['service', 'connect-proxy', 'mesh-gateway'] })];
    const names = ({ out }: Running) =>
      ['shop', 'shop-sidecar-proxy', 'gate', 'out'].filter((name) => out.named(name) !== undefined);
    expect(names(plain)).to.deep.equal(['shop']);
    expect(names(more)).to.deep.equal(['shop', 'shop-sidecar-proxy', 'gate']);
    expect(more.out.instances('gate')[0]).to.deep.include({
      ports: [{ name: '', protocol: 'tcp', number: 8443 }],
      metadata: { datacenter: 'dc1', kind: 'mesh-gateway' },
    });
  });

  it('has the server filter, follows what comes to match, and says what is wrong with an expression', async () => {
    await agent.register({ id: 'cart-1', name: 'cart', meta: { env: 'prod' } });
    await agent.register({ id: 'cart-2', name: 'cart', port: 81, meta: { env: 'test' } });
    const { out, until } = await reading({ filter: 'Service.Meta.env == "prod"' });
    expect(seen(out, 'cart')).to.deep.equal(['n1/cart-1 127.0.0.1:80 passing']);
    expect(out.services.size, 'nothing else matches').to.equal(1);
    await agent.register({ id: 'cart-2', name: 'cart', port: 81, meta: { env: 'prod' } });
    await until('both match', () => out.instances('cart').length === 2);
    await agent.register({ id: 'cart-1', name: 'cart', meta: { env: 'test' } });
    await agent.register({ id: 'cart-2', name: 'cart', port: 81, meta: { env: 'test' } });
    await until('none', () => out.instances('cart').length === 0);

    const wrong = read([server.url], { filter: 'Service.Colour == "red"' });
    started.push(wrong);
    await wrong.until('refused', ({ now }) => now === 'failed');
    expect(wrong.out.reason).to.match(/answered \d00 .*Colour/);
    expect(wrong.out.listings).to.equal(0);
  });
});
