import { expect } from 'chai';
import type { ServiceName } from '#adapters/nacos/api.js';
import type { NacosClient } from '#adapters/nacos/client.js';
import { decodeService } from '#adapters/nacos/decode.js';
import { Services } from '#adapters/nacos/services.js';
import { NacosRun } from '#test/real/nacos/recorder.js';

const orders: ServiceName = { namespace: 'public', group: 'g', name: 'orders' };
const carts: ServiceName = { namespace: 'public', group: 'g', name: 'carts' };

/** What Nacos says of a service with instances on these ports. */
function info(...ports: number[]) {
  return { hosts: ports.map((port) => ({ ip: '10.0.0.1', port, instanceId: `${port}` })) };
}

/** A Nacos whose answers the test sets. */
class FakeNacos implements NacosClient {
  listed: ServiceName[] = [orders, carts];
  readonly contents = new Map<string, unknown>([
    ['orders', info(1, 2)],
    ['carts', info(3)],
  ]);
  lists = 0;
  readonly queried: string[] = [];
  readonly subscribed: string[] = [];
  readonly unsubscribed: string[] = [];
  /** Runs between question and answer. */
  meanwhile: () => void = () => {};

  async list() {
    this.lists++;
    return this.listed;
  }
  async watchList() {
    return false;
  }
  async subscribe({ name }: ServiceName) {
    this.subscribed.push(name);
    return this.#content(name);
  }
  async unsubscribe({ name }: ServiceName) {
    this.unsubscribed.push(name);
  }
  async query({ name }: ServiceName) {
    this.queried.push(name);
    this.meanwhile();
    return this.#content(name);
  }
  async close() {}

  #content(name: string): unknown {
    const content = this.contents.get(name);
    if (content instanceof Error) throw content;
    return content;
  }
}

describe('Nacos services', () => {
  let nacos: FakeNacos;
  let out: NacosRun;
  let services: Services;
  let session: AbortController;

  beforeEach(() => {
    nacos = new FakeNacos();
    out = new NacosRun();
    services = new Services('n', out, decodeService);
    session = new AbortController();
  });

  const sync = () => services.sync(nacos, session.signal);
  const ports = (name: string) => out.named(name)?.instances.map(({ ports }) => ports[0]?.number);
  const push = (service: ServiceName, content: unknown) => services.changed(service, async () => content);

  it('gives one listing when every service has been answered', async () => {
    await sync();
    expect([out.listings, out.updates, out.services.size]).to.deep.equal([1, 0, 2]);
    expect(ports('orders')).to.deep.equal([1, 2]);
  });

  it('passes changes on, and nothing that is none', async () => {
    await sync();
    await push(orders, info(1, 4));
    expect(ports('orders')).to.deep.equal([1, 4]);
    const events = out.events.length;
    await push(orders, info(4, 1));
    expect(out.events).to.have.length(events);
  });

  it('empties a service when a second question says so, too', async () => {
    await sync();
    await push(orders, info());
    expect(nacos.queried).to.deep.equal(['orders']);
    expect(ports('orders')).to.deep.equal([1, 2]);
    nacos.contents.set('orders', info());
    await push(orders, info());
    expect(ports('orders')).to.deep.equal([]);
    await push(orders, info());
    expect(nacos.queried, 'an empty one that stays empty is no news').to.deep.equal(['orders', 'orders']);
  });

  it('does not empty a service by a second answer that is older than a push', async () => {
    await sync();
    nacos.contents.set('orders', info());
    let pushed: Promise<void> = Promise.resolve();
    nacos.meanwhile = () => {
      pushed = push(orders, info(5));
    };
    await push(orders, info());
    await pushed;
    expect(ports('orders')).to.deep.equal([5]);
  });

  it('removes a service when it is missing twice and has no instances', async () => {
    await sync();
    nacos.listed = [carts];
    await services.poll();
    expect(ports('orders'), 'it still has instances').to.deep.equal([1, 2]);
    nacos.contents.set('orders', info());
    await services.poll();
    expect(out.named('orders')).to.equal(undefined);
    expect(nacos.unsubscribed).to.deep.equal(['orders']);
    expect(nacos.lists).to.equal(5);
  });

  it('subscribes to a new service at the next poll', async () => {
    nacos.listed = [orders];
    await sync();
    nacos.listed = [orders, carts];
    await services.poll();
    expect(ports('carts')).to.deep.equal([3]);
    expect(nacos.subscribed).to.deep.equal(['orders', 'carts']);
  });

  it('waits for the first instance of a new service, but not for ever', async () => {
    nacos.listed = [];
    await sync();
    nacos.listed = [orders, carts];
    for (const name of ['orders', 'carts']) nacos.contents.set(name, info());
    await services.poll();
    expect(out.services.size).to.equal(0);
    await push(orders, info(1));
    expect(ports('orders')).to.deep.equal([1]);
    await services.poll();
    expect(ports('carts')).to.deep.equal([]);
    expect(out.updates).to.equal(2);
  });

  it('says which service cannot be read, and tries it again', async () => {
    nacos.contents.set('orders', new Error('broken'));
    await sync();
    expect([...out.unreadables.values()].map(({ message }) => message)).to.deep.equal(['broken']);
    expect(ports('carts')).to.deep.equal([3]);
    nacos.contents.set('orders', info(1));
    await services.poll();
    expect(ports('orders')).to.deep.equal([1]);
    expect(out.unreadables.size).to.equal(0);
  });

  it('keeps what it knows when a push cannot be read, and asks again', async () => {
    await sync();
    await push(orders, null);
    expect(out.unreadables.size).to.equal(1);
    expect(ports('orders')).to.deep.equal([1, 2]);
    await services.poll();
    expect(out.unreadables.size).to.equal(0);
  });

  it('gives no listing when nothing can be read', async () => {
    for (const name of ['orders', 'carts']) nacos.contents.set(name, new Error('forbidden'));
    const error = await sync().catch((reason: Error) => reason);
    expect(error).to.have.property('message', 'forbidden');
    expect([out.listings, out.updates]).to.deep.equal([0, 0]);
  });

  it('subscribes to everything again in a new session, and asks twice about what is missing there', async () => {
    await sync();
    session.abort();
    session = new AbortController();
    nacos.listed = [carts];
    nacos.contents.set('carts', info(6));
    await sync();
    expect(ports('carts')).to.deep.equal([6]);
    expect(ports('orders')).to.deep.equal([1, 2]);
    expect(nacos.subscribed).to.deep.equal(['orders', 'carts', 'orders', 'carts']);
  });

  it('takes nothing from a session that has ended', async () => {
    await sync();
    nacos.meanwhile = () => session.abort();
    nacos.contents.set('orders', info());
    await push(orders, info());
    expect(ports('orders')).to.deep.equal([1, 2]);
    expect(out.unreadables.size).to.equal(0);
  });
});
