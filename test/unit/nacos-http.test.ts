import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import { expect } from 'chai';
import { signed } from '#adapters/nacos/signature.js';
import { readFrom } from '#test/real/nacos/read.js';
import type { NacosRun } from '#test/real/nacos/recorder.js';

/** An instance as Nacos 1 has it in its overview, and in its answer about one service. */
interface Host {
  readonly ip: string;
  readonly port: number;
  readonly weight?: number;
}

describe('Nacos 1 over HTTP (fake server: 1.x is not to be had)', function () {
  this.timeout(60_000);
  let server: Server;
  let recorder: NacosRun;
  /** Instances by cluster by service. */
  let services: Record<string, Record<string, Host[]>>;
  let overview: { readonly status: number; readonly body?: unknown } | undefined;
  const asked: URL[] = [];

  beforeEach((done) => {
    asked.length = 0;
    overview = undefined;
    services = {
      orders: { DEFAULT: [{ ip: '10.0.0.1', port: 1 }] },
      carts: { A: [{ ip: '10.0.0.1', port: 2 }], B: [] },
    };
    server = createServer((request, response) => {
      const url = new URL(request.url ?? '', 'http://localhost');
      asked.push(url);
      const { status = 200, body } = answer(url);
      response.writeHead(status).end(typeof body === 'string' ? body : JSON.stringify(body));
    }).listen(0, '127.0.0.1', done);
  });
  afterEach(async () => {
    await recorder.stop();
    server.close();
  });

  function answer({ pathname, searchParams }: URL): { readonly status?: number; readonly body?: unknown } {
    const all = Object.entries(services);
    if (pathname === '/nacos/v1/ns/catalog/services') {
      if (searchParams.get('withInstances') !== 'true')
        return {
          body: { count: all.length, serviceList: all.map(([name]) => ({ name, groupName: 'DEFAULT_GROUP' })) },
        };
      const detail = ([serviceName, clusters]: (typeof all)[number]) => ({
        serviceName,
        groupName: 'DEFAULT_GROUP',
        clusterMap: Object.fromEntries(Object.entries(clusters).map(([name, hosts]) => [name, { hosts }])),
        metadata: {},
      });
      return overview ?? { body: all.map(detail) };
    }
    if (pathname !== '/nacos/v1/ns/instance/list') return { status: 404, body: '<html>' };
    const name = searchParams.get('serviceName')?.replace('DEFAULT_GROUP@@', '') ?? '';
    const hosts = Object.entries(services[name] ?? {}).flatMap(([clusterName, hosts]) =>
      hosts.map((host) => ({
        ...host,
        clusterName,
        valid: true,
        marked: false,
        instanceId: `${host.ip}#${host.port}`,
      })),
    );
    return { body: { dom: name, name, hosts, clusters: '', env: '', metadata: {} } };
  }

  async function read(config: Record<string, unknown> = {}) {
    const { port } = server.address() as AddressInfo;
    recorder = readFrom([`127.0.0.1:${port}`], { api: 'http', pollInterval: '100ms', ...config });
    await recorder.wait('live', ({ lastState }) => lastState?.kind === 'live');
  }
  const port = (name: string) => recorder.named(name)?.instances[0]?.ports[0]?.number;
  const questions = () => asked.filter(({ pathname }) => pathname.endsWith('/instance/list'));

  it('asks about each service once, and again when the overview says that it changed', async () => {
    await read();
    expect([port('orders'), port('carts')]).to.deep.equal([1, 2]);
    await sleep(500);
    expect(questions()).to.have.length(2);
    services.orders = { DEFAULT: [{ ip: '10.0.0.1', port: 3, weight: 2 }] };
    await recorder.wait('changed', () => port('orders') === 3);
    expect(questions()).to.have.length(3);
  });

  it('finds a service that is new in the overview, and drops one that is gone', async () => {
    await read();
    services.stock = { DEFAULT: [{ ip: '10.0.0.1', port: 4 }] };
    await recorder.wait('found', () => port('stock') === 4);
    delete services.stock;
    await recorder.wait('gone', ({ services }) => services.size === 2);
  });

  for (const [what, instead] of [
    ['is not allowed', { status: 403, body: { message: 'no right' } }],
    ['is something else', { status: 200, body: { count: 0 } }],
  ] as const)
    it(`asks about every service when the overview ${what}`, async () => {
      overview = instead;
      await read();
      services.carts = { B: [{ ip: '10.0.0.1', port: 5 }] };
      await recorder.wait('changed', () => port('carts') === 5);
      expect(recorder.states.at(-1)?.kind).to.equal('live');
    });

  it('is stale when the overview fails, and live again when it does not', async () => {
    await read();
    overview = { status: 500, body: 'broken' };
    await recorder.wait('stale', ({ lastState }) => lastState?.kind === 'stale');
    expect(recorder.services.size).to.equal(2);
    overview = undefined;
    await recorder.wait('live again', ({ lastState }) => lastState?.kind === 'live');
  });

  it('signs what it asks with an access key', async () => {
    const keys = { accessKey: 'an-access-key', secretKey: 'a-secret-key', region: undefined };
    await read({ auth: { accessKey: keys.accessKey, secretKey: keys.secretKey } });
    const question = Object.fromEntries(questions()[0]?.searchParams ?? []);
    const [now, group = '', service = ''] = question.data?.split('@@') ?? [];
    expect(question).to.include(signed({ module: 'naming', group, service }, keys, Number(now)));
    expect(`${group}@@${service}`).to.equal(question.serviceName);
  });
});
