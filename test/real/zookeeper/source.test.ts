import { expect } from 'chai';
import zookeeper from 'node-zookeeper-client';
import { freePort } from '#test/servers/ports.js';
import { until } from '#test/servers/probes.js';
import { requireServers } from '#test/servers/require.js';
import { Wire } from '#test/servers/wire.js';
import { startZookeeper, type Zookeeper } from '#test/servers/zookeeper.js';
import { Reading, urlNode, Writer } from './harness.js';

/** The interface of the test that runs; each has its own. */
let greeter = '';

function provider(address: string, query = ''): string {
  return urlNode('/dubbo', greeter, `dubbo://${address}/${greeter}?interface=${greeter}${query}`);
}

function digest(username: string, id: string) {
  const { ACL, Id, Permission } = zookeeper;
  return [new ACL(Permission.ALL, new Id('digest', `${username}:${id}`))];
}

/** What anybody may do. */
function world(permissions: number) {
  const { ACL, Id } = zookeeper;
  return [new ACL(permissions, new Id('world', 'anyone'))];
}

describe('ZooKeeper source', function () {
  this.timeout(60_000);
  let server: Zookeeper;
  let writer: Writer;
  let reading: Reading;

  before(async function () {
    await requireServers(this, 'zookeeper');
    server = await startZookeeper();
    writer = await new Writer(server.port).open();
    reading = new Reading({ servers: [server.connectString], sessionTimeout: '4s', probe: 'off' }, ['secret.*']);
    await reading.is('live');
  });

  after(async () => {
    const start = performance.now();
    await reading?.stop();
    expect(performance.now() - start).to.be.below(2000);
    if (server) await until('no session left', async () => (await sessions()) <= 1, 5000);
    await writer?.close();
    await server?.stop();
  });

  async function sessions(): Promise<number> {
    return (await server.command('cons')).split('\n').filter((line) => line.includes('sid=')).length;
  }

  let count = 0;
  beforeEach(() => {
    greeter = `shop.Greeter${++count}`;
    reading.changes.length = 0;
  });

  it('is live and empty where there is no root yet', () => {
    expect(reading.view.said.size).to.equal(0);
    expect(reading.view.complete).to.equal(true);
  });

  it('sees an interface come, change, be emptied and go', async () => {
    await writer.create(provider('10.0.0.1:20880', '&version=1.0.0&group=g'));
    await reading.sees(greeter, { 'g/1.0.0': ['dubbo://10.0.0.1:20880'] });
    await writer.create(provider('10.0.0.2:20880', '&version=1.0.0&group=g'));
    await reading.sees(greeter, { 'g/1.0.0': ['dubbo://10.0.0.1:20880', 'dubbo://10.0.0.2:20880'] });
    await writer.create(provider('10.0.0.3:20880'));
    await reading.sees(greeter, {
      '/': ['dubbo://10.0.0.3:20880'],
      'g/1.0.0': ['dubbo://10.0.0.1:20880', 'dubbo://10.0.0.2:20880'],
    });
    await writer.remove(provider('10.0.0.3:20880'));
    await reading.sees(greeter, { 'g/1.0.0': ['dubbo://10.0.0.1:20880', 'dubbo://10.0.0.2:20880'] });
    await writer.remove(provider('10.0.0.1:20880', '&version=1.0.0&group=g'));
    await writer.remove(provider('10.0.0.2:20880', '&version=1.0.0&group=g'));
    await reading.sees(greeter, { 'g/1.0.0': [] });
    await writer.removeAll(`/dubbo/${greeter}`);
    await reading.sees(greeter, undefined);
  });

  it('says when and why something changed, within milliseconds', async () => {
    await writer.create(provider('10.0.0.1:20880'));
    await reading.sees(greeter, { '/': ['dubbo://10.0.0.1:20880'] });
    const times: number[] = [];
    for (let i = 0; i < 20; i++) {
      reading.changes.length = 0;
      const path = provider(`10.0.1.${i}:20880`);
      await writer.create(path);
      await until('the change', () => reading.changes.length > 0, 5000, 1);
      const [change] = reading.changes;
      expect(change?.cause.what).to.equal('znode children changed');
      times.push(performance.now() - (change?.cause.observedAt ?? 0));
    }
    times.sort((a, b) => a - b);
    expect(times[10]).to.be.below(100);
    await writer.removeAll(`/dubbo/${greeter}`);
    await reading.sees(greeter, undefined);
  });

  it('keeps what is good beside malformed records, and shows those until they are mended', async () => {
    await writer.create(provider('10.0.0.1:20880'));
    const bad = [
      provider('10.0.0.2:0'),
      provider('10.0.0.3:70000'),
      provider('0.0.0.0:20880'),
      `/dubbo/${greeter}/providers/no-url`,
      `/dubbo/${greeter}/providers/%zz`,
      urlNode('/dubbo', greeter, `rmi://10.0.0.5:1099/${greeter}`),
    ];
    for (const path of bad) await writer.create(path);
    await writer.create(urlNode('/dubbo', greeter, `empty://10.0.0.9/${greeter}?category=providers`));
    await writer.create('/dubbo/%zz/providers');
    await until('all to be rejected', () => reading.services(greeter)[0]?.rejected.length === bad.length);
    await reading.sees(greeter, { '/': ['dubbo://10.0.0.1:20880'] });
    for (const path of bad) await writer.remove(path);
    await until('none to be rejected', () => reading.services(greeter)[0]?.rejected.length === 0);
    expect(reading.status.state).to.equal('live');
    await writer.removeAll(`/dubbo/${greeter}`);
    await writer.removeAll('/dubbo/%zz');
    await reading.sees(greeter, undefined);
  });

  it('does not read what is excluded', async () => {
    await writer.create(urlNode('/dubbo', 'secret.Greeter', 'dubbo://10.0.0.1:1/secret.Greeter'));
    await writer.create(provider('10.0.0.1:20880'));
    await reading.sees(greeter, { '/': ['dubbo://10.0.0.1:20880'] });
    expect(reading.of('secret.Greeter')).to.equal(undefined);
    await writer.removeAll('/dubbo/secret.Greeter');
  });

  it('knows who calls', async () => {
    await writer.create(provider('10.0.0.1:20880'));
    const consumer = urlNode(
      '/dubbo',
      greeter,
      `consumer://10.0.0.7/${greeter}?application=web&category=consumers`,
      'consumers',
    );
    await writer.create(consumer);
    await until('the consumer', () => reading.services(greeter)[0]?.consumers.length === 1);
    expect(reading.services(greeter)[0]?.consumers).to.deep.equal([{ application: 'web', address: '10.0.0.7' }]);
    await writer.remove(consumer);
    await until('no consumer', () => reading.services(greeter)[0]?.consumers.length === 0);
  });

  it('keeps a service that may no longer be read, and says so; the others go on', async () => {
    await writer.create(provider('10.0.0.1:20880'));
    await reading.sees(greeter, { '/': ['dubbo://10.0.0.1:20880'] });
    const other = urlNode('/dubbo', 'shop.Other', 'dubbo://10.0.0.1:1/shop.Other');
    await writer.create(other);
    await reading.sees('shop.Other', { '/': ['dubbo://10.0.0.1:1'] });
    await writer.protect(`/dubbo/${greeter}/providers`, digest('nobody', 'x'));
    const late = new Reading({ servers: [server.connectString] });
    try {
      await late.is('live');
      expect(late.of(greeter)).to.equal(undefined);
      expect([...late.view.unreadable.keys()]).to.deep.equal([`zk/dubbo/*/${greeter}/*`]);
      expect(late.view.unreadable.values().next().value?.message).to.match(/may not be read.*NO_AUTH/);
      expect(late.of('shop.Other')).to.deep.equal({ '/': ['dubbo://10.0.0.1:1'] });
    } finally {
      await late.stop();
    }
    expect(reading.of(greeter)).to.deep.equal({ '/': ['dubbo://10.0.0.1:20880'] });
    await writer.remove(other);
    await reading.sees('shop.Other', { '/': [] });
    await writer.removeAll('/dubbo/shop.Other');
  });

  it('asks again for what may not be read, and follows on when it may', async () => {
    const { ALL, READ } = zookeeper.Permission;
    const id = `zk/dubbo/*/${greeter}/*`;
    await writer.create(provider('10.0.0.1:20880', '&version=1.0.0'));
    await writer.create(provider('10.0.0.2:20880', '&group=g'));
    await writer.protect(`/dubbo/${greeter}/providers`, world(ALL & ~READ));
    const late = new Reading({ servers: [server.connectString] }, [], { unreadable: 200, probes: 60_000 });
    try {
      await late.is('live');
      expect(late.view.unreadable.has(id)).to.equal(true);
      await writer.protect(`/dubbo/${greeter}/providers`, world(ALL));
      const both = { '/1.0.0': ['dubbo://10.0.0.1:20880'], 'g/': ['dubbo://10.0.0.2:20880'] };
      await late.sees(greeter, both);
      expect(late.view.unreadable.has(id)).to.equal(false);
      await writer.remove(provider('10.0.0.2:20880', '&group=g'));
      await late.sees(greeter, { '/1.0.0': ['dubbo://10.0.0.1:20880'] });
    } finally {
      await late.stop();
    }
  });

  it('takes an application by its znode, whatever its instances call themselves', async () => {
    const metadata = {
      'dubbo.endpoints': '[{"port":20880,"protocol":"dubbo"}]',
      'dubbo.metadata.revision': 'r1',
      'dubbo.metadata.storage-type': 'local',
    };
    const data = { name: 'another', id: 'x', address: '10.0.0.1', port: 20880, payload: { metadata } };
    await writer.put(`/services/${greeter}-app/10.0.0.1:20880`, JSON.stringify(data));
    await writer.put(`/dubbo/mapping/${greeter}`, `${greeter}-app`);
    const late = new Reading({ servers: [server.connectString], probe: 'off' });
    for (const one of [late, reading]) await one.sees(greeter, { '/': ['dubbo://10.0.0.1:20880'] });
    expect(late.services(greeter)[0]?.notes?.[0]?.text).to.include('it says nothing of a metadata service');
    await late.stop();
    await writer.removeAll(`/services/${greeter}-app`);
    await writer.remove(`/dubbo/mapping/${greeter}`);
    await reading.sees(greeter, undefined);
  });

  it('misses no change between its reading and its watch', async () => {
    const names = Array.from({ length: 10 }, (_, index) => `${greeter}.Busy${index}`);
    const present = new Set<string>();
    const change = async (round: number) => {
      const name = names[round % names.length] as string;
      const url = `dubbo://10.0.${round % 7}.${round % 5}:1/${name}`;
      const path = urlNode('/dubbo', name, url);
      if (present.delete(path)) await writer.remove(path);
      else {
        present.add(path);
        await writer.put(path, '');
      }
    };
    // While the first listing is made, and far on.
    const late = new Reading({ servers: [server.connectString], probe: 'off' });
    for (let round = 0; round < 600; round += 10) await Promise.all(names.map((_, index) => change(round + index)));
    for (const name of names) {
      const addresses = [...present].flatMap(
        (path) => /%2F%2F(10[\d.]+)%3A/.exec(path.startsWith(`/dubbo/${name}/`) ? path : '')?.[1] ?? [],
      );
      const wanted = addresses.sort().map((address) => `dubbo://${address}:1`);
      for (const one of [late, reading]) await one.sees(name, { '/': wanted });
    }
    await late.stop();
  });

  it('keeps the services of several roots apart', async () => {
    const canary = urlNode('/dubbo-canary', greeter, `dubbo://10.0.0.9:1/${greeter}`);
    await writer.create(provider('10.0.0.1:20880'));
    await writer.create(canary);
    const both = new Reading({ servers: [server.connectString], dubbo: { root: ['/dubbo', '/dubbo-canary'] } });
    const byRoot = () =>
      Object.fromEntries(both.services(greeter).map(({ key, instances }) => [key.namespace, instances[0]?.address]));
    try {
      await both.is('live');
      expect(byRoot()).to.deep.equal({ dubbo: '10.0.0.1', 'dubbo-canary': '10.0.0.9' });
      await writer.remove(canary);
      await until('one emptied', () => byRoot()['dubbo-canary'] === undefined);
      expect(byRoot().dubbo).to.equal('10.0.0.1');
    } finally {
      await both.stop();
    }
    expect(reading.of(greeter)).to.deep.equal({ '/': ['dubbo://10.0.0.1:20880'] });
  });

  /** The two providers that the interface of a test has, and more of them. */
  const kept = (number: number) => provider(`10.0.0.${number}:1`);
  const places = (...numbers: number[]) => ({ '/': numbers.map((number) => `dubbo://10.0.0.${number}:1`) });

  it('loses nothing while its server is restarted, and follows on', async () => {
    await writer.create(kept(1));
    await reading.sees(greeter, places(1));
    reading.changes.length = 0;
    try {
      await server.kill();
      await reading.is('stale');
      expect(reading.status.error).to.match(/lost|reached|ECONN/);
    } finally {
      await server.start();
    }
    await reading.is('live');
    expect(reading.of(greeter)).to.deep.equal(places(1));
    expect(reading.changes).to.deep.equal([]);
    await writer.create(kept(2));
    await reading.sees(greeter, places(1, 2));
  });

  it('sees what changed while it was away', async () => {
    await writer.create(kept(1));
    await reading.sees(greeter, places(1));
    try {
      server.pause();
      await reading.is('stale', 10_000);
    } finally {
      server.resume();
    }
    await writer.create(kept(2));
    await reading.is('live');
    await reading.sees(greeter, places(1, 2));
    await writer.remove(kept(2));
    await reading.sees(greeter, places(1));
  });

  it('begins anew when the server says that its session has expired, and withdraws nothing', async () => {
    await writer.create(kept(1));
    await writer.create(kept(2));
    const wire = await Wire.open(server.port);
    // The server allows 10 s at most: it expires the session before the source gives it up.
    const far = new Reading({ servers: [`127.0.0.1:${wire.port}`], sessionTimeout: '20s', probe: 'off' });
    try {
      await far.sees(greeter, places(1, 2));
      far.changes.length = 0;
      wire.cut();
      await far.is('stale');
      await new Promise((resolve) => setTimeout(resolve, 12_000));
      await writer.create(kept(3));
      wire.mend();
      await far.sees(greeter, places(1, 2, 3));
      await far.is('live');
      expect(far.status.runs).to.equal(2);
      expect(far.changes.flatMap(({ ids }) => ids)).to.deep.equal([`zk/dubbo//${greeter}/`]);
    } finally {
      await far.stop();
      await wire.close();
    }
  });

  it('begins anew with a listing when its server was away for longer than its session lives, and withdraws nothing', async () => {
    await writer.create(kept(1));
    await reading.sees(greeter, places(1));
    const before = reading.status.runs;
    reading.changes.length = 0;
    await server.kill();
    await writer.close();
    try {
      // Down for longer than the session lives: it is given up, and the new one lists everything.
      await until('the end of the session', () => reading.status.runs > before, 15_000);
      expect(reading.of(greeter)).to.deep.equal(places(1));
    } finally {
      await server.start();
      writer = await new Writer(server.port).open();
    }
    await reading.is('live', 30_000);
    await until('a listing', () => reading.changes.length > 0);
    expect(reading.changes.flatMap(({ ids }) => ids)).to.deep.equal([]);
    await writer.removeAll(`/dubbo/${greeter}`);
    await reading.sees(greeter, undefined);
  });

  it('says that nobody answers where nobody does, and that a password is wrong', async () => {
    const nowhere = new Reading({ servers: [`127.0.0.1:${await freePort()}`] });
    await nowhere.is('failed');
    expect(nowhere.status.error).to.include('ECONNREFUSED');
    await nowhere.stop();
    await writer.create('/private');
    await writer.protect('/private', digest('pontoon', 'KtTzgzXfFlu3Zz7VBDbFvbEJOIk='));
    const wrong = new Reading({
      servers: [server.connectString],
      dubbo: { root: '/private' },
      auth: { username: 'pontoon', password: 'wrong' },
    });
    await wrong.is('failed');
    expect(wrong.status.error).to.match(/\/private may not be read \(check auth/);
    await wrong.stop();
  });

  it('takes an own root, and digest authentication', async () => {
    const admin = await new Writer(server.port).open();
    admin.login('pontoon', 'secret');
    await admin.create('/own/nested');
    await admin.create('/own/nested/a.B/providers/dubbo%3A%2F%2F10.0.0.1%3A1%2Fa.B');
    await admin.protect('/own/nested', [new zookeeper.ACL(zookeeper.Permission.ALL, new zookeeper.Id('auth', ''))]);
    await admin.close();
    const auth = { username: 'pontoon', password: 'secret' };
    const own = new Reading({ servers: [server.connectString], dubbo: { root: '/own/nested' }, auth });
    await own.sees('a.B', { '/': ['dubbo://10.0.0.1:1'] });
    await own.stop();
    const foreign = new Reading({ servers: [server.connectString], dubbo: { root: '/own/nested' } });
    await foreign.is('failed');
    await foreign.stop();
  });
});
