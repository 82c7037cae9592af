import { expect } from 'chai';
import zookeeper from 'node-zookeeper-client';
import type { RejectedRecord } from '#admin/report.js';
import { type Consul, startConsul } from '#test/servers/consul.js';
import { type Pontoon, startPontoon } from '#test/servers/pontoon.js';
import { until } from '#test/servers/probes.js';
import { requireServers } from '#test/servers/require.js';
import { startZookeeper, type Zookeeper } from '#test/servers/zookeeper.js';
import { registerInConsul } from './world.js';

const good = 'dubbo://10.0.0.1:20880/com.acme.Good?interface=com.acme.Good&timestamp=1';

/** What somebody wrote under one interface, and why it cannot be used. */
const malformed: [string, RegExp][] = [
  ['not a url', /not a|URL/i],
  ['dubbo://10.0.0.2/com.acme.Good?interface=com.acme.Good', /port/],
  ['dubbo://10.0.0.2:0/com.acme.Good?interface=com.acme.Good', /port/],
  ['dubbo://10.0.0.2:70000/com.acme.Good?interface=com.acme.Good', /port/],
  ['dubbo://:20880/com.acme.Good?interface=com.acme.Good', /address|URL|host/i],
  ['dubbo://0.0.0.0:20880/com.acme.Good?interface=com.acme.Good', /unspecified/],
  ['dubbo://under_score:20880/com.acme.Good?interface=com.acme.Good', /neither an IP address nor a DNS name/],
];

describe('bad input: the record is rejected with its reason, and all else goes on', function () {
  this.timeout(60_000);
  let zk: Zookeeper;
  let consul: Consul;
  let pontoon: Pontoon;

  before(async function () {
    await requireServers(this, 'zookeeper', 'consul');
    this.timeout(120_000);
    zk = await startZookeeper();
    consul = await startConsul();
    await writeNodes(zk.connectString, [
      good,
      'dubbo://[2001:db8::7]:20880/com.acme.Good?interface=com.acme.Good',
      'dubbo://provider.example:20880/com.acme.Good?interface=com.acme.Good',
      // A second record for an address and port: the newer one counts.
      `${good}&timestamp=2`.replace('timestamp=1&', ''),
      `dubbo://10.0.0.3:20880/com.acme.Good?interface=com.acme.Good&huge=${'x'.repeat(10_000)}`,
      ...malformed.map(([url]) => url),
    ]);
    const service = (id: string, more: object) =>
      registerInConsul(consul, { ID: id, Name: 'web', Address: '10.0.0.1', Port: 80, ...more });
    await service('fine', {});
    await service('no-port', { Port: 0 });
    await service('odd-address', { Address: 'not an address' });
    await service('huge', { Address: '10.0.0.2', Meta: { note: 'x'.repeat(500) } });
    await registerInConsul(consul, { ID: 'named', Name: 'web_app:v1', Address: '10.0.0.1', Port: 81 });
    await registerInConsul(consul, { ID: 'nameless', Name: '___', Address: '10.0.0.1', Port: 82 });
    pontoon = await startPontoon({
      registries: [
        { name: 'zk', type: 'zookeeper', servers: [zk.connectString] },
        { name: 'consul', type: 'consul', servers: [consul.url], host: '{{ service.name }}' },
      ],
    });
    await until('that all is read', async () => (await pontoon.registries()).every(({ state }) => state === 'live'));
  });
  after(() => Promise.all([pontoon, zk, consul].map((server) => server?.stop())));

  const rejected = async (registry: string) =>
    (await pontoon.get(`/api/v1/registries/${registry}/rejected`)) as RejectedRecord[];

  it('ZooKeeper: malformed nodes are listed with their reasons, the others are endpoints', async () => {
    const records = await rejected('zk');
    for (const [url, reason] of malformed)
      expect(records.find(({ record }) => decodeURIComponent(record) === url.split('?')[0])?.reason, url).to.match(
        reason,
      );
    expect(records, JSON.stringify(records, undefined, 1)).to.have.length(malformed.length);
    const { endpoints, unused } = await pontoon.service('com.acme.good.dubbo');
    expect(endpoints.map(({ address }) => address)).to.deep.equal([
      '10.0.0.1',
      '10.0.0.3',
      '2001:db8::7',
      'provider.example',
    ]);
    expect(unused.map(({ reason }) => reason)).to.deep.equal([
      'metadata huge (10000 characters) can be no label: a label has at most 63',
    ]);
  });

  it('Consul: bad registrations are listed with their reasons, the others are endpoints', async () => {
    const records = await rejected('consul');
    expect(records.map(({ reason }) => reason).join('\n'))
      .to.match(/port 0/)
      .and.match(/not an address/)
      .and.match(/no character that a host name can hold/);
    expect((await pontoon.service('web')).endpoints.map(({ address }) => address)).to.deep.equal([
      '10.0.0.1',
      '10.0.0.2',
    ]);
    expect((await pontoon.service('web-app-v1')).endpoints).to.have.length(1);
  });

  it('counts them under their registry', async () => {
    const reports = await pontoon.registries();
    expect(reports.map(({ registry, rejected: count }) => [registry, count])).to.deep.equal([
      ['zk', malformed.length],
      ['consul', 3],
    ]);
    const metrics = await (await fetch(`${pontoon.url}/metrics`)).text();
    expect(metrics).to.include(`pontoon_source_rejected_records{registry="zk",type="zookeeper"} ${malformed.length}`);
    const page = await (await fetch(pontoon.url)).text();
    expect(page).to.include('port 0');
  });
});

async function writeNodes(connectString: string, urls: readonly string[]): Promise<void> {
  const client = zookeeper.createClient(connectString);
  await new Promise<void>((resolve) => {
    client.once('connected', () => resolve());
    client.connect();
  });
  for (const url of urls)
    await new Promise<void>((resolve, reject) =>
      client.mkdirp(`/dubbo/com.acme.Good/providers/${encodeURIComponent(url)}`, (error) =>
        error ? reject(error) : resolve(),
      ),
    );
  client.close();
}
