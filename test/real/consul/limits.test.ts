import { monitorEventLoopDelay } from 'node:perf_hooks';
import { setTimeout as sleep } from 'node:timers/promises';
import { expect } from 'chai';
import pLimit from 'p-limit';
import { type Consul, startConsul } from '#test/servers/consul.js';
import { requireServers } from '#test/servers/require.js';
import { read, TestAgent } from './agent.js';

/** What one transaction of Consul's takes. */
const TRANSACTION = 64;

/** Registers many instances of a service on one node of the catalog. */
async function registerMany(agent: TestAgent, name: string, count: number): Promise<void> {
  await agent.send('PUT', '/v1/catalog/register', { Node: 'big', Address: '10.0.0.1' });
  const limit = pLimit(4);
  const transaction = (first: number) =>
    Array.from({ length: Math.min(TRANSACTION, count - first) }, (_, place) => {
      const ID = `${name}-${first + place}`;
      const Service = { ID, Service: name, Address: '10.2.0.1', Port: 10_000 + first + place, Meta: { version: '1' } };
      return { Service: { Verb: 'set', Node: 'big', Service } };
    });
  const firsts = Array.from({ length: Math.ceil(count / TRANSACTION) }, (_, index) => index * TRANSACTION);
  await Promise.all(firsts.map((first) => limit(() => agent.send('PUT', '/v1/txn', transaction(first)))));
}

