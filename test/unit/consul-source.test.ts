import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import { expect } from 'chai';
import { z } from 'zod';
import { fields } from '#adapters/consul/schema.js';
import { ConsulSource } from '#adapters/consul/source.js';
import { contextOf, type Running, run } from '#test/real/recorder.js';

type Catalog = Record<string, string[]>;
type Handler = (request: IncomingMessage, response: ServerResponse) => void;

/** A fake, for what a real agent does not do on demand: wrong answers, an index that falls, two agents that disagree. */
class FakeConsul {
  index = 10;
  readonly questions: URL[] = [];
  /** Answers instead, by the beginning of the path. */
  readonly wrong = new Map<string, Handler>();
  #catalog: Catalog;
  readonly #waiting = new Set<() => void>();
  readonly #server: Server;

  constructor(catalog: Catalog) {
    this.#catalog = catalog;
    this.#server = createServer((request, response) => this.#answer(request, response));
  }

  async start(): Promise<string> {
    await new Promise<void>((resolve) => this.#server.listen(0, '127.0.0.1', resolve));
    return `http://127.0.0.1:${(this.#server.address() as AddressInfo).port}`;
  }

  async close(): Promise<void> {
    this.#server.closeAllConnections();
    await new Promise((resolve) => this.#server.close(resolve));
  }

  /** Changes what it holds, and answers the waiting. */
  holds(catalog: Catalog, index = this.index + 1): void {
    this.#catalog = catalog;
    this.index = index;
    this.wake();
  }

  /** Ends all waits, as if their time were up. */
  wake(): void {
    for (const end of [...this.#waiting]) end();
  }

  #answer(request: IncomingMessage, response: ServerResponse): void {
    const url = new URL(request.url ?? '/', 'http://fake');
    this.questions.push(url);
    const wrong = [...this.wrong].find(([path]) => url.pathname.startsWith(path))?.[1];
    const answer = () => {
      response.setHeader('x-consul-index', String(this.index)).setHeader('content-type', 'application/json');
      response.end(JSON.stringify(this.#body(url.pathname)));
    };
    if (wrong !== undefined) wrong(request, response);
    else if (Number(url.searchParams.get('index') ?? 0) === this.index)
      this.#wait(answer, Number.parseInt(url.searchParams.get('wait') ?? '', 10));
    else answer();
  }

  /** Answers when something changes, or when the time of the question is up, as an agent does. */
  #wait(answer: () => void, ms: number): void {
    const end = () => {
      clearTimeout(timer);
      this.#waiting.delete(end);
      answer();
    };
    const timer = setTimeout(end, ms).unref();
    this.#waiting.add(end);
  }

  #body(path: string): unknown {
    if (path === '/v1/catalog/services')
      return Object.fromEntries(['consul', ...Object.keys(this.#catalog)].map((name) => [name, []]));
    if (path === '/v1/health/state/any') return [];
    const name = decodeURIComponent(path.split('/').at(-1) ?? '');
    return (this.#catalog[name] ?? []).map((id) => ({
      Node: { Node: 'n1', Address: '10.0.0.1' },
      Service: { ID: id, Service: name, Port: 80 },
      Checks: [],
    }));
  }
}

describe('Consul: source, against a fake agent', () => {
  const fakes: FakeConsul[] = [];
  let running: Running | undefined;

  async function fake(catalog: Catalog): Promise<{ server: FakeConsul; url: string }> {
    const server = new FakeConsul(catalog);
    fakes.push(server);
    return { server, url: await server.start() };
  }

  function start(servers: string[], more: object = {}, includes?: (name: string) => boolean): Running {
    const config = z.object(fields).parse({ servers, wait: '1s', timeout: '300ms', ...more });
    running = run(new ConsulSource(config, contextOf('co', includes)));
    return running;
  }

  afterEach(async () => {
    await running?.stop();
    await Promise.all(fakes.splice(0).map((each) => each.close()));
  });

  const two: Catalog = { web: ['w1', 'w2'], 'a/b c': ['x'] };

  const faults: Record<string, Handler> = {
    'an HTML page': (_, response) =>
      response.setHeader('x-consul-index', '11').setHeader('content-type', 'text/html').end('<html>'),
    'a page without an index': (_, response) => response.setHeader('content-type', 'text/html').end('<html>'),
    'an empty body': (_, response) => response.setHeader('x-consul-index', '11').end(),
    null: (_, response) =>
      response.setHeader('x-consul-index', '11').setHeader('content-type', 'application/json').end('null'),
    'half an answer': (_, response) =>
      response.setHeader('x-consul-index', '11').setHeader('content-type', 'application/json').end('{"we'),
    'a body that ends early': (_, response) => {
      response.writeHead(200, { 'content-length': '5000', 'x-consul-index': '11' }).write('{"web":[],');
      setTimeout(() => response.destroy(), 20);
    },
    silence: () => {},
    '500 No cluster leader': (_, response) => response.writeHead(500).end('No cluster leader'),
    429: (_, response) => response.writeHead(429).end(),
    403: (_, response) => response.writeHead(403).end('ACL not found'),
  };

  for (const [what, fault] of Object.entries(faults)) {
    it(`keeps all services when the list is ${what}, and recovers`, async () => {
      const { server, url } = await fake(two);
      const { out, until } = start([url]);
      await until('live', () => out.services.size === 2);
      server.wrong.set('/v1/', fault);
      server.wake();
      await until('stale', () => out.now === 'stale');
      await sleep(500);
      expect(out.services.size).to.equal(2);
      expect(out.instances('web')).to.have.length(2);
      server.wrong.clear();
      server.holds({ ...two, more: ['m1'] });
      await until('live again', () => out.now === 'live' && out.services.size === 3);
      expect(out.fewest).to.equal(2);
    });

    it(`keeps a service when its answer is ${what}, shows that, and recovers`, async () => {
      const { server, url } = await fake(two);
      const { out, until } = start([url]);
      await until('live', () => out.services.size === 2);
      server.wrong.set('/v1/health/service/web', fault);
      server.wake();
      await until('unreadable', () => out.unreadables.size === 1);
      expect(out.instances('web')).to.have.length(2);
      expect(out.now).to.equal('live');
      server.wrong.clear();
      server.holds({ ...two, web: ['w3'] });
      await until('readable', () => out.unreadables.size === 0 && out.instances('web')[0]?.id === 'n1/w3');
    });
  }

  it('notices an answer that is cut off at once, not when its time is up', async () => {
    const { server, url } = await fake(two);
    const { out, until } = start([url], { timeout: '60s' });
    await until('live', () => out.services.size === 2);
    server.wrong.set('/v1/', faults['a body that ends early'] as Handler);
    server.wake();
    await until('stale', () => out.now === 'stale', 2_000);
    expect(out.reason).to.include('closed before the answer was complete');
  });

  it('asks another agent, with a quorum, before a service is empty', async () => {
    const [first, second] = [await fake(two), await fake(two)];
    const { out, until } = start([first.url, second.url]);
    await until('live', () => out.services.size === 2);
    first.server.holds({ ...two, web: [] });
    await until('asked', () => second.server.questions.length > 0);
    const [question] = second.server.questions;
    expect(question?.pathname).to.equal('/v1/health/service/web');
    expect([...(question?.searchParams.keys() ?? [])]).to.deep.equal(['consistent']);
    await sleep(200);
    expect(out.instances('web')).to.have.length(2);
    second.server.holds({ ...two, web: [] });
    first.server.holds({ ...two, web: [] });
    await until('empty', () => out.instances('web').length === 0);
    expect(out.named('web')).to.not.equal(undefined);
  });

  it('asks another agent before services go, and believes only both', async () => {
    const [first, second] = [await fake(two), await fake(two)];
    const { out, until } = start([first.url, second.url]);
    await until('live', () => out.services.size === 2);
    first.server.holds({});
    await until('asked', () => second.server.questions.length > 2);
    second.server.wrong.set('/v1/', faults['500 No cluster leader'] as Handler);
    first.server.wrong.set('/v1/health', faults['500 No cluster leader'] as Handler);
    await sleep(500);
    expect(out.services.size).to.equal(2);
    second.server.wrong.clear();
    first.server.wrong.clear();
    second.server.holds({ web: ['w1'] });
    first.server.holds({});
    await until('one gone', () => out.services.size === 1);
    expect(out.named('web')).to.not.equal(undefined);
  });

  it('starts again when the index falls', async () => {
    const { server, url } = await fake(two);
    const { out, until } = start([url]);
    await until('live', () => out.services.size === 2);
    server.holds({ ...two, web: ['w9'], more: ['m1'] }, 3);
    await until('new content', () => out.instances('web')[0]?.id === 'n1/w9' && out.named('more') !== undefined);
    const asked = server.questions.filter(({ pathname }) => pathname === '/v1/health/service/web');
    await until('blocking again', () => asked.length > 0 && server.questions.at(-1)?.searchParams.get('index') === '3');
  });

  it('asks another agent before it believes an answer that is older than what it knows', async () => {
    const [first, second] = [await fake(two), await fake(two)];
    const { out, until } = start([first.url, second.url]);
    await until('live', () => out.services.size === 2);
    first.server.holds({ ...two, web: ['w1'] }, 5);
    const asked = () => second.server.questions.filter(({ searchParams }) => searchParams.has('consistent'));
    await until('asked', () => asked().length > 0);
    await sleep(300);
    expect(out.instances('web')).to.have.length(2);
  });

  it('goes over to another agent when one is away', async () => {
    const [first, second] = [await fake(two), await fake(two)];
    const { out, until } = start([first.url, second.url]);
    await until('live', () => out.services.size === 2);
    await first.server.close();
    second.server.holds({ ...two, more: ['m1'] });
    await until('from the second', () => out.services.size === 3);
    expect(out.states.map(({ kind }) => kind)).to.not.include('stale');
  });

  it('sends token, filter and consistency, and reads no service that is not included', async () => {
    const { server, url } = await fake(two);
    let token: unknown;
    server.wrong.set('/v1/health/state', () => {});
    server.wrong.set('/v1/catalog', (request, response) => {
      token = request.headers['x-consul-token'];
      response
        .setHeader('x-consul-index', '5')
        .setHeader('content-type', 'application/json')
        .end('{"web":[],"secret":[]}');
    });
    const more = { auth: { token: 't0k' }, consistency: 'stale', filter: 'Service.Port == 80' };
    const { out, until } = start([url], more, (name) => name !== 'secret');
    await until('live', () => out.now === 'live');
    expect(token).to.equal('t0k');
    expect(server.questions[0]?.search).to.equal('?stale=1');
    const web = server.questions.find(({ pathname }) => pathname === '/v1/health/service/web');
    expect(Object.fromEntries(web?.searchParams ?? [])).to.deep.equal({ filter: 'Service.Port == 80', stale: '1' });
    expect(server.questions.some(({ pathname }) => pathname.includes('secret'))).to.equal(false);
  });

  it('ends at once while agents are silent, before the first listing and after', async () => {
    const { server, url } = await fake(two);
    const { until, out, stop } = start([url], { wait: '60s' });
    await until('live', () => out.services.size === 2);
    expect(await stop()).to.be.lessThan(1_000);
    server.wrong.set('/v1/', () => {});
    const silent = start([url], { timeout: '60s' });
    await sleep(100);
    expect(await silent.stop()).to.be.lessThan(1_000);
    expect(silent.out.now).to.equal('connecting');
  });

  it('leaves a server alone for as long as it asks', async () => {
    const { server, url } = await fake(two);
    const { out, until } = start([url]);
    await until('live', () => out.services.size === 2);
    const asked: number[] = [];
    server.wrong.set('/v1/catalog', (_, response) => {
      asked.push(performance.now());
      response.writeHead(503, { 'retry-after': '2' }).end('try again later');
    });
    server.wake();
    await until('asked again', () => asked.length === 2);
    expect((asked[1] ?? 0) - (asked[0] ?? 0)).to.be.greaterThan(1_900);
    expect(out.reason).to.include('answered 503 try again later');
  });

  it('takes no stale answer of a server that has long not heard from its leader', async () => {
    const { server, url } = await fake(two);
    const { out, until } = start([url], { consistency: 'stale' });
    await until('live', () => out.services.size === 2);
    server.wrong.set('/v1/', (_, response) =>
      response
        .writeHead(200, {
          'content-type': 'application/json',
          'x-consul-index': '12',
          'x-consul-knownleader': 'true',
          'x-consul-lastcontact': '70000',
        })
        .end('{}'),
    );
    server.wake();
    await until('stale', () => out.now === 'stale');
    expect(out.reason).to.include('last heard of its leader 70000 ms ago');
    expect(out.services.size).to.equal(2);
  });

  it('reads a service that cannot be read beside others, and shows it, at the start', async () => {
    const { server, url } = await fake(two);
    server.wrong.set('/v1/health/service/web', faults['500 No cluster leader'] as Handler);
    const { out, until } = start([url]);
    await until('live', () => out.now === 'live');
    expect([...out.services.values()].map(({ key }) => key.name)).to.deep.equal(['a/b c']);
    expect(out.unreadables.size).to.equal(1);
  });

  it('says why it is not complete while its first questions about services are refused, and goes on', async () => {
    const { server, url } = await fake(two);
    server.wrong.set('/v1/health/service', (_, response) => response.writeHead(429).end('too many requests'));
    const { out, until } = start([url]);
    await until('failed', () => out.now === 'failed');
    expect(out.reason).to.include('answered 429 too many requests');
    expect(out.listings).to.equal(0);
    server.wrong.clear();
    await until('live', () => out.now === 'live' && out.services.size === 2);
    expect(out.unreadables.size).to.equal(0);
  });

  it('with stale answers reads what a signal tells by the leader, and not from a server that lags', async () => {
    const names = Array.from({ length: 20 }, (_, index) => `s${index}`);
    const many = (id: string) => Object.fromEntries(names.map((name) => [name, [id]]));
    const { server, url } = await fake(many('first'));
    const nodes = (id: string) => [
      { Node: 'n1', Services: names.map((name) => ({ ID: id, Service: name, ModifyIndex: 1 })), Checks: [] },
    ];
    const answer = (response: ServerResponse, body: unknown) =>
      response
        .setHeader('x-consul-index', String(server.index))
        .setHeader('content-type', 'application/json')
        .end(JSON.stringify(body));
    const idFor = (request: IncomingMessage) => (request.url?.includes('stale=') ? 'first' : now);
    let now = 'first';
    server.wrong.set('/v1/internal', (request, response) => answer(response, nodes(idFor(request))));
    const { out, until } = start([url], { consistency: 'stale', maxPolls: 1, wait: '60s' });
    await until('live', () => out.now === 'live' && out.services.size === 20);
    const marked = () => server.questions.filter(({ pathname }) => pathname.startsWith('/v1/internal')).length;
    await until('marked', () => marked() > 0);
    server.wrong.set('/v1/health/service', (request, response) => {
      const { pathname } = new URL(request.url ?? '/', 'http://fake');
      const service = { ID: idFor(request), Service: pathname.split('/').at(-1), Port: 80 };
      answer(response, [{ Node: { Node: 'n1', Address: '10.0.0.1' }, Service: service, Checks: [] }]);
    });
    now = 'second';
    server.holds(many('second'));
    const isNew = (name: string) => out.instances(name)[0]?.id === 'n1/second';
    // One of them has a blocking query of its own, which the lagging server answers.
    await until('all but one read', () => names.filter(isNew).length >= 19, 8_000);
    await until('asked what changed', () => marked() > 1, 8_000);
  });

  it('gives up a reading of all services as soon as no server answers, and begins again without a rush', async () => {
    const { server, url } = await fake(
      Object.fromEntries(Array.from({ length: 200 }, (_, index) => [`s${index}`, ['i']])),
    );
    let questions = 0;
    const refuse: Handler = (_, response) => {
      questions++;
      response.destroy();
    };
    server.wrong.set('/v1/health/service', (request, response) => {
      server.wrong.set('/v1/', refuse);
      server.wrong.set('/v1/health/service', refuse);
      refuse(request, response);
    });
    const { out, until } = start([url]);
    await until('failed', () => out.now === 'failed');
    await sleep(2_000);
    expect(questions).to.be.lessThan(100);
    server.wrong.clear();
    await until('live', () => out.now === 'live' && out.services.size === 200);
    expect(out.listings).to.equal(1);
  });

  it('is not complete at the start while no service can be read', async () => {
    const { server, url } = await fake(two);
    server.wrong.set('/v1/health/service', faults['403'] as Handler);
    const { out, until } = start([url]);
    await until('failed', () => out.now === 'failed');
    expect(out.reason).to.include('answered 403');
    expect(out.listings).to.equal(0);
    server.wrong.clear();
    await until('live', () => out.now === 'live' && out.services.size === 2);
  });

  for (const [what, fault] of Object.entries({
    'is not there': (_, response) => response.writeHead(404).end(),
    'is something else': (_, response) =>
      response.setHeader('x-consul-index', '1').setHeader('content-type', 'application/json').end('{"a":1}'),
    'shows nothing': (_, response) =>
      response.setHeader('x-consul-index', '1').setHeader('content-type', 'application/json').end('[]'),
  } satisfies Record<string, Handler>))
    it(`reads all services beyond the blocking queries after a change, if the whole catalog ${what}`, async () => {
      const many = (id: string) => Object.fromEntries(Array.from({ length: 20 }, (_, index) => [`s${index}`, [id]]));
      const { server, url } = await fake(many('first'));
      server.wrong.set('/v1/internal', fault);
      const { out, until } = start([url], { maxPolls: 2, wait: '60s' });
      await until('live', () => out.now === 'live' && out.services.size === 20);
      server.holds(many('second'));
      await until('all read', () =>
        [...out.services.values()].every(({ instances }) => instances[0]?.id === 'n1/second'),
      );
      const asked = () => server.questions.filter(({ pathname }) => pathname.startsWith('/v1/internal')).length;
      expect(asked()).to.be.at.most(4);
    });

  it('knocks seldom while no agent is there', async () => {
    const { server, url } = await fake(
      Object.fromEntries(Array.from({ length: 200 }, (_, index) => [`s${index}`, ['i']])),
    );
    const { out, until } = start([url], { maxPolls: 20 });
    await until('live', () => out.now === 'live' && out.services.size === 200);
    let knocks = 0;
    server.wrong.set('/v1/', (_, response) => {
      knocks++;
      response.destroy();
    });
    server.wake();
    await until('stale', () => out.now === 'stale');
    await sleep(2_000);
    const before = knocks;
    await sleep(1_500);
    console.log(`      ${((knocks - before) / 1.5).toFixed(0)} questions a second from the third second on`);
    expect(knocks - before).to.be.lessThan(60);
    expect(out.unreadables.size).to.equal(0);
  });
});

describe('Consul: namespaces and partitions, against a fake of Consul Enterprise', () => {
  const services: Record<string, readonly string[]> = {
    'default/default': ['web'],
    'default/shop': ['web', 'cart'],
    'team/default': ['web'],
    'team/closed': ['secret'],
  };
  const namesOf = (names: Iterable<string>) => [...new Set(names)].map((Name) => ({ Name }));
  const closed = new Set<string>();
  let server: Server;
  let url: string;
  let running: Running | undefined;

  before(async () => {
    server = createServer((request, response) => {
      const { pathname, searchParams } = new URL(request.url ?? '/', 'http://fake');
      const [partition, space] = [searchParams.get('partition') ?? 'default', searchParams.get('ns') ?? 'default'];
      const name = pathname.split('/').at(-1) ?? '';
      const body = {
        partitions: () => namesOf(Object.keys(services).map((place) => place.split('/')[0] ?? '')),
        namespaces: () =>
          namesOf(
            Object.keys(services).flatMap((place) =>
              place.startsWith(`${partition}/`) ? (place.split('/')[1] ?? '') : [],
            ),
          ),
        services: () => Object.fromEntries((services[`${partition}/${space}`] ?? []).map((service) => [service, []])),
      }[name];
      const instances = () => [
        {
          Node: { Node: 'n1', Address: '10.0.0.1', Partition: partition, Datacenter: 'dc1' },
          Service: { ID: `${name}-1`, Service: name, Namespace: space, Partition: partition, Port: 80 },
          Checks: [],
        },
      ];
      if (closed.has(`${partition}/${space}`)) response.writeHead(403).end('Permission denied');
      // Nothing changes here.
      else if (searchParams.get('index') !== '7')
        response
          .setHeader('content-type', 'application/json')
          .setHeader('x-consul-index', '7')
          .end(JSON.stringify((body ?? instances)()));
    });
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  });

  afterEach(async () => {
    closed.clear();
    await running?.stop();
  });
  after(() => {
    server.closeAllConnections();
    server.close();
  });

  function start(more: object): Running {
    const config = z.object(fields).parse({ servers: [url], wait: '60s', timeout: '1s', ...more });
    running = run(new ConsulSource(config, contextOf('co')));
    return running;
  }
  const read = ({ out }: Running) =>
    [...out.services.values()].map(({ key, metadata }) => `${key.namespace} ${key.name}.${metadata.domain}`).sort();

  it('reads all of them, or those that are named, each service under its own name', async () => {
    const all = start({ partitions: ['*'], namespaces: ['*'] });
    await all.until('live', (out) => out.now === 'live');
    expect(read(all)).to.deep.equal([
      ' web.service.consul',
      'shop cart.service.shop.ns.consul',
      'shop web.service.shop.ns.consul',
      'team/closed secret.service.closed.ns.team.ap.consul',
      'team/default web.service.team.ap.consul',
    ]);
    await all.stop();
    const shop = start({ namespaces: ['shop'] });
    await shop.until('live', (out) => out.now === 'live');
    expect(read(shop)).to.deep.equal(['shop cart.service.shop.ns.consul', 'shop web.service.shop.ns.consul']);
  });

  it('reads the others when one may not be read, says which, and is complete when it may', async () => {
    closed.add('team/closed');
    const partly = start({ partitions: ['*'], namespaces: ['*'] });
    await partly.until('the others', (out) => out.services.size === 4 && out.now === 'failed');
    expect(partly.out.reason).to.match(/^partition team, namespace closed: .*403/);
    closed.clear();
    await partly.until('all', (out) => out.now === 'live' && out.services.size === 5);
  });
});
