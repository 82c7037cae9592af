import { expect } from 'chai';
import { dubboKind } from '#adapters/dubbo/index.js';
import { isServed, shardOf } from '#catalog/shards.js';
import { Foresight } from '#policy/foresight.js';
import { requireServers } from '#test/servers/require.js';
import { startZookeeper, type Zookeeper } from '#test/servers/zookeeper.js';
import { Reading, urlNode, Writer } from './harness.js';

const serve = { from: 0, to: 15, of: 64 };
const names = Array.from({ length: 200 }, (_, index) => `com.example.S${index}`);
const ours = names.filter((name) => isServed(name.toLowerCase(), serve));

describe('ZooKeeper source that serves a quarter of the shards', function () {
  this.timeout(60_000);
  let server: Zookeeper;
  let writer: Writer;
  let reading: Reading | undefined;

  before(async function () {
    await requireServers(this, 'zookeeper');
    server = await startZookeeper();
    writer = await new Writer(server.port).open();
    for (const name of names)
      await writer.create(urlNode('/dubbo', name, `dubbo://10.0.0.1:20880/${name}?interface=${name}&version=1.0`));
  });
  after(async () => {
    await writer?.close();
    await server?.stop();
  });
  afterEach(() => reading?.stop());

  async function read(host: string | undefined): Promise<{ readonly watches: number; readonly names: string[] }> {
    const before = await watches();
    const settings = { name: 'zk', type: 'zookeeper', kinds: { dubbo: dubboKind }, host };
    const foresight = new Foresight(settings, [], (name) => isServed(name, serve));
    reading = new Reading({ servers: [server.connectString], probe: 'off' }, [], undefined, (service) =>
      foresight.mayServe(service),
    );
    await reading.is('live');
    return {
      watches: (await watches()) - before,
      names: [...reading.view.said.values()].map(({ key }) => key.name).sort(),
    };
  }
  const watches = async () => Number(/zk_watch_count\s+(\d+)/.exec(await server.command('mntr'))?.[1]);

  it('watches the interfaces whose host is its own, and no others', async () => {
    const found = await read('preset:interface');
    expect(found.names).to.deep.equal([...ours].sort());
    expect(ours.length).to.be.within(30, 70);
    expect(found.watches).to.be.within(2 * ours.length, 2 * ours.length + 20);
  });

  it('watches all where group and version are part of the host: they are not known before', async () => {
    const found = await read(undefined);
    expect(found.names).to.deep.equal([...names].sort());
    expect(found.watches).to.be.at.least(2 * names.length);
  });

  it('reads an application for the interfaces that are its own', async () => {
    const mine = names.find((name) => ours.includes(name)) as string;
    const other = names.find((name) => !ours.includes(name)) as string;
    expect(shardOf(other.toLowerCase(), 64)).to.be.above(15);
    const service = (name: string) => ({ name, protocol: 'dubbo', path: name, params: {} });
    const services = { a: service(mine), b: service(other) };
    await writer.create('/dubbo/metadata/shop/r1', JSON.stringify({ app: 'shop', revision: 'r1', services }));
    for (const name of [mine, other]) await writer.create(`/dubbo/mapping/${name}`, 'shop');
    const metadata = {
      'dubbo.endpoints': JSON.stringify([{ port: 20_881, protocol: 'dubbo' }]),
      'dubbo.metadata.revision': 'r1',
      'dubbo.metadata.storage-type': 'remote',
    };
    const instance = { name: 'shop', id: 'i1', address: '10.0.0.9', port: 20_881, payload: { metadata } };
    await writer.create('/services/shop/10.0.0.9:20881', JSON.stringify(instance));
    const found = await read('preset:interface');
    expect([...new Set(found.names)]).to.deep.equal([...ours].sort());
    expect(reading?.of(mine)).to.deep.include({ '/': ['dubbo://10.0.0.9:20881'] });
    expect(reading?.of(other)).to.equal(undefined);
  });
});
