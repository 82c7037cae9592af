import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import { expect } from 'chai';
import { z } from 'zod';
import { fields } from '#adapters/eureka/schema.js';
import { EurekaSource } from '#adapters/eureka/source.js';
import { contextOf, type Running, run } from '#test/real/recorder.js';

type Lease = { id: string; status?: string; port?: number; metadata?: object; deleted?: boolean };
type Leases = Record<string, Lease[]>;

/** What a Eureka server answers, as JSON. `counted`: what it holds, if the answer says less (a delta). */
function answer(leases: Leases, counted: Leases = leases): string {
  const application = Object.entries(leases).map(([name, all]) => ({
    name,
    instance: all.map(({ id, status = 'UP', port = 80, metadata = {}, deleted }) => ({
      instanceId: id,
      hostName: `${id}.local`,
      ipAddr: '10.0.0.1',
      status,
      port: { $: port, '@enabled': 'true' },
      metadata,
      actionType: deleted ? 'DELETED' : 'ADDED',
    })),
  }));
  const counts = new Map<string, number>();
  for (const { status = 'UP' } of Object.values(counted).flat()) counts.set(status, (counts.get(status) ?? 0) + 1);
  const apps__hashcode = [...counts]
    .sort()
    .map(([status, count]) => `${status}_${count}_`)
    .join('');
  return JSON.stringify({ applications: { versions__delta: '1', apps__hashcode, application } });
}

type Handler = (request: IncomingMessage, response: ServerResponse) => void;

