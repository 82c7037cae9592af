import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { createServer as createHttpServer } from 'node:http';
import { type AddressInfo, createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect } from 'chai';
import { pino } from 'pino';
import { stringify } from 'yaml';
import type { RegistryReport, ServiceReport, StateReport } from '#admin/report.js';
import { shardOf } from '#catalog/shards.js';
import { parseConfig } from '#config/load.js';
import { freePort, freePorts } from '#test/servers/ports.js';
import { until } from '#test/servers/probes.js';
import { type Pontoon, startPontoon } from '../../src/main.js';

describe('shards that come and go while a Pontoon runs', function () {
  this.timeout(60_000);
  const folder = mkdtempSync(join(tmpdir(), 'pontoon-serving-'));
  const file = join(folder, 'a.yaml');
  const names = Array.from({ length: 32 }, (_, index) => `s${index}`);
  const inShard = (shard: number) => names.find((name) => shardOf(name, 4) === shard) as string;
  const running: Pontoon[] = [];
  let admin: number;
  let xds: number;

  before(async () => {
    admin = await freePort();
    xds = await freePorts([0, 1, 2, 3]);
  });
  beforeEach(() => write());
  afterEach(async () => {
    for (const pontoon of running.splice(0)) await pontoon.stop();
  });
  after(() => rmSync(folder, { recursive: true }));

  function write(): void {
    const instances = [{ address: '10.0.0.1', port: 80 }];
    writeFileSync(file, stringify({ services: names.map((name) => ({ name, instances })) }));
  }

  const config = (serve: string | undefined, more: object = {}) =>
    parseConfig(
      stringify({
        registries: [{ name: 'a', type: 'file', path: file }],
        admin: { listen: `127.0.0.1:${admin}` },
        istio: { ...(serve === undefined ? {} : { serve }), xds: [{ listen: `127.0.0.1:${xds}`, shards: 4 }] },
        ...more,
      }),
      join(folder, 'pontoon.yaml'),
    );
  async function start(serve: string | undefined, more: object = {}): Promise<Pontoon> {
    const pontoon = await startPontoon(config(serve, more), pino({ level: 'silent' }));
    running.push(pontoon);
    return pontoon;
  }
  const ports = (shards: readonly number[]) => shards.map((shard) => `127.0.0.1:${xds + shard}`);
  const get = async <Answer>({ adminUrl }: Pontoon, what: string): Promise<Answer> =>
    (await fetch(`${adminUrl}/api/v1/${what}`)).json() as Promise<Answer>;
  const waitingFor = async (pontoon: Pontoon) => (await get<StateReport>(pontoon, 'state')).waitingFor;
  const isThere = async (pontoon: Pontoon, host: string) =>
    'endpoints' in (await get<Partial<ServiceReport>>(pontoon, `services/${host}`));
  const open = async (): Promise<number[]> => {
    const found: number[] = [];
    for (const shard of [0, 1, 2, 3]) {
      const probe = createServer();
      const isTaken = await new Promise((resolve) => {
        probe.once('error', () => resolve(true));
        probe.listen(xds + shard, '127.0.0.1', () => probe.close(() => resolve(false)));
      });
      if (isTaken) found.push(shard);
    }
    return found;
  };

  it('opens the ports of its shards only, each where it belongs', async () => {
    const pontoon = await start('1-2/4');
    expect(pontoon.xds).to.deep.equal(ports([1, 2]));
    await until('synced', async () => (await waitingFor(pontoon)).length === 0);
    expect(await isThere(pontoon, inShard(1))).to.equal(true);
    expect(await isThere(pontoon, inShard(3))).to.equal(false);
    const { elsewhere, rejected, services } = await get<RegistryReport>(pontoon, 'registries/a');
    expect({ rejected, services }).to.deep.equal({ rejected: 0, services: 32 });
    expect(elsewhere).to.equal(names.filter((name) => ![1, 2].includes(shardOf(name, 4))).length);
  });

  it('takes shards in and out, and the number of shards only by a restart', async () => {
    const pontoon = await start('0-1/4');
    await until('synced', async () => (await waitingFor(pontoon)).length === 0);
    await pontoon.reload(config('1-3/4'));
    expect(await open()).to.deep.equal([1, 2, 3]);
    expect(await isThere(pontoon, inShard(0))).to.equal(false);
    expect(await isThere(pontoon, inShard(3))).to.equal(true);
    await pontoon.reload(config(undefined));
    expect(await open()).to.deep.equal([0, 1, 2, 3]);
    expect(await isThere(pontoon, inShard(0))).to.equal(true);
    expect(() =>
      parseConfig(
        'registries: [{ name: a, type: file, path: x }]\nistio: { serve: 0-1/4, xds: [{ listen: "127.0.0.1:1" }] }',
        'p.yaml',
      ),
    ).to.throw('istio.xds[0].shards: expected 4, as in serve, found 1');
  });

  it('waits with shards that come for an optional registry, too, if it was known before', async () => {
    // Of Consul only what falls into the shards is read: what comes has to be read anew.
    let isAway = false;
    const agent = createHttpServer((request, response) => {
      const { pathname, searchParams } = new URL(request.url ?? '/', 'http://agent');
      if (isAway) return response.destroy();
      // Nothing changes here.
      if (searchParams.get('index') === '7') return;
      const name = pathname.split('/').at(-1) ?? '';
      const instance = {
        Node: { Node: 'n', Address: '10.0.0.2' },
        Service: { ID: name, Service: name, Port: 80 },
        Checks: [],
      };
      const body = pathname === '/v1/catalog/services' ? Object.fromEntries(names.map((one) => [one, []])) : [instance];
      response.setHeader('content-type', 'application/json').setHeader('x-consul-index', '7').end(JSON.stringify(body));
    });
    await new Promise<void>((resolve) => agent.listen(0, '127.0.0.1', resolve));
    const servers = [`http://127.0.0.1:${(agent.address() as AddressInfo).port}`];
    const registries = [
      { name: 'a', type: 'file', path: file },
      { name: 'b', type: 'consul', servers, required: false },
    ];
    try {
      const pontoon = await start('0-1/4', { registries });
      await until('b listed', async () => (await get<RegistryReport>(pontoon, 'registries/b')).complete);
      isAway = true;
      await pontoon.reload(config('0-3/4', { registries }));
      await until('only b awaited', async () => (await waitingFor(pontoon)).join() === 'b');
      expect((await fetch(`${pontoon.adminUrl}/readyz`)).status).to.equal(503);
      isAway = false;
      await until('synced', async () => (await waitingFor(pontoon)).length === 0);
      // At a start nobody waits for it.
      isAway = true;
      await running.pop()?.stop();
      const again = await start('0-3/4', { registries });
      await until('synced without it', async () => (await waitingFor(again)).length === 0);
    } finally {
      agent.closeAllConnections();
      agent.close();
    }
  });

  it('leaves shards as they are, but for a restart, where files or objects are written, too', async () => {
    const files = { directory: join(folder, 'files') };
    const both = (serve: string) => {
      const known = config(serve);
      return { ...known, istio: { ...known.istio, files } };
    };
    const pontoon = await startPontoon(both('0-1/4'), pino({ level: 'silent' }));
    running.push(pontoon);
    let reason = '';
    await pontoon.reload(both('1-3/4')).catch((error: Error) => {
      reason = error.message;
    });
    expect(reason).to.include('istio.serve: to be changed by a restart only');
    expect(await open()).to.deep.equal([0, 1]);
  });

  it('refuses shards whose ports are taken, and then everything is as before', async () => {
    const pontoon = await start('0-1/4');
    await until('synced', async () => (await waitingFor(pontoon)).length === 0);
    const other = createServer();
    await new Promise<void>((resolve) => other.listen(xds + 3, '127.0.0.1', resolve));
    let reason = '';
    await pontoon.reload(config('1-3/4')).catch((error: Error) => {
      reason = error.message;
    });
    await new Promise((resolve) => other.close(resolve));
    expect(reason).to.include(`cannot listen on 127.0.0.1:${xds + 3}`);
    expect(await open()).to.deep.equal([0, 1]);
    expect(await isThere(pontoon, inShard(0))).to.equal(true);
    expect(await waitingFor(pontoon)).to.deep.equal([]);
  });

  it('does not take a snapshot of other shards for what is in its own', async () => {
    const state = { directory: join(folder, 'state') };
    const first = await start('0-1/4', { state });
    await until('synced', async () => (await waitingFor(first)).length === 0);
    await running.pop()?.stop();
    rmSync(file);
    const same = await start('1/4', { state });
    expect(await waitingFor(same), 'of some of its shards').to.deep.equal([]);
    expect(await isThere(same, inShard(1))).to.equal(true);
    await running.pop()?.stop();
    const other = await start('1-2/4', { state });
    expect((await get<StateReport>(other, 'state')).rememberedFrom).to.equal('disk');
    expect(await waitingFor(other)).to.deep.equal(['a']);
    write();
    await until('synced', async () => (await waitingFor(other)).length === 0);
  });
});
