import { isDeepStrictEqual } from 'node:util';
import { expect } from 'chai';
import pLimit from 'p-limit';
import { compareText } from '#model/mesh.js';
import type { Placed, PublishedInstance } from '#publish/contract.js';
import { targetContract } from '#test/real/contract/target.js';
import { type NacosClient, startNacosClient } from '#test/servers/nacosclient.js';
import { until } from '#test/servers/probes.js';
import { asPlaced, instance, Publisher } from './publisher.js';
import { read, server, versions } from './read.js';
import type { NacosRun } from './recorder.js';
import { Registrations } from './registrations.js';
import { connections, reload } from './reload.js';
import { NacosTargetUnderTest } from './targetundertest.js';

/** How many services the test of many writes. */
const services = process.env.PONTOON_BENCH === 'full' ? 2_000 : 50;

const shop = { namespace: 'shop-id', group: 'g1', cluster: 'C1' };

for (const version of versions) targetContract(new NacosTargetUnderTest(version));

for (const version of versions)
  describe(`Nacos ${version} as a target`, function () {
    this.timeout(120_000);
    const nacos = server({ version });
    let registrations: Registrations;
    let client: NacosClient;
    let publisher: Publisher;
    const publishers: Publisher[] = [];
    const runs: NacosRun[] = [];

    function publish(keys?: Readonly<Record<string, unknown>>): Publisher {
      const one = new Publisher(nacos(), keys);
      publishers.push(one);
      return one;
    }

    async function live(config: Readonly<Record<string, unknown>> = {}): Promise<NacosRun> {
      const run = read(nacos(), { namespaces: ['*'], ...config });
      runs.push(run);
      await run.wait('live', ({ lastState }) => lastState?.kind === 'live');
      return run;
    }

    /** What a real client finds in the end. */
    async function finds(service: string, ...wanted: readonly RegExp[]): Promise<string[]> {
      let found: string[] = [];
      const isIt = async () => {
        found = await client.select(service);
        return found.length === wanted.length && wanted.every((pattern, index) => pattern.test(found[index] ?? ''));
      };
      await until(`${service} to be ${wanted.join(', ')}`, isIt, 15_000, 200).catch((error: Error) => {
        throw new Error(`${error.message}; it is ${found.join(', ')}`);
      });
      return found;
    }

    /** Waits until a source reads what was placed, and nothing else. */
    async function reads(run: NacosRun, name: string, placed: readonly Placed[]): Promise<void> {
      const ids = (all: readonly { readonly id: string }[] = []) => all.map(({ id }) => id).sort();
      const isIt = () => {
        const found = run
          .named(name)
          ?.instances.map(asPlaced)
          .sort((a, b) => compareText(a.id, b.id));
        const wanted = [...placed].sort((a, b) => compareText(a.id, b.id));
        return isDeepStrictEqual(found ?? [], wanted);
      };
      await run.wait(`${name} as placed`, isIt).catch((error: Error) => {
        const service = run.named(name);
        expect(ids(service?.instances), error.message).to.deep.equal(ids(placed));
        expect(service?.instances.map(asPlaced)).to.have.deep.members([...placed]);
        throw error;
      });
    }

    before(async () => {
      registrations = new Registrations(nacos());
      await registrations.createNamespace('shop-id', 'shop');
      const { namespace, group } = shop;
      client = await startNacosClient({ address: nacos().address, service: 'own', port: 9_001, namespace, group });
    });
    beforeEach(() => {
      publisher = publish();
    });
    afterEach(async () => {
      await registrations.checkHealth(true);
      await Promise.all([
        ...publishers.splice(0).map((one) => one.close()),
        ...runs.splice(0).map((run) => run.stop()),
      ]);
    });
    after(() => client?.stop());

    for (const block of [{ kind: 'ephemeral' }, { kind: 'persistent' }, { api: 'grpc' }] as const) {
      const what = Object.values(block)[0];
      it(`has what a real client finds and sources read back, until it goes: ${what}`, async () => {
        // A server connects to persistent instances, to see whether they are healthy.
        if (what === 'persistent') await registrations.checkHealth(false);
        const name = `orders-${what}`;
        const settings = { ...shop, ...block };
        const one = instance('10.9.0.1', 80, { weight: 0.37, metadata: { zone: 'z1' } });
        const two = instance('fd00::1', 81, { weight: 2 });
        const sources = [await live({ api: 'grpc' }), await live({ api: 'http' })];
        const readBack = (placed: readonly Placed[]) => Promise.all(sources.map((run) => reads(run, name, placed)));
        const first = await publisher.write(
          name,
          settings,
          one,
          two,
          instance('late.example.org', 82, { isUp: false }),
        );
        expect(first.refused).to.deep.equal([]);
        await readBack(first.placed);
        await finds(name, /^10.9.0.1:80@C1 0.37 .*pontoon-owner=a .*zone=z1/, /^fd00::1:81@C1 2.0 .*pontoon-owner=a/);

        publisher.requests = 0;
        const second = await publisher.write(name, settings, { ...one, weight: 1.5 }, two);
        // One that differs, and one that goes; over gRPC it is always one for all.
        expect(publisher.requests).to.equal(what === 'grpc' ? 1 : 2);
        await readBack(second.placed);
        await finds(name, /^10.9.0.1:80@C1 1.5 /, /^fd00::1:81@C1 2.0 /);
        await publisher.write(name, settings, { ...one, weight: 1.5 }, two);
        expect(publisher.requests).to.equal(what === 'grpc' ? 1 : 2);
        expect(await publisher.renew(name)).to.equal(true);

        expect(await publisher.write(name, settings)).to.deep.equal({ placed: [], refused: [] });
        await finds(name);
        await readBack([]);
      });
    }

    it('leaves alone what registered itself, and what another owner wrote', async () => {
      const foreign = instance('10.9.2.2', 80, { metadata: { mine: 'not' } });
      const others = { ...foreign, metadata: { ...foreign.metadata, 'pontoon-owner': 'b' } };
      const { namespace, group } = shop;
      const settings = { namespace, group };
      // By a connection of its own, and without one: where another registration would overwrite it.
      await registrations.register({
        service: 'itself',
        ip: '10.9.2.1',
        port: 80,
        namespace,
        group,
        metadata: { by: 'itself' },
      });
      await publisher.write('others', settings, others);
      await finds('itself', /^10.9.2.1:80@DEFAULT 1.0 by=itself$/);
      await finds('others', /^10.9.2.2:80@DEFAULT 1.0 .*pontoon-owner=b/);
      const before = await client.select('own');
      const next = publish();
      const taken = await next.write('own', settings, instance('127.0.0.1', 9_001), instance('10.9.2.9', 80));
      expect(taken.refused).to.deep.equal([
        {
          record: '127.0.0.1:9001',
          reason: 'Nacos has an instance at this address and port already: it registered itself',
        },
      ]);
      expect(taken.placed.map(({ instance }) => instance.address)).to.deep.equal(['10.9.2.9']);
      expect((await next.write('itself', settings, instance('10.9.2.1', 80))).refused).to.have.length(1);
      expect((await next.write('others', settings, foreign)).refused[0]?.reason).to.match(/the Pontoon "b" wrote it/);
      for (const service of ['own', 'itself', 'others']) await next.write(service, settings);
      await finds('own', /^127.0.0.1:9001@DEFAULT 1.0/);
      expect(await client.select('own')).to.deep.equal(before);
      await finds('itself', /^10.9.2.1:80@DEFAULT 1.0 by=itself$/);
      await finds('others', /^10.9.2.2:80@DEFAULT 1.0 .*pontoon-owner=b/);
    });

    it('follows the kind of instances that a service has already', async () => {
      await registrations.checkHealth(false);
      const { namespace, group } = shop;
      const settings = { namespace, group, beatInterval: '1s' };
      await registrations.register({ service: 'lasting', ip: '10.9.3.1', port: 80, namespace, group });
      for (const api of ['http', 'grpc']) {
        const one = publish();
        await one.write('lasting', { ...settings, api }, instance('10.9.3.2', 80));
        await finds('lasting', /^10.9.3.1:/, /^10.9.3.2:/);
        expect(await one.renew('lasting')).to.equal(true);
        await one.write('lasting', { ...settings, api });
        await finds('lasting', /^10.9.3.1:/);
      }
      // The service is known as one of the other kind, without an instance.
      await registrations.deregister({ service: 'lasting', ip: '10.9.3.1', port: 80, namespace, group });
      await finds('lasting');
      await publish().write('lasting', { ...settings, api: 'grpc' }, instance('10.9.3.4', 80));
      await finds('lasting', /^10.9.3.4:/);
      await publisher.write('own', { ...settings, kind: 'persistent' }, instance('10.9.3.3', 80));
      await finds('own', /^10.9.3.3:/, /^127.0.0.1:9001/);
      expect(await publisher.renew('own')).to.equal(true);
      await publisher.write('own', { ...settings, kind: 'persistent' });
      await finds('own', /^127.0.0.1:9001/);
    });

    it('says which instances a server does not take, and writes the rest', async () => {
      const long = instance('10.9.4.1', 80, { metadata: { text: 'x'.repeat(1_100) } });
      for (const api of ['http', 'grpc']) {
        const heavy = instance('10.9.4.2', 80, { weight: 20_000 });
        const written = await publisher.write(`picky-${api}`, { ...shop, api }, long, heavy, instance('10.9.4.3', 80));
        expect(written.refused.map(({ record }) => record)).to.have.members(['10.9.4.1:80', '10.9.4.2:80']);
        expect(written.refused.map(({ reason }) => reason).join())
          .to.match(/1024/)
          .and.match(/10000/);
        await finds(`picky-${api}`, /^10.9.4.3:80@C1 1.0/);
      }
    });

    it('registers all that its connection keeps again when it gets another one, and loses it with the last one', async () => {
      const settings = { ...shop, api: 'grpc' };
      await publisher.write('batch', settings, instance('10.9.5.1', 80), instance('10.9.5.2', 80));
      await finds('batch', /^10.9.5.1:/, /^10.9.5.2:/);
      const before = await connections(nacos());
      await reload(nacos(), '');
      const isAnew = (now: readonly string[]) => now.length === before.length && !now.some((id) => before.includes(id));
      await until('other connections', async () => isAnew(await connections(nacos())), 30_000, 100);
      await finds('batch', /^10.9.5.1:/, /^10.9.5.2:/);
      expect(await publisher.renew('batch')).to.equal(true);
      expect(publisher.requests).to.equal(1);
      // Another way to keep them takes none away.
      await publisher.write('batch', { ...shop }, instance('10.9.5.1', 80), instance('10.9.5.2', 80));
      await publisher.close();
      await finds('batch', /^10.9.5.1:80@C1 1.0 .*preserved.heart.beat.interval=15000/, /^10.9.5.2:/);
      const next = publish();
      next.takeOver(publisher, 'batch');
      await next.write('batch', settings, instance('10.9.5.1', 80));
      await finds('batch', /^10.9.5.1:(?!.*preserved)/);
      await next.close();
      await finds('batch');
    });

    it(`writes ${services} services of ten instances over gRPC`, async () => {
      const names = Array.from({ length: services }, (_, index) => `many-${index}`);
      const instances = Array.from({ length: 10 }, (_, index) => instance(`10.8.0.${index + 1}`, 80));
      const settings = { group: 'many', api: 'grpc' };
      const limit = pLimit(16);
      const timed = async (what: string, ...wanted: PublishedInstance[]) => {
        const [start, cpu] = [performance.now(), process.cpuUsage()];
        await Promise.all(names.map((name) => limit(() => publisher.write(name, settings, ...wanted))));
        const { user, system } = process.cpuUsage(cpu);
        const took = Math.round(performance.now() - start);
        const used = Math.round((user + system) / 1_000);
        console.log(`      ${what}: ${took} ms, CPU ${used} ms, ${publisher.requests} requests that write`);
      };
      await timed('written', ...instances);
      expect(publisher.requests).to.equal(services);
      const run = await live({ groups: ['many'] });
      const complete = () => [...run.services.values()].filter((service) => service.instances.length === 10).length;
      await run.wait('all are read', () => complete() === services, 60_000);
      publisher.requests = 0;
      await timed('withdrawn');
      expect(publisher.requests).to.equal(services);
    });
  });
