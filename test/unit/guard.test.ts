import { createServer, type Server } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import { expect } from 'chai';
import { Catalog, type HoldEvent } from '#catalog/catalog.js';
import { inquiryScope } from '#catalog/dialling.js';
import type { RegistryView } from '#catalog/view.js';
import { VipAllocator } from '#catalog/vip.js';
import type { GuardSettings } from '#guard/counts.js';
import { Inquiry } from '#guard/inquiry.js';
import { PeakWindow } from '#guard/window.js';
import type { Instance, RegistryService } from '#model/service.js';
import { RegistryPolicy } from '#policy/contribution.js';
import { PolicyList } from '#policy/rules.js';
import { Prober } from '#probe/prober.js';
import { cause } from '#sources/contract.js';
import { random as randomOf } from '#test/random.js';
import { freePort } from '#test/servers/ports.js';
import { until } from '#test/servers/probes.js';
import { instance, plainKinds, service } from './builders.js';

const settings: GuardSettings = {
  registry: { maxLoss: 0.3, minInstances: 10, window: 60_000, hold: 60_000 },
  service: { maxLoss: 0.8, minInstances: 5, window: 30_000, hold: 60_000 },
  probe: 'off',
};

const policy = new RegistryPolicy({ name: 'r', type: 'test', kinds: plainKinds });
const common = { namespace: 'pontoon', exportTo: ['*'], grace: 60_000 };

function guarded(guards: Partial<GuardSettings> = {}, known?: ReturnType<Catalog['known']>) {
  const remembered = known && {
    registries: known.registries.map((registry) => ({ ...registry, source: '' })),
    empty: known.empty,
  };
  const catalog = new Catalog({ ...common, guards: { ...settings, ...guards } }, new VipAllocator([]), remembered);
  const events: HoldEvent[] = [];
  catalog.on('hold', (event) => events.push(event));
  const view = catalog.add(policy);
  return { catalog, view, events, guard: catalog.guard('r') };
}

/** So many instances, numbered from a first one. */
function instances(count: number, first = 1, more: Partial<Instance> = {}): Instance[] {
  return Array.from({ length: count }, (_, index) => instance(`10.0.0.${first + index}`, 80, more));
}

function list(view: RegistryView, ...services: RegistryService[]): void {
  const listing = view.listing();
  listing.add(services);
  listing.commit(cause('test'));
}

const count = (catalog: Catalog, name: string): number | undefined =>
  catalog.services.get(`${name}.test`)?.endpoints.length;

