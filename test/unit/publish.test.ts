import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { expect } from 'chai';
import { pino } from 'pino';
import { Catalog } from '#catalog/catalog.js';
import type { ServedShards } from '#catalog/shards.js';
import { VipAllocator } from '#catalog/vip.js';
import { publication } from '#config/publications.js';
import type { RegistryConfig } from '#config/schema.js';
import type { Coordination } from '#coordination/contract.js';
import { openCoordination } from '#coordination/coordination.js';
import { Journal } from '#journal/journal.js';
import { RegistryPolicy } from '#policy/contribution.js';
import { GatewayPorts } from '#publish/gatewayports.js';
import { marked } from '#publish/mark.js';
import { until } from '#test/servers/probes.js';
import { Publishing, type PublishingConfig } from '../../src/publishing.js';
import { instance, plainKinds } from './builders.js';
import { MemoryRegistry } from './memory-registry.js';

type Writes = RegistryConfig['writes'];

interface SceneOptions {
  readonly publications?: readonly object[];
  readonly owner?: string;
  readonly directory?: string;
  readonly writes?: Partial<Writes>;
  readonly coordination?: Coordination;
  /** Whether the registries are read at once. */
  readonly listed?: boolean;
  readonly serve?: ServedShards;
  readonly settings?: Partial<ConstructorParameters<typeof Catalog>[0]>;
  readonly templates?: Readonly<Record<string, string>>;
}

/** A Pontoon's inside between registries in memory. */
class Scene {
  readonly catalog: Catalog;
  readonly publishing: Publishing;
  readonly listed = new Set<string>();
  readonly stale = new Set<string>();
  readonly #registries: readonly MemoryRegistry[];
  readonly #options: SceneOptions;
  readonly #own: Coordination;
  #isOver = false;

  constructor(registries: readonly MemoryRegistry[], options: SceneOptions) {
    this.#registries = registries;
    this.#options = options;
    const { directory } = options;
    this.#own = openCoordination(undefined, { log: pino({ level: 'silent' }), registries: [], directory });
    const settings = { namespace: 'pontoon', exportTo: ['*'], grace: 60_000, ...options.settings };
    this.catalog = new Catalog(settings, new VipAllocator([]));
    const coordination = options.coordination ?? this.#own;
    const log = pino({ level: 'silent' });
    this.publishing = new Publishing(this.config(options.publications), {
      catalog: this.catalog,
      coordination,
      gatewayPorts: new GatewayPorts(coordination, log),
      journal: new Journal(this.catalog),
      isListed: (name) => this.listed.has(name),
      unreadable: (name) =>
        this.listed.has(name) ? (this.stale.has(name) ? 'its source is stale' : undefined) : 'not read yet',
      kindOf: ({ name }) => registries.find((one) => one.name === name)?.kind,
      log,
    });
    this.catalog.configure(
      settings,
      registries.map(
        ({ name }) =>
          new RegistryPolicy({
            name,
            type: 'plain',
            kinds: plainKinds,
            guarded: true,
            host: options.templates?.[name] ?? `{{ service.name }}.${name}`,
            isOwn: this.publishing.isOwn,
          }),
      ),
    );
  }