/** A fake, for what a real server does not do on demand: wrong answers, and two servers that disagree. */
class FakeEureka {
  apps: Handler | string = answer({});
  delta: Handler | string = (_, response) => response.writeHead(403).end();
  readonly requests: string[] = [];
  readonly #server: Server = createServer((request, response) => {
    this.requests.push(request.url ?? '');
    const handler = request.url?.endsWith('/delta') ? this.delta : this.apps;
    if (typeof handler === 'string') response.setHeader('content-type', 'application/json').end(handler);
    else handler(request, response);
  });

  async start(): Promise<string> {
    await new Promise<void>((resolve) => this.#server.listen(0, '127.0.0.1', resolve));
    return `http://127.0.0.1:${(this.#server.address() as AddressInfo).port}/eureka`;
  }

  async close(): Promise<void> {
    this.#server.closeAllConnections();
    await new Promise((resolve) => this.#server.close(resolve));
  }

  holds(leases: Leases): void {
    this.apps = answer(leases);
  }
}

describe('Eureka: source, against a fake server', () => {
  const fakes: FakeEureka[] = [];
  let running: Running | undefined;

  async function fake(leases: Leases): Promise<{ server: FakeEureka; url: string }> {
    const server = new FakeEureka();
    server.holds(leases);
    fakes.push(server);
    return { server, url: await server.start() };
  }

  function start(servers: string[], more: object = {}, includes?: (name: string) => boolean): Running {
    const config = z
      .object(fields)
      .parse({ servers, pollInterval: '100ms', settleTime: '0ms', timeout: '300ms', ...more });
    running = run(new EurekaSource(config, contextOf('eu', includes)));
    return running;
  }

  afterEach(async () => {
    await running?.stop();
    await Promise.all(fakes.splice(0).map((each) => each.close()));
  });

  const two: Leases = { A: [{ id: 'a1' }], B: [{ id: 'b1' }] };

  for (const [what, broken] of Object.entries<Handler | string>({
    'an HTML page': '<html>Sign in</html>',
    'an empty body': '',
    null: 'null',
    'another document': '{"status":"UP"}',
    'half an answer': answer(two).slice(0, 200),
    'an application list that the count contradicts': answer({}, two),
    'a body that ends early': (_, response) => {
      response.writeHead(200, { 'content-length': '5000' }).write(answer(two));
      setTimeout(() => response.destroy(), 20);
    },
    silence: () => {},
    500: (_, response) => response.writeHead(500).end(),
    429: (_, response) => response.writeHead(429).end(),
    401: (_, response) => response.writeHead(401).end(),
  }))
    it(`keeps what it has when it gets ${what}, and recovers`, async () => {
      const { server, url } = await fake(two);
      const { out, until } = start([url]);
      await until('live', () => out.services.size === 2);
      server.apps = broken;
      await until('stale', () => out.now === 'stale');
      expect(out.reason).to.include(url);
      await sleep(300);
      expect(out.services.size).to.equal(2);
      server.holds({ ...two, C: [{ id: 'c1' }] });
      await until('live again', () => out.now === 'live' && out.services.size === 3);
      expect(out.fewest).to.equal(2);
    });

  it('fails with the reason as long as it has nothing, and comes then', async () => {
    const { server, url } = await fake(two);
    server.apps = '<html>';
    const { out, until } = start([url]);
    await until('failed', () => out.now === 'failed');
    expect(out.reason).to.include('not JSON');
    server.holds(two);
    await until('live', () => out.now === 'live' && out.services.size === 2);
  });

  it('asks another server before a service goes, and believes only both', async () => {
    const [first, second] = [await fake(two), await fake(two)];
    const { out, until } = start([first.url, second.url]);
    await until('live', () => out.services.size === 2);
    first.server.holds({ A: [{ id: 'a1' }] });
    await until('asked', () => second.server.requests.length >= 2);
    expect(out.services.size).to.equal(2);
    second.server.holds({ A: [{ id: 'a1' }] });
    await until('gone', () => out.services.size === 1);
  });

  it('asks a third server where the second one is sick, and lets the sick one rest', async () => {
    const [first, second, third] = [await fake(two), await fake(two), await fake(two)];
    const { out, until } = start([first.url, second.url, third.url]);
    await until('live', () => out.services.size === 2);
    second.server.apps = (_, response) => response.writeHead(500).end();
    first.server.holds({ A: [{ id: 'a1' }] });
    await until('asked', () => third.server.requests.length >= 3);
    expect(out.services.size).to.equal(2);
    expect(second.server.requests).to.have.length(1);
    third.server.holds({ A: [{ id: 'a1' }] });
    await until('gone', () => out.services.size === 1);
    expect(second.server.requests).to.have.length(1);
  });

  it("believes a server's own second word where all others are sick", async () => {
    const [first, second] = [await fake(two), await fake(two)];
    const { out, until } = start([first.url, second.url]);
    await until('live', () => out.services.size === 2);
    second.server.apps = '<html>';
    first.server.holds({ A: [{ id: 'a1' }] });
    await until('gone', () => out.services.size === 1);
    expect(second.server.requests).to.have.length(1);
  });

  it('goes over to another server when one answers with something else than a registry', async () => {
    const [first, second] = [await fake(two), await fake(two)];
    first.server.apps = '<html>';
    const page = start([first.url, second.url]);
    await page.until('live', () => page.out.services.size === 2);
    await page.stop();
    first.server.apps = (_, response) => response.writeHead(404).end();
    const missing = start([first.url, second.url]);
    await missing.until('live', () => missing.out.services.size === 2);
    await missing.stop();
    first.server.apps = () => {};
    const hanging = start([first.url, second.url]);
    await hanging.until('live', () => hanging.out.services.size === 2);
    const asked = first.server.requests.length;
    await hanging.until('ten answers', () => hanging.out.lives >= 10);
    expect(first.server.requests).to.have.length(asked);
  });

  it('asks twice before the whole registry is empty, also at the start', async () => {
    const [first, second] = [await fake({}), await fake(two)];
    const { out, until } = start([first.url, second.url]);
    await until('live', () => out.now === 'live');
    expect(out.services.size).to.equal(2);
  });

  it('goes over to another server when one is away, without losing anything', async () => {
    const [first, second] = [await fake(two), await fake(two)];
    const { out, until } = start([first.url, second.url]);
    await until('live', () => out.services.size === 2);
    await first.server.close();
    second.server.holds({ ...two, C: [{ id: 'c1' }] });
    await until('from the second', () => out.services.size === 3);
    expect(out.states.some(({ kind }) => kind === 'stale')).to.equal(false);
  });

  it('lets a server that comes back settle: what is missing is gone only afterwards', async () => {
    const { server, url } = await fake({ A: [{ id: 'a1' }, { id: 'a2' }], B: [{ id: 'b1' }] });
    const { out, until } = start([url], { settleTime: '700ms' });
    await until('live', () => out.services.size === 2);
    server.apps = (_, response) => response.writeHead(503).end();
    await until('stale', () => out.now === 'stale');
    server.holds({ A: [{ id: 'a1', status: 'DOWN' }] });
    await until('live again', () => out.now === 'live');
    expect(out.instances('A').map(({ id, status }) => `${id} ${status}`)).to.deep.equal(['a1 DOWN', 'a2 UP']);
    expect(out.services.size).to.equal(2);
    await until('settled', () => out.services.size === 1 && out.instances('A').length === 1);
  });

  it('applies deltas, and fetches all when the count differs', async () => {
    const { server, url } = await fake(two);
    server.delta = answer({}, two);
    const { out, until } = start([url]);
    await until('live', () => out.services.size === 2);
    await until('deltas', () => server.requests.length > 4);
    expect(server.requests.filter((path) => path === '/eureka/apps')).to.have.length(1);
    expect(out.updates).to.equal(0);
    const next: Leases = {
      A: [
        { id: 'a1', status: 'OUT_OF_SERVICE' },
        { id: 'a2', port: 81 },
      ],
      B: [{ id: 'b1' }],
    };
    server.delta = answer(
      {
        A: [
          { id: 'a1', status: 'OUT_OF_SERVICE' },
          { id: 'a2', port: 81 },
        ],
      },
      next,
    );
    await until('the delta', () => out.instances('A').length === 2);
    expect(out.causes.at(-1)).to.equal('delta');
    expect(out.updates).to.equal(1);
    server.holds({ ...next, C: [{ id: 'c1' }] });
    server.delta = answer({}, { ...next, C: [{ id: 'c1' }] });
    await until('what no delta said', () => out.services.size === 3);
    expect(out.causes.at(-1)).to.equal('full fetch');
    expect(out.updates).to.equal(2);
  });

  it('reads everything once more when changes have ended, since a cached answer may lack some', async () => {
    const { server, url } = await fake(two);
    server.delta = answer({}, two);
    const { out, until } = start([url]);
    await until('live', () => out.services.size === 2);
    // What a server goes on saying whose cache was filled between two registrations: it agrees with itself.
    const three: Leases = { ...two, C: [{ id: 'c1' }] };
    server.delta = answer({ C: [{ id: 'c1' }] }, three);
    server.holds({ ...three, D: [{ id: 'd1' }] });
    await until('what the delta said', () => out.services.size === 3);
    await until('what it lacked', () => out.services.size === 4);
    expect(out.causes.at(-1)).to.equal('full fetch');
  });

  it('reads everything ever more seldom while a delta contradicts it, and at once when there is another one', async () => {
    const { server, url } = await fake(two);
    // What a server says for minutes whose cache took the delta amid changes.
    server.delta = answer({}, { A: two.A as Lease[] });
    const { out, until } = start([url]);
    await until('live', () => out.services.size === 2);
    await until('forty answers', () => out.lives >= 40);
    const full = () => server.requests.filter((path) => path === '/eureka/apps').length;
    expect(full()).to.be.within(3, 10);
    const three: Leases = { ...two, C: [{ id: 'c1' }] };
    server.holds(three);
    server.delta = answer({}, three);
    await until('the full answer', () => out.services.size === 3);
    const before = full();
    server.delta = answer({}, { ...three, D: [{ id: 'd1' }] });
    await until('another full answer', () => full() > before);
  });

  it('gives nothing when nothing changed, and a proof of life for each answer', async () => {
    const { server, url } = await fake(two);
    const { out, until } = start([url]);
    await until('ten answers', () => out.lives >= 10);
    expect(out.updates).to.equal(0);
    // Only the first delta was asked for: the server refuses them.
    expect(server.requests.filter((path) => path.endsWith('/delta'))).to.have.length(1);
  });

  it('shows nothing that is not included', async () => {
    const { url } = await fake(two);
    const { out, until } = start([url], {}, (name) => name !== 'B');
    await until('live', () => out.now === 'live');
    expect([...out.services.values()].map(({ key }) => key.name)).to.deep.equal(['A']);
  });

  it('sends user name and password, and ends at once while a server is silent', async () => {
    const { server, url } = await fake(two);
    let authorization: string | undefined;
    server.apps = (request) => {
      authorization = request.headers.authorization;
    };
    const { out, stop } = start([url], { auth: { username: 'pontoon', password: 'secret' }, timeout: '60s' });
    await sleep(100);
    expect(authorization).to.equal(`Basic ${Buffer.from('pontoon:secret').toString('base64')}`);
    expect(await stop()).to.be.lessThan(2_000);
    expect(out.now).to.equal('connecting');
  });
});