describe('guards', () => {
  it('a registry that lists nothing any more empties nothing', () => {
    const { catalog, view, events } = guarded();
    list(view, service('a', instances(10)), service('b', instances(10, 11)), service('c', instances(1, 30)));
    list(view);
    expect(['a', 'b', 'c'].map((name) => count(catalog, name))).to.deep.equal([10, 10, 1]);
    expect(events.map(({ event, hold }) => [event, hold.scope, hold.instances.size])).to.deep.equal([
      ['begun', 'registry', 21],
    ]);
    expect(events[0]?.text).to.match(/^21 of 21 usable instances have gone, at most 30 % may within 60 s/);
    expect(view.said.size).to.equal(0);
    expect(view.services.size).to.equal(3);
    catalog.close();
  });

  it('what is below the limits goes at once', () => {
    const { catalog, view, events } = guarded();
    list(view, service('a', instances(10)), service('b', instances(10, 11)));
    list(view, service('a', instances(4)), service('b', instances(10, 11)));
    expect(count(catalog, 'a')).to.equal(4);
    expect(events).to.have.length(0);
    catalog.close();
  });

  it('losses add up over the window, from one listing to the next', () => {
    const { catalog, view } = guarded();
    list(view, service('a', instances(20)));
    list(view, service('a', instances(15)));
    list(view, service('a', instances(14)));
    expect(count(catalog, 'a')).to.equal(14);
    list(view, service('a', instances(12)));
    expect(count(catalog, 'a'), 'the two that passed the limit are held').to.equal(14);
    catalog.close();
  });

  it('a service is guarded by itself, when its registry is well', () => {
    const { catalog, view, events } = guarded();
    list(view, service('a', instances(5)), service('b', instances(50, 11)));
    view.update([service('a', [])], [], cause('test'));
    expect(count(catalog, 'a')).to.equal(5);
    expect(events.map(({ hold }) => [hold.scope, hold.service])).to.deep.equal([['service', 'r///a/']]);
    catalog.close();
  });

  it('small services and small registries are emptied at once', () => {
    const { catalog, view } = guarded();
    list(view, service('a', instances(4)), service('b', instances(5, 11)));
    list(view, service('b', instances(5, 11)));
    expect(count(catalog, 'a')).to.equal(0);
    list(view, service('b', instances(1, 11)));
    expect(count(catalog, 'b')).to.equal(1);
    catalog.close();
  });

  it('what the registry says in so many words is never held, and is no fall', () => {
    const { catalog, view, events } = guarded();
    list(view, service('a', instances(20)));
    const out = instances(18, 3, { status: 'OUT_OF_SERVICE' });
    list(view, service('a', [...instances(2), ...out]));
    expect(count(catalog, 'a')).to.equal(2);
    // The others deregister, after they were taken out.
    list(view, service('a', instances(2)));
    expect(count(catalog, 'a')).to.equal(2);
    expect(events).to.have.length(0);
    catalog.close();
  });

  it('failing health checks are a fall', () => {
    const { catalog, view } = guarded();
    list(view, service('a', instances(20)));
    list(view, service('a', instances(20, 1, { status: 'critical' })));
    expect(count(catalog, 'a')).to.equal(20);
    expect([...(catalog.guard('r')?.heldOf('r///a/').values() ?? [])][0]?.why).to.equal('critical');
    // Now somebody takes them out.
    list(view, service('a', instances(20, 1, { status: 'maintenance' })));
    expect(count(catalog, 'a')).to.equal(0);
    expect(catalog.guard('r')?.holds()).to.have.length(0);
    catalog.close();
  });

  it('a hundred instances that are replaced one by one never trigger a guard', () => {
    const { catalog, view, events } = guarded();
    const all = instances(100);
    list(view, service('a', all));
    for (let replaced = 1; replaced <= 100; replaced++) {
      const now = all.slice(replaced).concat(instances(replaced, 101));
      view.update([service('a', now)], [], cause('test'));
      expect(count(catalog, 'a')).to.equal(100);
    }
    expect(events).to.have.length(0);
    catalog.close();
  });

  it('a deploy that replaces all within seconds: the old ones go when as many new ones are there', () => {
    const { catalog, view, events } = guarded();
    list(view, service('a', instances(10)), service('b', instances(50, 100)));
    view.update([service('a', [])], [], cause('test'));
    expect(count(catalog, 'a')).to.equal(10);
    view.update([service('a', instances(4, 21))], [], cause('test'));
    expect(count(catalog, 'a')).to.equal(14);
    view.update([service('a', instances(10, 21))], [], cause('test'));
    const addresses = catalog.services.get('a.test')?.endpoints.map(({ address }) => address);
    expect(addresses?.sort()).to.deep.equal(instances(10, 21).map(({ address }) => address));
    expect(events.map(({ event }) => event)).to.deep.equal(['begun', 'ended']);
    catalog.close();
  });

  it('what returns leaves the hold, and changes of what is there pass through it', () => {
    const { catalog, view } = guarded();
    list(view, service('a', instances(20)));
    list(view);
    list(view, service('a', instances(5, 1, { weight: 2 })));
    expect(catalog.services.get('a.test')?.endpoints.filter(({ weight }) => weight === 200)).to.have.length(5);
    expect(catalog.guard('r')?.held).to.equal(15);
    list(view, service('a', instances(20)));
    expect(catalog.guard('r')?.holds()).to.have.length(0);
    catalog.close();
  });

  it('what is lost late in a hold is held as long as what was lost first', async function () {
    this.timeout(60_000);
    const { catalog, view } = guarded({ registry: { ...settings.registry, hold: 3_000 } });
    list(view, service('a', instances(20)));
    list(view, service('a', instances(12)));
    expect(count(catalog, 'a')).to.equal(20);
    await sleep(2_500);
    list(view);
    expect(count(catalog, 'a')).to.equal(20);
    await until('that the first eight have left', () => count(catalog, 'a') === 12);
    expect(catalog.guard('r')?.holds()).to.have.length(1);
    await until('that the others have, too', () => count(catalog, 'a') === 0);
    catalog.close();
  });

  it('another configuration forgets no fall', () => {
    const { catalog, view } = guarded();
    const reload = () => catalog.configure({ ...common, guards: settings }, [policy]);
    list(view, service('a', instances(20)), service('b', instances(20, 31)));
    list(view, service('a', instances(14)), service('b', instances(20, 31)));
    reload();
    list(view, service('a', instances(9)), service('b', instances(20, 31)));
    reload();
    list(view, service('a', instances(4)), service('b', instances(20, 31)));
    expect(count(catalog, 'a'), 'five more pass the limit of twelve').to.equal(9);
    catalog.close();
  });

  it('what a configuration leaves out is held no longer, and is no fall when it goes', () => {
    const { catalog, view, guard } = guarded();
    list(view, service('a', instances(20)), service('b', instances(20, 31)));
    list(view, service('a', instances(5)), service('b', instances(20, 31)));
    expect(guard?.held).to.equal(15);
    const list2 = new PolicyList([{ when: 'service.name == "a"', drop: true }]);
    const without = new RegistryPolicy({ name: 'r', type: 'test', kinds: plainKinds }, list2);
    catalog.configure({ ...common, guards: settings }, [without]);
    expect(guard?.held).to.equal(0);
    list(view, service('b', instances(20, 31)));
    expect(guard?.held).to.equal(0);
    expect(count(catalog, 'b')).to.equal(20);
    catalog.close();
  });

  it('after a restart the former count is of usable instances', () => {
    const first = guarded();
    const out = instances(5, 50, { status: 'OUT_OF_SERVICE' });
    list(first.view, service('a', [...instances(10), ...out]));
    list(first.view, service('a', out));
    expect(count(first.catalog, 'a')).to.equal(10);
    const known = first.catalog.known();
    first.catalog.close();
    const { catalog, view } = guarded({}, known);
    list(view, service('a', [...out, ...instances(10, 21)]));
    expect(count(catalog, 'a')).to.equal(10);
    catalog.close();
  });

  it('ends in time, and what has gone is gone then', async function () {
    this.timeout(60_000);
    const { catalog, view, events } = guarded({ registry: { ...settings.registry, hold: 300 } });
    list(view, service('a', instances(20)));
    list(view);
    expect(count(catalog, 'a')).to.equal(20);
    await until('that the hold has ended', () => count(catalog, 'a') === 0);
    expect(events.map(({ event, text }) => `${event} ${text}`)[1]).to.equal('ended its time is over');
    expect(view.services.size).to.equal(0);
    catalog.close();
  });

  it('an operator releases a service, or all of a registry', () => {
    const { catalog, view, guard } = guarded();
    list(view, service('a', instances(10)), service('b', instances(10, 11)));
    list(view);
    guard?.release((id) => id === 'r///a/');
    expect(['a', 'b'].map((name) => count(catalog, name))).to.deep.equal([0, 10]);
    guard?.release(() => true, Date.now() - 60_000);
    expect(count(catalog, 'b'), 'a release from before the hold').to.equal(10);
    guard?.release(() => true);
    expect(count(catalog, 'b')).to.equal(0);
    expect(guard?.holds()).to.have.length(0);
    catalog.close();
  });

  it('never holds what the configuration leaves out', () => {
    const { catalog, view, events } = guarded();
    list(view, service('a', instances(20)), service('b', instances(20, 31)));
    const all = { ...common, guards: settings };
    catalog.configure(all, [new RegistryPolicy({ name: 'r', type: 'test', kinds: plainKinds, host: 'x' })]);
    catalog.configure(all, [policy]);
    expect(events).to.have.length(0);
    catalog.guard('r')?.excuse(true);
    list(view, service('b', instances(20, 31)));
    expect([count(catalog, 'a'), count(catalog, 'b')]).to.deep.equal([0, 20]);
    list(view);
    expect(count(catalog, 'b'), 'after the first listing it guards again').to.equal(20);
    catalog.close();
  });

  it('guards the first listing after a restart against what was known, and goes on with holds', () => {
    const first = guarded();
    list(first.view, service('a', instances(20)), service('b', instances(20, 31)), service('c', []));
    const known = first.catalog.known();
    first.catalog.close();
    const second = guarded({}, known);
    expect(second.view.isRestored).to.equal(true);
    expect(count(second.catalog, 'a')).to.equal(20);
    list(second.view, service('b', instances(20, 31)));
    expect(count(second.catalog, 'a')).to.equal(20);
    expect(second.guard?.held).to.equal(20);
    const later = second.catalog.known();
    second.catalog.close();
    const third = guarded({}, later);
    expect(third.guard?.held).to.equal(20);
    expect(third.guard?.holds()[0]?.reason).to.match(/20 of 40/);
    list(third.view, service('b', instances(20, 31)));
    expect(third.guard?.held).to.equal(20);
    expect(count(third.catalog, 'a')).to.equal(20);
    list(third.view, service('a', instances(20)), service('b', instances(20, 31)));
    expect(third.guard?.holds()).to.have.length(0);
    third.catalog.close();
  });

  it('a gone service stays for the rest of its grace over a restart, with its ports', () => {
    const first = guarded();
    list(first.view, service('a', instances(1, 1, { ports: [{ name: 'x', protocol: 'tcp', number: 7 }] })));
    list(first.view);
    const before = first.catalog.services.get('a.test');
    expect(before?.origins).to.have.length(0);
    const known = first.catalog.known();
    first.catalog.close();
    const { catalog, view } = guarded({}, known);
    list(view);
    expect(catalog.services.get('a.test')).to.deep.equal(before);
    expect(catalog.known().empty[0]?.left).to.be.within(1, 60_000);
    catalog.close();
  });

  it('whatever happens, what a registry lists is in the mesh; and when all is released, nothing else', () => {
    for (let seed = 1; seed <= 30; seed++) {
      const below = randomOf(seed);
      const random = () => below(1_000) / 1_000;
      const { catalog, view, guard } = guarded();
      for (let step = 0; step < 60; step++) {
        const some = (most: number): Instance[] => instances(most).filter(() => random() < 0.6);
        const services = ['a', 'b', 'c'].flatMap((name) => {
          const chosen = some(12).map((one) => ({
            ...one,
            status: random() < 0.8 ? 'UP' : random() < 0.5 ? 'DOWN' : 'disabled',
          }));
          return random() < 0.3 ? [] : [service(name, chosen)];
        });
        if (random() < 0.5) list(view, ...services);
        else for (const one of services) view.update([one], [], cause('test'));
        if (random() < 0.1) guard?.release((id) => id === 'r///a/');
        for (const [id, { key, instances: said }] of view.said) {
          const places = new Set(catalog.services.get(`${key.name}.test`)?.endpoints.map(({ address }) => address));
          for (const { address, status } of said)
            if (status === 'UP')
              expect(places.has(address), `seed ${seed}, step ${step}: ${id} ${address}`).to.equal(true);
            else if (status === 'disabled') expect(places.has(address)).to.equal(false);
        }
        const held = guard?.holds().reduce((sum, hold) => sum + hold.instances.size, 0);
        expect(held, `seed ${seed}, step ${step}`).to.equal(guard?.held);
      }
      guard?.release(() => true);
      const fresh = guarded();
      list(fresh.view, ...view.said.values());
      for (const [host, { endpoints }] of catalog.services)
        expect(endpoints, `seed ${seed}: ${host}`).to.deep.equal(fresh.catalog.services.get(host)?.endpoints ?? []);
      catalog.close();
      fresh.catalog.close();
    }
  });

  describe('that ask the instances', () => {
    const servers: Server[] = [];
    const listener = async (): Promise<number> => {
      const server = createServer((socket) => socket.destroy());
      servers.push(server);
      await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
      return (server.address() as { port: number }).port;
    };
    const asking = (guards: Partial<GuardSettings> = {}) => {
      const parts = guarded({ probe: 'tcp', ...guards });
      const inquiry = new Inquiry(new Prober({ timeout: 500 }), inquiryScope(parts.catalog), { soon: 100, later: 500 });
      parts.catalog.on('doubt', ({ guard, registry, held }) => inquiry.ask(guard, registry, held));
      return { ...parts, inquiry };
    };
    const at = (ports: readonly number[]): Instance[] => ports.map((port) => instance('127.0.0.1', port));

    afterEach(() => {
      for (const server of servers.splice(0)) server.close();
    });

    it('dead ones leave in seconds, living ones stay past the time, until one releases them', async function () {
      this.timeout(60_000);
      const living = await Promise.all(Array.from({ length: 12 }, listener));
      const dead = await Promise.all(Array.from({ length: 3 }, () => freePort()));
      const { catalog, view, guard, inquiry } = asking({ registry: { ...settings.registry, hold: 1_000 } });
      list(view, service('a', at([...living, ...dead])));
      list(view);
      expect(count(catalog, 'a')).to.equal(15);
      await until('that the dead have left', () => count(catalog, 'a') === 12, 30_000);
      await until('that its time is over', () => guard?.holds()[0]?.isOver ?? false);
      await sleep(1_200);
      expect(count(catalog, 'a')).to.equal(12);
      expect(inquiry.counts.refused).to.be.at.least(9);
      // Another one dies while it is held.
      servers.splice(0, 1)[0]?.close();
      await until('that it has left, too', () => count(catalog, 'a') === 11, 40_000);
      guard?.release(() => true);
      expect(count(catalog, 'a')).to.equal(0);
      inquiry.close();
      catalog.close();
    });

    it('where nothing accepts, a firewall may be speaking: time decides', async function () {
      this.timeout(60_000);
      const dead = await Promise.all(Array.from({ length: 10 }, () => freePort()));
      const { catalog, view, inquiry } = asking({ registry: { ...settings.registry, hold: 3_000 } });
      list(view, service('a', at(dead)));
      list(view);
      await until('that all have refused three times', () => inquiry.counts.refused >= 30, 30_000);
      expect(count(catalog, 'a')).to.equal(10);
      await until('that its time is over', () => count(catalog, 'a') === 0, 30_000);
      inquiry.close();
      catalog.close();
    });

    it('a finished rolling deploy is not undone by a later hold', async function () {
      this.timeout(60_000);
      const old = await Promise.all(Array.from({ length: 10 }, listener));
      const young = await Promise.all(Array.from({ length: 10 }, listener));
      const other = await Promise.all(Array.from({ length: 10 }, listener));
      const { catalog, view, inquiry } = asking();
      list(view, service('a', at(old)), service('b', at(other)));
      for (let replaced = 1; replaced <= 10; replaced++)
        view.update([service('a', at([...young.slice(0, replaced), ...old.slice(replaced)]))], [], cause('test'));
      view.update([service('b', [])], [], cause('test'));
      await until('that all of b have answered', () => inquiry.counts.accepted >= 10);
      await sleep(500);
      expect([count(catalog, 'a'), count(catalog, 'b')]).to.deep.equal([10, 10]);
      inquiry.close();
      catalog.close();
    });

    it('what a service lost before its registry was known to be sick comes back, too', async function () {
      this.timeout(60_000);
      const living = await Promise.all(Array.from({ length: 10 }, listener));
      const other = await Promise.all(Array.from({ length: 20 }, listener));
      const { catalog, view, inquiry } = asking();
      list(view, service('a', at(living)), service('b', at(other)));
      for (let left = 9; left >= 0; left--) view.update([service('a', at(living.slice(0, left)))], [], cause('test'));
      list(view);
      await until('that all are back', () => count(catalog, 'a') === 10, 30_000);
      expect(count(catalog, 'b')).to.equal(20);
      inquiry.close();
      catalog.close();
    });

    it('a single one that lives keeps no hold going on for ever', async function () {
      this.timeout(60_000);
      const living = await listener();
      const dead = await Promise.all(Array.from({ length: 19 }, () => freePort()));
      const { catalog, view, inquiry, guard } = asking({ registry: { ...settings.registry, hold: 2_000 } });
      list(view, service('a', at([living, ...dead])));
      list(view);
      await until('that the dead have left', () => count(catalog, 'a') === 1, 30_000);
      expect(guard?.holds()[0]?.dead).to.equal(19);
      await until('that its time is over', () => count(catalog, 'a') === 0, 30_000);
      inquiry.close();
      catalog.close();
    });

    it('what went before the limit was passed comes back if it accepts', async function () {
      this.timeout(60_000);
      const living = await Promise.all(Array.from({ length: 19 }, listener));
      const dead = await freePort();
      const { catalog, view, inquiry } = asking();
      const all = at([dead, ...living]);
      list(view, service('a', all));
      list(view, service('a', all.slice(5)));
      expect(count(catalog, 'a')).to.equal(15);
      list(view, service('a', all.slice(7)));
      expect(count(catalog, 'a')).to.equal(15);
      await until('that four are back', () => count(catalog, 'a') === 19, 30_000);
      inquiry.close();
      catalog.close();
    });

    it('a service that vanished, one instance after the other, before the limit was passed comes back whole', async function () {
      this.timeout(60_000);
      const small = at(await Promise.all(Array.from({ length: 4 }, listener)));
      const large = at(await Promise.all(Array.from({ length: 12 }, listener)));
      const { catalog, view, inquiry } = asking();
      for (const left of [4, 3, 2, 1, 0]) list(view, service('a', small.slice(4 - left)), service('b', large));
      list(view, service('b', large));
      expect(count(catalog, 'a')).to.equal(0);
      list(view);
      expect(count(catalog, 'b')).to.equal(12);
      await until('that all are back', () => count(catalog, 'a') === 4, 30_000);
      inquiry.close();
      catalog.close();
    });
  });
});

describe('the window of a guard', () => {
  it('knows the highest count within its length', () => {
    const window = new PeakWindow(100);
    window.set(10, 0);
    window.set(8, 50);
    window.set(9, 60);
    window.set(3, 70);
    expect(window.peak(70)).to.equal(10);
    expect(window.peak(150)).to.equal(10);
    expect(window.peak(151)).to.equal(9);
    expect(window.peak(171)).to.equal(3);
  });

  it('agrees with a plain count of random steps', () => {
    const window = new PeakWindow(100);
    const steps: { at: number; count: number }[] = [{ at: 0, count: 0 }];
    let random = 7;
    for (let at = 1; at < 3_000; at += random % 13) {
      random = (random * 1_103_515_245 + 12_345) % 2_147_483_648;
      const now = random % 40;
      window.set(now, at);
      steps.push({ at, count: now });
      const within = steps.filter((_, index) => (steps[index + 1]?.at ?? at) >= at - 100);
      expect(window.peak(at)).to.equal(Math.max(...within.map((step) => step.count)));
      random++;
    }
  });
});
