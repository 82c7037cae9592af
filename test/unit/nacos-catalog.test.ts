import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { expect } from 'chai';
import { pino } from 'pino';
import { z } from 'zod';
import { HttpApi } from '#adapters/nacos/api.js';
import { Catalog } from '#adapters/nacos/catalog.js';
import { fields } from '#adapters/nacos/schema.js';

type Answer = { readonly status?: number; readonly body: unknown };

describe('Nacos catalog (fake server)', () => {
  let server: Server;
  let api: HttpApi;
  let answer: (path: string, query: URLSearchParams) => Answer;
  const asked: string[] = [];

  beforeEach((done) => {
    asked.length = 0;
    server = createServer((request, response) => {
      const url = new URL(request.url ?? '', 'http://localhost');
      asked.push(url.pathname);
      const { status = 200, body } = answer(url.pathname, url.searchParams);
      response.writeHead(status).end(typeof body === 'string' ? body : JSON.stringify(body));
    }).listen(0, '127.0.0.1', done);
  });
  afterEach(async () => {
    await api.close();
    server.close();
  });

  function list(config: Record<string, unknown> = {}) {
    const { port } = server.address() as AddressInfo;
    const parsed = z.strictObject(fields).parse({ servers: [`127.0.0.1:${port}`], ...config });
    api = new HttpApi(parsed);
    const catalog = new Catalog({
      config: parsed,
      context: { includes: (name) => name !== 'unwanted', log: pino({ level: 'silent' }) },
      api,
      servicesOfGroup: (...page) => api.servicesOfGroup(...page),
    });
    return catalog.list(AbortSignal.timeout(5_000));
  }

  async function failure(config: Record<string, unknown> = {}): Promise<string> {
    return await list(config).then(
      () => 'no error',
      (error: Error) => error.message,
    );
  }

  /** A page of the list of all groups as Nacos 3 gives it. */
  function page(total: number, names: readonly string[]): Answer {
    const pageItems = names.map((name) => ({ name, groupName: 'g' }));
    return { body: { code: 0, data: { totalCount: total, pageItems } } };
  }

  const unknown: Answer = { status: 404, body: { status: 404 } };
  const names = (from: number, to: number) => Array.from({ length: to - from }, (_, index) => `s${from + index}`);

  it('reads all pages, and leaves out what is not wanted', async () => {
    answer = (_, query) =>
      query.get('pageNo') === '1' ? page(1_003, names(0, 1_000)) : page(1_003, ['last', 'unwanted', 'routers:x:1:']);
    const found = await list();
    expect(found).to.have.length(1_001);
    expect(found.at(-1)).to.deep.equal({ namespace: 'public', group: 'g', name: 'last' });
  });

  it('is an error when one page is', async () => {
    answer = (_, query) => {
      const from = (Number(query.get('pageNo')) - 1) * 1_000;
      return from < 2_000 ? page(2_001, names(from, from + 1_000)) : { status: 500, body: 'broken' };
    };
    expect(await failure()).to.match(/answered 500 broken/);
    expect(asked).to.have.length(3);
  });

  it('is an error when the pages do not add up to the whole', async () => {
    answer = (_, query) => page(1_500, query.get('pageNo') === '1' ? names(0, 1_000) : []);
    expect(await failure()).to.match(/not complete: 1000 of 1500/);
  });

  it('reads again when the list changed while it was read', async () => {
    let reads = 0;
    answer = (_, query) => {
      if (query.get('pageNo') !== '1') return page(1_001, reads === 1 ? [] : ['last']);
      reads++;
      return page(1_001, names(0, 1_000));
    };
    expect(await list()).to.have.length(1_001);
    expect(reads).to.equal(2);
  });

  it('asks Nacos 2 in its own way', async () => {
    answer = (path) =>
      path === '/nacos/v1/ns/catalog/services'
        ? { body: { count: 1, serviceList: [{ name: 'g@@a', groupName: 'g' }] } }
        : unknown;
    expect(await list()).to.deep.equal([{ namespace: 'public', group: 'g', name: 'a' }]);
    expect(asked).to.deep.equal(['/nacos/v3/admin/ns/service/list', '/nacos/v1/ns/catalog/services']);
  });

  it('asks Nacos 3.2, which has no v1, in the way of v3 alone', async () => {
    answer = (path) => {
      if (path === '/nacos/v3/admin/core/namespace/list')
        return { body: { data: [{ namespace: 'id-1', namespaceShowName: 'shop' }] } };
      return path.startsWith('/nacos/v3') ? page(1, ['a']) : { status: 404, body: '<html>' };
    };
    expect(await list({ namespaces: ['shop'] })).to.deep.equal([{ namespace: 'id-1', group: 'g', name: 'a' }]);
    expect(asked.every((path) => path.startsWith('/nacos/v3'))).to.equal(true);
  });

  it('goes by v1 where 3.1 answers 410 to one question, and by v3 where it does to another', async () => {
    answer = (path) => {
      if (path === '/nacos/v1/ns/service/list') return { body: { count: 1, doms: ['a'] } };
      if (path === '/nacos/v3/admin/core/namespace/list')
        return { body: { data: [{ namespace: 'id-1', namespaceShowName: 'shop' }] } };
      return { status: 410, body: { code: 10_410 } };
    };
    expect(await list({ namespaces: ['shop'], groups: ['g'] })).to.have.length(1);
    expect(await failure({ namespaces: ['shop'] })).to.match(/does not have this question in its API/);
  });

  it('names the version that does not have the question', async () => {
    answer = (path) => {
      if (path === '/nacos/v3/admin/core/state') return { body: { data: { version: '3.9.9' } } };
      return path.startsWith('/nacos/v1') ? { status: 410, body: { status: 410 } } : unknown;
    };
    expect(await failure()).to.match(/^Nacos 3.9.9 does not have this question/);
  });

  it('names the version that does not allow the question', async () => {
    answer = (path) =>
      path === '/nacos/v3/admin/core/state' ? { body: { data: { version: '3.1.0' } } } : { status: 403, body: {} };
    expect(await failure()).to.match(/^Nacos 3.1.0 does not allow this question to this user .*answered 403/);
  });

  it('does not take another answer for an empty list', async () => {
    for (const body of ['', 'null', '<html>', '[]', '{}', '{"data":null}', '{"data":{"totalCount":0}}']) {
      answer = () => ({ body });
      expect(await failure(), body).to.match(/answered something else|did not answer with JSON|an empty body/);
    }
  });

  it('finds namespaces by id and by name, the default one under each version of its id', async () => {
    answer = (path, query) => {
      if (path === '/nacos/v3/admin/core/namespace/list')
        return {
          body: {
            data: [
              { namespace: '', namespaceShowName: 'public' },
              { namespace: 'id-1', namespaceShowName: 'shop' },
            ],
          },
        };
      return page(1, [`in-${query.get('namespaceId')}`]);
    };
    const found = async (...namespaces: string[]) => (await list({ namespaces })).map(({ name }) => name);
    expect(await found('*')).to.deep.equal(['in-public', 'in-id-1']);
    expect(await found('shop')).to.deep.equal(['in-id-1']);
    expect(await found('id-1', 'shop')).to.deep.equal(['in-id-1']);
  });

  it('takes namespaces as ids when they cannot be listed, and misses those that hold nothing', async () => {
    answer = (path, query) => {
      if (path.includes('namespace')) return { status: 403, body: {} };
      return query.get('namespaceId') === 'dev' ? page(1, ['a']) : page(0, []);
    };
    expect(await list({ namespaces: ['dev'] })).to.have.length(1);
    expect(await failure({ namespaces: ['prod'] })).to.match(/there is no namespace "prod"/);
    expect(await failure({ namespaces: ['*'] })).to.match(/does not allow this question/);
  });
});
