import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect } from 'chai';
import { pino } from 'pino';
import { stringify } from 'yaml';
import type { Explanations } from '#admin/explain.js';
import type { GuardsReport } from '#admin/guards.js';
import type { DoorsReport, RegistryReport, ServiceReport, StateReport } from '#admin/report.js';
import { parseConfig } from '#config/load.js';
import { freePort } from '#test/servers/ports.js';
import { until } from '#test/servers/probes.js';
import { type Pontoon, startPontoon } from '../../src/main.js';

describe('what is known outlives a process', function () {
  this.timeout(60_000);
  const folder = mkdtempSync(join(tmpdir(), 'pontoon-restart-'));
  const path = (name: string) => join(folder, name);
  const running: Pontoon[] = [];

  after(() => rmSync(folder, { recursive: true }));
  afterEach(async () => {
    for (const pontoon of running.splice(0)) await pontoon.stop();
  });

  function write(name: string, count: number): void {
    const instances = Array.from({ length: count }, (_, index) => ({ address: `10.0.0.${index + 1}`, port: 80 }));
    writeFileSync(path(name), stringify({ services: count === 0 ? [] : [{ name: 'orders', instances }] }));
  }

  /** @param more of the configuration, beside one registry that reads `a.yaml` */
  async function start(more: object = {}): Promise<Pontoon> {
    const listen = async () => `127.0.0.1:${await freePort()}`;
    const config = parseConfig(
      stringify({
        registries: [{ name: 'a', type: 'file', path: path('a.yaml'), guarded: true }],
        guards: { probe: 'off' },
        admin: { listen: await listen() },
        istio: { xds: [{ listen: await listen() }] },
        ...more,
      }),
      path('pontoon.yaml'),
    );
    const pontoon = await startPontoon(config, pino({ level: 'silent' }));
    running.push(pontoon);
    return pontoon;
  }
  const get = async <Answer>({ adminUrl }: Pontoon, what: string): Promise<Answer> =>
    (await fetch(`${adminUrl}/api/v1/${what}`)).json() as Promise<Answer>;
  const post = async ({ adminUrl }: Pontoon, what: string, body: object): Promise<number> => {
    const headers = { 'content-type': 'application/json' };
    const init = { method: 'POST', headers, body: JSON.stringify(body) };
    return (await fetch(`${adminUrl}/api/v1/${what}`, init)).status;
  };
  const endpoints = async (pontoon: Pontoon) =>
    (await get<Partial<ServiceReport>>(pontoon, 'services/orders')).endpoints?.length;
  const registry = (pontoon: Pontoon) => get<RegistryReport>(pontoon, 'registries/a');
  const isReady = async ({ adminUrl }: Pontoon) => (await fetch(`${adminUrl}/readyz`)).ok;
  const end = async (pontoon: Pontoon): Promise<void> => {
    running.splice(running.indexOf(pontoon), 1);
    await pontoon.stop();
  };

  it('a registry that is gone at the start: what was known is served at once, and said to be stale', async () => {
    const state = { directory: path('gone') };
    write('a.yaml', 12);
    const first = await start({ state });
    await until('ready', () => isReady(first));
    await end(first);
    rmSync(path('a.yaml'));
    const second = await start({ state });
    expect(await isReady(second)).to.equal(true);
    expect(await endpoints(second)).to.equal(12);
    expect(await registry(second)).to.include({ state: 'stale', restored: true, complete: false });
    expect((await get<StateReport>(second, 'state')).rememberedFrom).to.equal('disk');
    await until('its error', async () => (await registry(second)).error?.includes('a.yaml') ?? false);
    write('a.yaml', 13);
    await until('what changed', async () => (await endpoints(second)) === 13);
    expect(await registry(second)).to.include({ state: 'live', restored: false });
  });

  it('conditions know the registries of a service that is in its grace', async () => {
    const state = { directory: path('grace') };
    const mine = async () => ({
      state,
      istio: { xds: [{ listen: `127.0.0.1:${await freePort()}`, when: '"a" in mesh.registries' }] },
    });
    const shown = async (pontoon: Pontoon) =>
      (await get<DoorsReport>(pontoon, 'doors')).listeners[0]?.open[0]?.resources;
    write('a.yaml', 1);
    const first = await start(await mine());
    await until('ready', () => isReady(first));
    write('a.yaml', 0);
    await until('emptied', async () => (await endpoints(first)) === 0);
    expect(await shown(first)).to.equal(1);
    await end(first);
    const second = await start(await mine());
    await until('ready', () => isReady(second));
    expect(await endpoints(second), 'in its grace').to.equal(0);
    expect(await shown(second)).to.equal(1);
  });

  it('the first listing is guarded, and a hold goes on over restarts until it is released', async () => {
    const state = { directory: path('guarded') };
    write('a.yaml', 12);
    const first = await start({ state });
    await until('ready', () => isReady(first));
    await end(first);
    write('a.yaml', 0);
    const second = await start({ state });
    await until('a hold', async () => (await registry(second)).held === 12);
    expect(await endpoints(second)).to.equal(12);
    expect(await registry(second)).to.include({ services: 0, instances: 0 });
    const [hold] = (await get<GuardsReport>(second, 'guards')).holds;
    expect(hold?.reason).to.equal('12 of 12 usable instances have gone, at most 30 % may within 300 s');
    await end(second);
    const third = await start({ state });
    expect((await registry(third)).held).to.equal(12);
    const [later] = (await get<GuardsReport>(third, 'guards')).holds;
    expect(later?.since).to.equal(hold?.since);
    expect(later?.left).to.be.below(hold?.left ?? 0);
    expect(await post(third, 'guards/release', { registry: 'b' })).to.equal(404);
    expect(await post(third, 'guards/release', { registry: 'a', service: 'users' })).to.equal(200);
    expect(await endpoints(third)).to.equal(12);
    expect(await post(third, 'guards/release', { registry: 'a', service: 'orders' })).to.equal(200);
    expect(await endpoints(third)).to.equal(0);
    await end(third);
    const fourth = await start({ state });
    expect(await endpoints(fourth), 'in its grace').to.equal(0);
  });

  it('what another configuration of the source does not read is no loss', async () => {
    const state = { directory: path('other') };
    write('a.yaml', 12);
    const first = await start({ state });
    await until('ready', () => isReady(first));
    await end(first);
    const second = await start({
      state,
      registries: [{ name: 'a', type: 'file', path: path('a.yaml'), guarded: true, exclude: ['orders'] }],
    });
    await until('listed', async () => (await registry(second)).complete);
    expect(await endpoints(second)).to.equal(0);
    expect((await registry(second)).held).to.equal(0);
  });

  it('a replica without a snapshot begins with what its peer holds', async () => {
    const listen = `127.0.0.1:${await freePort()}`;
    write('a.yaml', 12);
    const first = await start({ state: { listen } });
    await until('ready', () => isReady(first));
    write('a.yaml', 1);
    await until('a hold', async () => (await registry(first)).held === 11);
    const second = await start({ state: { peers: [listen, '127.0.0.1:1'] } });
    expect(await isReady(second)).to.equal(true);
    expect((await get<StateReport>(second, 'state')).rememberedFrom).to.equal('peer');
    await until('listed', async () => (await registry(second)).complete);
    expect(await endpoints(second)).to.equal(12);
    const yaml = async ({ adminUrl }: Pontoon) => (await fetch(`${adminUrl}/api/v1/istio/serviceentries`)).text();
    expect(await yaml(second)).to.equal(await yaml(first));
  });

  it('a release holds for all replicas, also for one that was away', async () => {
    const coordination = { type: 'file', directory: path('shared') };
    const directories = ['one', 'two'].map((name) => path(name));
    const startAll = () => Promise.all(directories.map((directory) => start({ coordination, state: { directory } })));
    write('a.yaml', 12);
    const all = await startAll();
    for (const one of all) await until('ready', () => isReady(one));
    write('a.yaml', 0);
    for (const one of all) await until('a hold', async () => (await registry(one)).held === 12);
    const [first, second] = all as [Pontoon, Pontoon];
    await end(second);
    expect(await post(first, 'guards/release', { registry: 'a' })).to.equal(200);
    expect(await endpoints(first)).to.equal(0);
    const back = await start({ coordination, state: { directory: directories[1] } });
    await until('that it has heard', async () => (await endpoints(back)) === 0);
    write('a.yaml', 12);
    for (const one of [first, back]) await until('all is back', async () => (await endpoints(one)) === 12);
    write('a.yaml', 0);
    for (const one of [first, back]) await until('a hold', async () => (await registry(one)).held === 12);
    expect(await post(back, 'guards/release', { registry: 'a' })).to.equal(200);
    await until('that the other has heard', async () => (await endpoints(first)) === 0);
  });

  it('explain says of an instance that is gone when that was, also after a restart', async () => {
    const state = { directory: path('explained') };
    write('a.yaml', 12);
    const first = await start({ state });
    await until('ready', () => isReady(first));
    write('a.yaml', 11);
    await until('that one has gone', async () => (await endpoints(first)) === 11);
    await end(first);
    const second = await start({ state });
    const { remarks } = await get<Explanations>(second, 'explain?q=10.0.0.12:80');
    expect(remarks.slice(0, 2).join('; ')).to.match(
      /no registry holds it; 20.* orders: 10.0.0.12:80 removed: no longer in a \[a, /,
    );
  });

  it('a first start waits for a registry that never came, names it, and goes on when an operator says so', async () => {
    write('a.yaml', 3);
    const missing = { type: 'file', path: path('missing.yaml') };
    const pontoon = await start({
      registries: [
        { name: 'a', type: 'file', path: path('a.yaml') },
        { name: 'b', ...missing },
        { name: 'c', ...missing, required: false },
      ],
    });
    await until('listed', async () => (await registry(pontoon)).complete);
    const waiting = await fetch(`${pontoon.adminUrl}/readyz`);
    expect([waiting.status, await waiting.json()]).to.deep.equal([503, { ready: false, waitingFor: ['b'] }]);
    expect(await post(pontoon, 'start/release', { registry: 'a' })).to.equal(404);
    expect(await post(pontoon, 'start/release', { registry: 'b' })).to.equal(200);
    expect(await isReady(pontoon)).to.equal(true);
  });
});