describe('Consul: what strains a real server', function () {
  this.timeout(180_000);

  before(async function () {
    await requireServers(this, 'consul');
  });

  it('sees what goes back to what it was while all was asked for', async () => {
    const server = await startConsul();
    const agent = new TestAgent(server.url);
    const count = 60;
    const name = (index: number) => `service-${index}`;
    for (let index = 0; index < count; index++) await agent.register({ id: `${name(index)}-1`, name: name(index) });
    const last = name(count - 1);
    try {
      // The first questions about the whole and about each service are under way: somewhere between them lies the change.
      for (let round = 0; round < 8; round++) {
        const { out, until, stop } = read([server.url], { wait: '60s', maxPolls: 1 });
        try {
          await until('live', () => out.now === 'live');
          await sleep(4 * round);
          await agent.register({ id: `${last}-2`, name: last });
          await until('the second one is there', () => out.instances(last).length === 2);
          await agent.send('PUT', `/v1/agent/service/deregister/${last}-2`);
          await until('it is gone', () => out.instances(last).length === 1, 15_000);
        } finally {
          await stop();
        }
      }
    } finally {
      await server.stop();
    }
  });

  it('reads all from a server that refuses what comes too fast', async () => {
    const count = 150;
    const limits = { request_limits: { mode: 'enforcing', read_rate: 30, write_rate: 1_000 } };
    const server = await startConsul({ config: { limits } });
    const agent = new TestAgent(server.url);
    const name = (index: number) => `service-${index}`;
    for (let index = 0; index < count; index++) await agent.register({ id: `${name(index)}-1`, name: name(index) });
    const { out, until, stop } = read([server.url], { wait: '60s' });
    try {
      await until('live', () => out.now === 'live', 60_000);
      expect(out.services.size).to.equal(count);
      expect(out.listings).to.equal(1);
      await agent.register({ id: 'service-0-1', name: 'service-0', meta: { v: '2' } });
      await until('followed', () => out.instances('service-0')[0]?.metadata.v === '2', 60_000);
      await until('all readable', () => out.unreadables.size === 0, 60_000);
      expect(out.fewest).to.equal(count);
    } finally {
      await stop();
      await server.stop();
    }
  });

  it('follows 3,000 services soon, and reads only what changed', async () => {
    const count = 3_000;
    const nodes = 20;
    const server = await startConsul();
    const agent = new TestAgent(server.url);
    const put = (body: object) => agent.send('PUT', '/v1/catalog/register', body);
    const node = (number: number, address = `10.0.0.${number + 1}`) => ({ Node: `node-${number}`, Address: address });
    for (let number = 0; number < nodes; number++) await put(node(number));
    const set = (number: number, version: string) => ({
      Node: `node-${number % nodes}`,
      Service: { ID: `s${number}-1`, Service: `s${number}`, Port: 8000, Meta: { version } },
    });
    for (let first = 0; first < count; first += TRANSACTION) {
      const numbers = Array.from({ length: Math.min(TRANSACTION, count - first) }, (_, place) => first + place);
      const operations = numbers.map((number) => ({ Service: { Verb: 'set', ...set(number, '1') } }));
      await agent.send('PUT', '/v1/txn', operations);
    }
    const { out, until, stop } = read([server.url], { wait: '60s', timeout: '10s' });
    try {
      await until('live', () => out.now === 'live' && out.services.size === count, 60_000);
      let lives = -1;
      await until(
        'all read again',
        () => {
          const still = out.lives === lives && out.lives >= count - 100;
          lives = out.lives;
          return still;
        },
        60_000,
      );
      await sleep(1_000);
      const [before, times] = [out.lives, [] as number[]];
      for (const number of [count - 1, count - 2, 1, count / 2, count - 7]) {
        const begun = performance.now();
        await put({ ...node(number % nodes), ...set(number, '2') });
        await until('changed', () => out.instances(`s${number}`)[0]?.metadata.version === '2');
        times.push(performance.now() - begun);
      }
      console.log(`      of ${count} services one changed after ${times.map((time) => time.toFixed(0)).join(', ')} ms`);
      expect(Math.max(...times)).to.be.lessThan(3_000);
      // Each once or twice, and the list.
      expect(out.lives - before).to.be.at.most(20);

      await put(node(7, '10.9.9.9'));
      const moved = [7, count - nodes + 7].map((number) => `s${number}`);
      await until("the node's address", () => moved.every((name) => out.instances(name)[0]?.address === '10.9.9.9'));
      expect(out.lives - before).to.be.at.most(20 + (2 * count) / nodes);
    } finally {
      await stop();
      await server.stop();
    }
  });

  it('follows a service of 5,000 instances, and others beside it', async () => {
    const count = 5_000;
    const server: Consul = await startConsul();
    const agent = new TestAgent(server.url);
    await registerMany(agent, 'big', count);
    await agent.register({ id: 'small-1', name: 'small' });
    const begun = performance.now();
    const { out, until, stop } = read([server.url], { wait: '60s', timeout: '10s' });
    try {
      await until('live', () => out.now === 'live' && out.instances('big').length === count);
      console.log(`      ${count} instances after ${(performance.now() - begun).toFixed(0)} ms`);
      const instance = (version: string) => ({
        Node: 'big',
        Address: '10.0.0.1',
        Service: { ID: 'big-7', Service: 'big', Address: '10.2.0.1', Port: 10_007, Meta: { version } },
      });
      const seen = () => out.instances('big').find(({ id }) => id === 'big/big-7')?.metadata.version;
      await sleep(2_000);
      const changed = performance.now();
      await agent.send('PUT', '/v1/catalog/register', instance('2'));
      await until('changed', () => seen() === '2');
      console.log(`      one changed after ${(performance.now() - changed).toFixed(0)} ms`);

      const delay = monitorEventLoopDelay({ resolution: 5 });
      delay.enable();
      const [updates, start] = [out.updates, performance.now()];
      for (let version = 3; version < 43; version++) {
        await agent.send('PUT', '/v1/catalog/register', instance(String(version)));
        await agent.register({ id: 'small-1', name: 'small', meta: { version: String(version) } });
        await sleep(100);
      }
      await until('the last change', () => seen() === '42');
      await until('of the other, too', () => out.instances('small')[0]?.metadata.version === '42');
      const seconds = (performance.now() - start) / 1000;
      console.log(
        `      40 changes in ${seconds.toFixed(1)} s: ${out.updates - updates} updates, longest stall ${(delay.max / 1e6).toFixed(0)} ms`,
      );
      // A second for each whole answer, and 50 ms for the small service.
      expect(out.updates - updates).to.be.at.most(40 + seconds + 2);
      await agent.send('PUT', '/v1/catalog/deregister', { Node: 'big' });
      await until('gone', () => out.named('big') === undefined);
    } finally {
      await stop();
      await server.stop();
    }
  });
});