  config(publications: readonly object[] = []): PublishingConfig {
    const { owner = 'here', directory, writes, coordination } = this.#options;
    const all = { rate: 10_000, parallel: 16, whenStopped: 'keep' as const, ...writes };
    return {
      registries: this.#registries.map(({ name }) => ({ name, type: 'plain', writes: all })) as never,
      publications: publications.map((one) => publication.parse(one)),
      state: { owner, directory } as never,
      coordination: coordination === undefined ? undefined : ({ type: 'file' } as never),
      istio: { serve: this.#options.serve },
      networks: {},
    };
  }

  async start(): Promise<this> {
    const { listed = true, publications } = this.#options;
    await this.publishing.apply(this.config(publications));
    for (const registry of this.#registries) registry.catalog = this.catalog;
    if (listed) for (const registry of this.#registries) this.list(registry);
    return this;
  }

  list(registry: MemoryRegistry): void {
    this.listed.add(registry.name);
    registry.list();
  }

  reload(publications: readonly object[]): Promise<void> {
    return this.publishing.apply(this.config(publications));
  }

  async end(): Promise<void> {
    if (this.#isOver) return;
    this.#isOver = true;
    await this.publishing.close();
    await this.#own.close();
    this.catalog.close();
  }

  status(registry: MemoryRegistry) {
    const found = this.publishing.engines.find((engine) => engine.registry === registry.name)?.status();
    if (found === undefined) throw new Error(`no engine writes into ${registry.name}`);
    return found;
  }
}

const all = (from: string, to: string, more: object = {}) => ({
  name: `${from}-to-${to}`,
  when: `"${from}" in mesh.registries`,
  to,
  ...more,
});

describe('publications', function () {
  this.timeout(20_000);
  const scenes: Scene[] = [];
  const folders: string[] = [];
  afterEach(async () => {
    for (const scene of scenes.splice(0)) await scene.end();
    for (const folder of folders.splice(0)) rmSync(folder, { recursive: true });
  });

  async function start(registries: readonly MemoryRegistry[], options: SceneOptions): Promise<Scene> {
    const scene = new Scene(registries, options);
    scenes.push(scene);
    return scene.start();
  }
  const make = () => [new MemoryRegistry('a'), new MemoryRegistry('b')] as const;
  const folder = (): string => {
    const path = mkdtempSync(join(tmpdir(), 'pontoon-publish-'));
    folders.push(path);
    return path;
  };
  const settled = (scene: Scene, registry: MemoryRegistry, places: Readonly<Record<string, readonly string[]>>) =>
    until('it stands as it should', async () => {
      const { pending } = scene.status(registry);
      const now = Object.fromEntries(registry.names().map((name) => [name, registry.places(name)]));
      return pending === 0 && JSON.stringify(now) === JSON.stringify(places);
    });

  it('write what is wanted, follow it, and are quiet then', async () => {
    const [a, b] = make();
    a.register('orders', instance('10.0.0.1', 80, { weight: 2, metadata: { version: 'v1', secret: 'x' } }));
    const scene = await start([a, b], {
      publications: [
        all('a', 'b', {
          as: '{{ mesh.name.upperAscii() }}',
          metadata: { drop: ['secret'], set: { from: '{{ mesh.host }}' } },
        }),
      ],
    });
    await settled(scene, b, { ORDERS: ['10.0.0.1:80'] });
    const [written] = b.instances('ORDERS');
    expect(written?.weight).to.equal(2);
    expect(written?.metadata).to.include({
      version: 'v1',
      from: 'orders.a',
      'pontoon-owner': 'here',
      'pontoon-publication': 'a-to-b',
      'pontoon-host': 'orders.a',
    });
    expect(written?.metadata).not.to.have.property('secret');
    // Read back, it is nothing of the mesh.
    expect([...scene.catalog.services.keys()]).to.deep.equal(['orders.a']);

    a.register('orders', instance('10.0.0.2', 80));
    a.register('orders', instance('10.0.0.1', 80, { weight: 3 }));
    await until('the weight arrives', async () => b.instances('ORDERS').some(({ weight }) => weight === 3));
    await settled(scene, b, { ORDERS: ['10.0.0.1:80', '10.0.0.2:80'] });
    const { requests } = b;
    await sleep(400);
    expect(b.requests, 'requests while nothing changes').to.equal(requests);

    a.remove('orders', '10.0.0.1', 80);
    await settled(scene, b, { ORDERS: ['10.0.0.2:80'] });
    a.remove('orders', '10.0.0.2', 80);
    await settled(scene, b, {});
  });

  it('write the latest only, and one service never twice at a time', async () => {
    const [a, b] = make();
    b.takes = 20;
    b.readsAfter = 30;
    const scene = await start([a, b], { publications: [all('a', 'b')] });
    for (let index = 1; index <= 40; index++) {
      a.register('orders', instance('10.0.0.1', 80, { weight: index }));
      await sleep(5);
    }
    await until('the last weight stands', async () => b.instances('orders')[0]?.weight === 40);
    await settled(scene, b, { orders: ['10.0.0.1:80'] });
    expect(b.mostAtOnce).to.equal(1);
    expect(b.writes.length).to.be.lessThan(20);
  });

  it('leave alone what registered itself, and what another Pontoon wrote', async () => {
    const [a, b] = make();
    for (const last of [1, 2, 3]) a.register('orders', instance(`10.0.0.${last}`, 80));
    const foreign = marked({ owner: 'there', run: 'x', publication: 'p', host: 'orders.c' });
    b.register('orders', instance('10.0.0.1', 80, { id: 'self', weight: 7 }));
    b.register('orders', instance('10.0.0.2', 80, { id: 'theirs', weight: 8, metadata: foreign }));
    const scene = await start([a, b], { publications: [all('a', 'b')] });
    await settled(scene, b, { orders: ['10.0.0.3:80', 'self', 'theirs'] });
    expect(b.instances('orders').map(({ weight }) => weight)).to.have.members([7, 8, 1]);
    expect(scene.status(b).conflicts).to.equal(2);
    // It leaves: then it is ours to write.
    b.remove('orders', '10.0.0.1', 80);
    await settled(scene, b, { orders: ['10.0.0.1:80', '10.0.0.3:80', 'theirs'] });
    expect(scene.status(b).conflicts).to.equal(1);
  });

  it('never publish an instance where it registered itself, nor a copy', async () => {
    const [a, b] = make();
    const foreign = marked({ owner: 'there', run: 'x', publication: 'p', host: 'stock.c' });
    // One host in both registries, so that they are one service.
    const templates = { a: '{{ service.name }}.mesh', b: '{{ service.name }}.mesh' };
    a.register('orders', instance('10.0.0.1', 80));
    a.register('orders', instance('10.0.0.2', 80));
    a.register('orders', instance('10.0.0.3', 80, { metadata: foreign }));
    b.register('orders', instance('10.0.0.1', 80));
    const scene = await start([a, b], { publications: [all('a', 'b', { as: 'copies' })], templates });
    await settled(scene, b, { copies: ['10.0.0.2:80'], orders: ['10.0.0.1:80'] });
    const [want] = scene.publishing.claims.ofHost('orders.mesh');
    expect(want !== undefined && 'refused' in want && want.refused.map(({ reason }) => reason)).to.deep.equal([
      'it registered itself in b',
      'it is a copy that the Pontoon "there" wrote: copies are never copied',
    ]);
    // The other Pontoon's is served to the mesh all the same.
    expect(scene.catalog.services.get('orders.mesh')?.endpoints.map(({ address }) => address)).to.deep.equal([
      '10.0.0.1',
      '10.0.0.2',
      '10.0.0.3',
    ]);
  });

  it('choose ports, endpoints and services, and say what they refuse', async () => {
    const [a, b] = make();
    a.register('orders', instance('10.0.0.1', 80, { metadata: { version: 'v1' } }));
    a.register('orders', instance('10.0.0.2', 80, { metadata: { version: 'v2' } }));
    a.register('two words', instance('10.0.0.3', 80));
    const scene = await start([a, b], {
      publications: [
        all('a', 'b', {
          name: 'first',
          endpoints: 'endpoint.labels["version"] == "v2"',
          when: 'mesh.name == "orders"',
        }),
        all('a', 'b', { name: 'second', as: 'orders', when: 'mesh.name == "orders"' }),
        all('a', 'b', { name: 'third', when: 'mesh.name != "orders"', as: 'two words' }),
        all('a', 'b', { name: 'fourth', port: 9999, as: 'other' }),
      ],
    });
    await settled(scene, b, { orders: ['10.0.0.2:80'] });
    const { claims } = scene.publishing;
    const reasons = claims.all().flatMap((one) => ('reason' in one ? [one.reason] : []));
    expect(reasons).to.include.members(['"two words" has a space', 'it has no port 9999: there is http (80)']);
    const [winner, loser] = claims.of('b///orders/');
    expect([winner?.publication, loser?.publication]).to.deep.equal(['first', 'second']);
  });

  it('go on after a restart with what stands, whether they remember it or not', async () => {
    for (const directory of [undefined, folder()]) {
      const [a, b] = make();
      a.register('orders', instance('10.0.0.1', 80));
      a.register('stock', instance('10.0.0.2', 80));
      const more = { publications: [all('a', 'b')], ...(directory === undefined ? {} : { directory }) };
      const first = await start([a, b], more);
      await settled(first, b, { orders: ['10.0.0.1:80'], stock: ['10.0.0.2:80'] });
      await first.end();
      expect(b.entries).to.equal(2);
      const { requests } = b;
      a.remove('stock', '10.0.0.2', 80);
      const second = await start([a, b], { ...more, listed: false });
      second.list(b);
      await sleep(100);
      expect(b.entries, 'before the origin is read').to.equal(2);
      second.list(a);
      await settled(second, b, { orders: ['10.0.0.1:80'] });
      expect(b.requests - requests, 'requests').to.equal(1);
    }
  });

  it('withdraw nothing while an origin is not read, and write nothing while the target is not', async () => {
    const [a, b, c] = [new MemoryRegistry('a'), new MemoryRegistry('b'), new MemoryRegistry('c')];
    const templates = { a: '{{ service.name }}.mesh', c: '{{ service.name }}.mesh' };
    const more = { publications: [all('a', 'b', { when: 'mesh.host.endsWith(".mesh")' })], templates };
    a.register('orders', instance('10.0.0.1', 80));
    c.register('orders', instance('10.0.0.2', 80));
    const first = await start([a, b, c], more);
    await settled(first, b, { orders: ['10.0.0.1:80', '10.0.0.2:80'] });
    await first.end();
    const second = await start([a, b, c], { ...more, listed: false });
    second.list(a);
    await sleep(50);
    a.register('orders', instance('10.0.0.3', 80));
    await sleep(50);
    expect(b.places('orders')).to.deep.equal(['10.0.0.1:80', '10.0.0.2:80']);
    second.list(b);
    // Of the origin that is not read, what stands stays.
    await settled(second, b, { orders: ['10.0.0.1:80', '10.0.0.2:80', '10.0.0.3:80'] });
    c.remove('orders', '10.0.0.2', 80);
    second.list(c);
    await settled(second, b, { orders: ['10.0.0.1:80', '10.0.0.3:80'] });
    second.stale.add('b');
    second.publishing.check();
    a.register('orders', instance('10.0.0.4', 80));
    await sleep(150);
    expect(b.places('orders')).to.have.length(2);
    second.stale.delete('b');
    second.publishing.check();
    await settled(second, b, { orders: ['10.0.0.1:80', '10.0.0.3:80', '10.0.0.4:80'] });
  });

  it('keep what guards hold', async () => {
    const [a, b] = make();
    for (let last = 1; last <= 20; last++) a.register('orders', instance(`10.0.0.${last}`, 80));
    const scope = (minInstances: number) => ({ maxLoss: 0.5, minInstances, window: 60_000, hold: 60_000 });
    const scene = await start([a, b], {
      publications: [all('a', 'b')],
      settings: { guards: { registry: scope(10), service: scope(100), probe: 'off' } as never },
    });
    await until('all stand', async () => b.entries === 20);
    for (let last = 1; last <= 20; last++) a.remove('orders', `10.0.0.${last}`, 80);
    await sleep(300);
    expect(b.entries).to.be.greaterThanOrEqual(10);
    scene.catalog.guard('a')?.release(() => true, Number.POSITIVE_INFINITY);
    await settled(scene, b, {});
  });

  it('write again what is gone without us, and what a lease has lost', async () => {
    const [a, b] = make();
    b.renewEvery = 50;
    a.register('orders', instance('10.0.0.1', 80));
    const scene = await start([a, b], { publications: [all('a', 'b')] });
    await settled(scene, b, { orders: ['10.0.0.1:80'] });
    await until('it is renewed', async () => b.renewals > 3);
    await sleep(150);
    b.remove('orders', '10.0.0.1', 80);
    await settled(scene, b, { orders: ['10.0.0.1:80'] });
    await sleep(150);
    const { length } = b.writes;
    b.forgets = true;
    await until('it is written again', async () => b.writes.length > length);
    b.forgets = false;
    await settled(scene, b, { orders: ['10.0.0.1:80'] });
  });

  it('wait for a registry that is away, with pauses', async () => {
    const [a, b] = make();
    b.isDown = true;
    for (let last = 1; last <= 50; last++) a.register(`service-${last}`, instance(`10.0.0.${last}`, 80));
    const scene = await start([a, b], { publications: [all('a', 'b')] });
    await until('it fails', async () => scene.status(b).state === 'failing');
    expect(scene.status(b).reason).to.equal('connection refused');
    await sleep(500);
    const { requests } = b;
    await sleep(500);
    expect(b.requests - requests).to.be.lessThan(100);
    b.isDown = false;
    await until('all stand', async () => b.entries === 50);
    expect(scene.status(b).state).to.equal('writing');
  });

  it('settle where the registry leaves metadata out, and say so', async () => {
    const [a, b] = make();
    b.leavesOut = 'secret';
    a.register('orders', instance('10.0.0.1', 80, { metadata: { secret: 'x', zone: 'z' } }));
    const scene = await start([a, b], { publications: [all('a', 'b')] });
    await settled(scene, b, { orders: ['10.0.0.1:80'] });
    expect(scene.status(b)).to.include({ notes: 1, refused: 0 });
    await sleep(200);
    expect(b.writes).to.deep.equal(['orders']);
    b.leavesOut = undefined;
    a.register('orders', instance('10.0.0.1', 80, { metadata: { zone: 'other' } }));
    await until('nothing is left out', async () => scene.status(b).notes === 0);
  });

  it('take over other publications without touching the rest', async () => {
    const [a, b] = make();
    a.register('orders', instance('10.0.0.1', 80));
    a.register('stock', instance('10.0.0.2', 80));
    const orders = all('a', 'b', { name: 'orders', when: 'mesh.name == "orders"' });
    const stock = all('a', 'b', { name: 'stock', when: 'mesh.name == "stock"' });
    const scene = await start([a, b], { publications: [orders] });
    await settled(scene, b, { orders: ['10.0.0.1:80'] });
    await scene.reload([orders, stock]);
    await settled(scene, b, { orders: ['10.0.0.1:80'], stock: ['10.0.0.2:80'] });
    expect(b.writes).to.deep.equal(['orders', 'stock']);
    await scene.reload([orders, { ...stock, as: 'STOCK' }]);
    await settled(scene, b, { STOCK: ['10.0.0.2:80'], orders: ['10.0.0.1:80'] });
    // The last one: its registry has no publication any more.
    await scene.reload([]);
    await settled(scene, b, {});
    expect(b.writes.filter((name) => name === 'orders')).to.have.length(2);
    await until('nothing is left to do', async () => scene.status(b).state === 'idle');
  });

  it('pause, and take back what operators say', async () => {
    const [a, b] = make();
    a.register('orders', instance('10.0.0.1', 80));
    a.register('stock', instance('10.0.0.2', 80));
    const directory = folder();
    const more = { publications: [all('a', 'b')], directory };
    const scene = await start([a, b], more);
    await settled(scene, b, { orders: ['10.0.0.1:80'], stock: ['10.0.0.2:80'] });
    await scene.publishing.pause({ service: 'orders.a' });
    a.remove('orders', '10.0.0.1', 80);
    a.remove('stock', '10.0.0.2', 80);
    await settled(scene, b, { orders: ['10.0.0.1:80'] });
    await scene.publishing.resume({ service: 'orders.a' });
    await settled(scene, b, {});
    a.register('orders', instance('10.0.0.1', 80));
    await settled(scene, b, { orders: ['10.0.0.1:80'] });
    await scene.publishing.withdraw({});
    await settled(scene, b, {});
    a.register('orders', instance('10.0.0.5', 80));
    await sleep(50);
    await scene.end();
    // It is withdrawn after a restart, too.
    const second = await start([a, b], more);
    await sleep(150);
    expect(b.entries).to.equal(0);
    await second.publishing.resume({ registry: 'b' });
    await settled(second, b, { orders: ['10.0.0.1:80', '10.0.0.5:80'] });
    await second.reload([all('a', 'b', { paused: true })]);
    a.remove('orders', '10.0.0.5', 80);
    await sleep(150);
    expect(b.entries).to.equal(2);
  });

  it('notice a second writer, and write no more', async () => {
    const [a, b] = make();
    for (let last = 1; last <= 3; last++) a.register('orders', instance(`10.0.0.${last}`, 80));
    const scene = await start([a, b], { publications: [all('a', 'b')] });
    await until('all stand', async () => b.entries === 3);
    await sleep(300);
    const theirs = marked({ owner: 'here', run: 'another', publication: 'a-to-b', host: 'orders.a' });
    b.register('orders', instance('10.0.0.1', 80, { metadata: theirs }));
    await sleep(20);
    expect(scene.status(b).state).to.equal('writing');
    b.register('orders', instance('10.0.0.2', 80, { metadata: theirs }));
    expect(scene.status(b).state).to.equal('stopped');
    expect(scene.status(b).reason).to.contain('another process writes there as "here"');
    const { requests } = b;
    a.remove('orders', '10.0.0.3', 80);
    await sleep(200);
    expect(b.requests).to.equal(requests);
    await scene.reload([all('a', 'b')]);
    await settled(scene, b, { orders: ['10.0.0.1:80', '10.0.0.2:80'] });
  });

  it('only renew while the store of coordination is away', async () => {
    const [a, b] = make();
    b.renewEvery = 30;
    const store = { leads: true, error: undefined as string | undefined };
    let heard: (isLeader: boolean) => void = () => undefined;
    const coordination: Coordination = {
      get error() {
        return store.error;
      },
      watch: (_name, told) => told(undefined),
      close: async () => undefined,
      update: async () => undefined,
      campaign: (_role, told) => {
        heard = told;
        told(true);
        return {
          get isLeader() {
            return store.leads;
          },
        };
      },
    };
    a.register('orders', instance('10.0.0.1', 80));
    const scene = await start([a, b], { publications: [all('a', 'b')], coordination });
    await settled(scene, b, { orders: ['10.0.0.1:80'] });
    Object.assign(store, { leads: false, error: 'no answer' });
    heard(false);
    a.register('orders', instance('10.0.0.2', 80));
    const { renewals, requests } = b;
    await until('it renews', async () => b.renewals > renewals + 3);
    expect(b.requests).to.equal(requests);
    expect(scene.status(b).state).to.equal('renewing');
    // The store is back, and another one leads.
    store.error = undefined;
    await sleep(100);
    const after = b.renewals;
    await sleep(150);
    expect(b.renewals).to.equal(after);
    expect(scene.status(b).state).to.equal('standby');
    store.leads = true;
    heard(true);
    await settled(scene, b, { orders: ['10.0.0.1:80', '10.0.0.2:80'] });
  });

  it('follow the annotations of Kubernetes services', async () => {
    const [a, b] = make();
    for (const name of ['plain', 'not', 'renamed', 'elsewhere', 'other-port'])
      a.register(name, instance('10.0.0.1', 80), false);
    a.register(
      'other-port',
      instance('10.0.0.2', 80, {
        ports: [
          { name: 'web', protocol: 'http', number: 80 },
          { name: 'admin', protocol: 'http', number: 90 },
        ],
      }),
    );
    a.labels.set('not', { 'pontoon.io/publish': 'false' });
    a.labels.set('renamed', { 'pontoon.io/publish-as': 'NEW', 'pontoon.io/publish': 'first, b' });
    a.labels.set('elsewhere', { 'pontoon.io/publish': 'c' });
    a.labels.set('other-port', { 'pontoon.io/publish-port': 'http-admin' });
    const scene = await start([a, b], { publications: [all('a', 'b')] });
    await settled(scene, b, { NEW: ['10.0.0.1:80'], 'other-port': ['10.0.0.2:90'], plain: ['10.0.0.1:80'] });
    const { claims } = scene.publishing;
    const out = ['not.a', 'elsewhere.a'].map((host) => {
      const service = scene.catalog.services.get(host);
      return service === undefined ? [] : claims.out(service);
    });
    expect(out).to.deep.equal([
      [{ publication: 'a-to-b', reason: 'its annotation pontoon.io/publish is "false"' }],
      [{ publication: 'a-to-b', reason: 'its annotation pontoon.io/publish names c only' }],
    ]);
  });

  it('are divided by the shards of their hosts', async () => {
    const [a, b] = make();
    for (let index = 0; index < 20; index++) a.register(`s${index}`, instance('10.0.0.1', 80));
    const part = (shard: number) => {
      const serve = { from: shard, to: shard, of: 2 };
      return { publications: [all('a', 'b')], settings: { serve }, serve };
    };
    const first = await start([a, b], part(0));
    await until('its part stands', async () => b.entries > 0 && first.status(b).pending === 0);
    const own = b.names();
    expect(own.length).to.be.within(1, 19);
    await first.end();
    const second = await start([a, b], part(1));
    await until('all stands', async () => b.entries === 20);
    expect(b.writes).to.have.length(20);
    // What is the other one's stays.
    await second.reload([]);
    await until('its part is gone', async () => b.entries === own.length);
    await sleep(150);
    expect(b.names()).to.deep.equal(own);
  });

  it('see what is removed before they could see it stand', async () => {
    const [a, b] = make();
    a.register('orders', instance('10.0.0.1', 80));
    const scene = await start([a, b], { publications: [all('a', 'b')] });
    await until('it stands', async () => b.entries === 1);
    b.remove('orders', '10.0.0.1', 80);
    await settled(scene, b, { orders: ['10.0.0.1:80'] });
    expect(b.writes).to.deep.equal(['orders', 'orders']);
  });

  it('stop at once when another replica leads', async () => {
    const [a, b] = make();
    let leads = false;
    let heard: (isLeader: boolean) => void = () => undefined;
    const coordination: Coordination = {
      error: undefined,
      watch: (_name, told) => told(undefined),
      close: async () => undefined,
      update: async () => undefined,
      campaign: (_role, told) => {
        heard = told;
        return {
          get isLeader() {
            return leads;
          },
        };
      },
    };
    a.register('orders', instance('10.0.0.1', 80));
    const scene = await start([a, b], { publications: [all('a', 'b')], coordination });
    await sleep(50);
    expect(b.requests).to.equal(0);
    expect(scene.status(b).state).to.equal('standby');
    leads = true;
    heard(true);
    await settled(scene, b, { orders: ['10.0.0.1:80'] });
    // By the clock it is over, and nobody has said so yet.
    leads = false;
    a.register('orders', instance('10.0.0.2', 80));
    await sleep(100);
    expect(b.places('orders')).to.deep.equal(['10.0.0.1:80']);
    heard(false);
    leads = true;
    heard(true);
    await settled(scene, b, { orders: ['10.0.0.1:80', '10.0.0.2:80'] });
    // In the middle of a write.
    b.onRequest = () => {
      leads = false;
      heard(false);
    };
    const { requests } = b;
    for (const last of [3, 4, 5]) a.register('orders', instance(`10.0.0.${last}`, 80));
    await sleep(200);
    expect(b.requests - requests).to.equal(1);
  });

  it('tell what is theirs where marks are lost', async () => {
    const [a, b] = make();
    b.losesMetadata = true;
    const directory = folder();
    const more = { publications: [all('a', 'b')], directory };
    a.register('orders', instance('10.0.0.1', 80));
    const first = await start([a, b], more);
    await settled(first, b, { orders: ['10.0.0.1:80'] });
    expect([...first.catalog.services.keys()]).to.deep.equal(['orders.a']);
    await first.end();
    const second = await start([a, b], more);
    await sleep(100);
    expect([...second.catalog.services.keys()]).to.deep.equal(['orders.a']);
    expect(second.status(b).conflicts).to.equal(0);
    a.remove('orders', '10.0.0.1', 80);
    await settled(second, b, {});
  });

  it('take all back at a clean stop, if they are told to', async () => {
    const [a, b] = make();
    for (let last = 1; last <= 30; last++) a.register(`service-${last}`, instance('10.0.0.1', 80));
    const scene = await start([a, b], { publications: [all('a', 'b')], writes: { whenStopped: 'withdraw' } });
    await until('all stand', async () => b.entries === 30);
    await scene.end();
    expect(b.entries).to.equal(0);
  });

  it('stay exact in a ring of three registries under churn', async () => {
    const ring = [new MemoryRegistry('a'), new MemoryRegistry('b'), new MemoryRegistry('c')];
    for (const registry of ring) registry.readsAfter = 10;
    const [a, b, c] = ring as [MemoryRegistry, MemoryRegistry, MemoryRegistry];
    const scene = await start(ring, { publications: [all('a', 'b'), all('b', 'c'), all('c', 'a')] });
    // What registered itself in one registry stands in the next one, once.
    const own = new Map<string, Set<string>>();
    let seed = 7;
    const random = (below: number): number => {
      seed = (seed * 1_103_515_245 + 12_345) % 2 ** 31;
      return seed % below;
    };
    for (let step = 0; step < 600; step++) {
      const registry = ring[random(3)] as MemoryRegistry;
      const [name, last] = [`service-${random(10)}`, random(20) + 1];
      const key = `${registry.name} ${name}`;
      const known = own.get(key) ?? new Set<string>();
      own.set(key, known);
      // Addresses of each registry's own.
      const address = `10.${ring.indexOf(registry)}.0.${last}`;
      if (known.delete(address)) registry.remove(name, address, 80);
      else {
        known.add(address);
        registry.register(name, instance(address, 80));
      }
      if (step % 10 === 0) await sleep(2);
    }
    const count = (registry: MemoryRegistry) =>
      [...own].reduce((sum, [key, { size }]) => sum + (key.startsWith(`${registry.name} `) ? size : 0), 0);
    const expected = [count(a) + count(c), count(b) + count(a), count(c) + count(b)];
    await until('the numbers are exact', async () =>
      ring.every((registry, index) => registry.entries === expected[index]),
    );
    await sleep(300);
    expect(ring.map(({ entries }) => entries)).to.deep.equal(expected);
    expect(ring.map((registry) => scene.status(registry).conflicts)).to.deep.equal([0, 0, 0]);
  });
});
