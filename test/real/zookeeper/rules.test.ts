import { expect } from 'chai';
import type { Note } from '#model/service.js';
import { until } from '#test/servers/probes.js';
import { requireServers } from '#test/servers/require.js';
import { startZookeeper, type Zookeeper } from '#test/servers/zookeeper.js';
import { Reading, urlNode, Writer } from './harness.js';

describe("ZooKeeper source with Dubbo's rules", function () {
  this.timeout(60_000);
  let server: Zookeeper;
  let writer: Writer;
  let reading: Reading;
  /** The interface of the test that runs; each has its own. */
  let name = '';
  let count = 0;

  before(async function () {
    await requireServers(this, 'zookeeper');
    server = await startZookeeper();
    writer = await new Writer(server.port).open();
    reading = new Reading({ servers: [server.connectString], probe: 'off' });
    await reading.is('live');
  });

  after(async () => {
    await reading?.stop();
    await writer?.close();
    await server?.stop();
  });

  beforeEach(async () => {
    name = `shop.Ruled${++count}`;
    for (const host of ['10.0.0.1', '10.0.0.2'])
      await writer.create(urlNode('/dubbo', name, `dubbo://${host}:1/${name}?application=ruled${count}`));
    await reading.sees(name, { '/': ['dubbo://10.0.0.1:1', 'dubbo://10.0.0.2:1'] });
  });

  const weights = () => reading.services(name)[0]?.instances.map(({ weight }) => weight);
  const statuses = () => reading.services(name)[0]?.instances.map(({ status }) => status);
  const notes = (): readonly Note[] => reading.services(name)[0]?.notes ?? [];

  it('obeys an override beside the providers as it comes and goes, and at a new start', async () => {
    const rule = urlNode('/dubbo', name, `override://10.0.0.2:1/${name}?disabled=true&dynamic=false`, 'configurators');
    await writer.create(rule);
    await until('one disabled', () => String(statuses()) === 'UP,disabled');
    expect(notes().map(({ text }) => text)).to.deep.equal(['sets disabled=true at 1 of 2 providers']);
    const late = new Reading({ servers: [server.connectString], probe: 'off' });
    await late.is('live');
    // Not even at the first moment was it without.
    expect(late.changes).to.have.lengthOf(1);
    expect(late.services(name)).to.deep.equal(reading.services(name));
    await late.stop();
    await writer.remove(rule);
    await until('none disabled', () => String(statuses()) === 'UP,UP');
    expect(notes()).to.deep.equal([]);
  });

  it("obeys the config centre's rules for a service as they come, change and go", async () => {
    const path = `/dubbo/config/dubbo/${name}::.configurators`;
    const rule = (weight: number) =>
      `configVersion: v2.7\nscope: service\nkey: ${name}\nenabled: true\nconfigs:\n- addresses: [0.0.0.0]\n  side: consumer\n  parameters: {weight: ${weight}}\n`;
    await writer.create(path, rule(7));
    await until('the weight', () => String(weights()) === '7,7');
    await writer.set(path, rule(9));
    await until('the other weight', () => String(weights()) === '9,9');
    await writer.set(path, 'configs: {');
    await until('the rule to be rejected', () => reading.services(name)[0]?.rejected.length === 1);
    expect(weights()).to.deep.equal([100, 100]);
    await writer.remove(path);
    await until('nothing to be rejected', () => reading.services(name)[0]?.rejected.length === 0);
  });

  it('says which routers there are, and applies none', async () => {
    const route = urlNode('/dubbo', name, `route://0.0.0.0/${name}?rule=host%3D1&router=condition`, 'routers');
    const documents = [`${name}::.condition-router`, `ruled${count}.tag-router`];
    await writer.create(route);
    for (const document of documents) await writer.create(`/dubbo/config/dubbo/${document}`, 'force: true');
    await until('the notes', () => notes().length === 3);
    expect(notes().map(({ record }) => record)).to.include.members(documents);
    for (const { text } of notes()) expect(text).to.match(/^not applied/);
    expect(reading.of(name)).to.deep.equal({ '/': ['dubbo://10.0.0.1:1', 'dubbo://10.0.0.2:1'] });
    await writer.remove(route);
    for (const document of documents) await writer.remove(`/dubbo/config/dubbo/${document}`);
    await until('no notes', () => notes().length === 0);
  });
});
