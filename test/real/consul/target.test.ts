import { expect } from 'chai';
import { pino } from 'pino';
import { z } from 'zod';
import { fields } from '#adapters/consul/schema.js';
import { consulTarget } from '#adapters/consul/target.js';
import { targetFields } from '#adapters/consul/target-schema.js';
import type { PublishedService, Target } from '#publish/contract.js';
import { marked } from '#publish/mark.js';
import { type TargetUnderTest, targetContract } from '#test/real/contract/target.js';
import { type Consul, startConsul } from '#test/servers/consul.js';
import { requireServers } from '#test/servers/require.js';
import { TestAgent } from './agent.js';

class ConsulTargetUnderTest implements TargetUnderTest {
  readonly title: string;
  readonly type = 'consul';
  readonly needs = ['consul'];
  readonly settings: object;
  readonly survives = true;
  readonly lease?: number;
  readonly weights = [10, 3] as const;
  #server: Consul | undefined;

  constructor(via: 'catalog' | 'agent') {
    this.title = `Consul 1.17.0, ${via}`;
    this.settings = { via, ttl: '3s' };
    if (via === 'agent') this.lease = 6_000;
  }

  async start(): Promise<void> {
    this.#server = await startConsul();
  }

  async stop(): Promise<void> {
    await this.#server?.stop();
  }

  server() {
    return { process: this.#consul, port: this.#consul.port };
  }

  keys(port: number) {
    return { servers: [`http://127.0.0.1:${port}`], wait: '10s', timeout: '5s' };
  }

  async foreign(service: string, address: string, port: number): Promise<void> {
    await new TestAgent(this.#consul.url).register({ id: `${service}-${port}`, name: service, address, port });
  }

  get #consul(): Consul {
    if (this.#server === undefined) throw new Error('not started');
    return this.#server;
  }
}

targetContract(new ConsulTargetUnderTest('catalog'));
targetContract(new ConsulTargetUnderTest('agent'));

describe('Consul: the nodes that a target writes on', function () {
  this.timeout(60_000);
  const { signal } = new AbortController();
  const log = pino({ level: 'silent' });
  let server: Consul;
  let agent: TestAgent;
  let target: Target;

  before(async function () {
    await requireServers(this, 'consul');
    server = await startConsul();
    agent = new TestAgent(server.url);
    const config = z.object(fields).parse({ servers: [server.url] });
    const turn = () => Promise.resolve();
    target = consulTarget.target(config, { registry: 'r', owner: 'cloud-a', directory: undefined, log, turn });
  });

  after(async () => {
    await target?.close();
    await server?.stop();
  });

  const service = (block: object, tier: string): PublishedService => {
    const settings = z.object(targetFields).parse(block);
    const mark = marked({ owner: 'cloud-a', run: 'one', publication: 'p', host: 'h.mesh' });
    const one = { address: '10.1.3.1', port: 80, isUp: true, weight: 1, locality: undefined };
    const key = { registry: 'r', ...consulTarget.key('web', settings as never) };
    return { key, protocol: 'http', settings, instances: [{ ...one, metadata: { ...mark, tier } }] };
  };
  const addressOf = async (node: string): Promise<string | undefined> =>
    (JSON.parse(await agent.send('GET', `/v1/catalog/node/${node}`)) as { Node?: { Address: string } } | null)?.Node
      ?.Address;

  it('refuses to write on a node that it did not make, which stays as it is', async () => {
    await agent.send('PUT', '/v1/catalog/register', { Node: 'other', Address: '10.9.9.9' });
    const { placed, refused } = await target.write(service({ node: 'other' }, 'a'), [], signal);
    expect(placed).to.deep.equal([]);
    expect(refused[0]?.reason).to.include('node other that the Pontoon "cloud-a" did not make');
    expect(await addressOf('other')).to.equal('10.9.9.9');
  });

  it('moves what stood at an agent to its own node, where callers find it until it is withdrawn', async () => {
    const before = await addressOf('n1');
    const first = await target.write(service({ via: 'agent' }, 'a'), [], signal);
    expect(first.placed[0]?.id).to.match(/^n1\//);
    const second = await target.write(service({}, 'b'), first.placed, signal);
    expect(second.placed.map(({ id }) => id.split('/')[0])).to.deep.equal(['pontoon-cloud-a']);
    expect(await addressOf('n1')).to.equal(before);
    expect(await agent.send('GET', '/v1/health/service/web?passing')).to.include('"Node":"pontoon-cloud-a"');
    await target.write({ ...service({}, 'b'), instances: [] }, second.placed, signal);
    expect(await agent.send('GET', '/v1/health/service/web?passing')).to.not.include('pontoon-cloud-a"');
  });
});
