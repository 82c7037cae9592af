import { type AddressInfo, createServer, type Socket } from 'node:net';
import { expect } from 'chai';

import { pino } from 'pino';
import { writeText, writeTexts } from '#adapters/dubbo/hessian.js';
import { controllerWithin, type NacosClient } from '#adapters/nacos/client.js';
import { decodeService } from '#adapters/nacos/decode.js';
import { DubboServices } from '#adapters/nacos/dubbo.js';
import type { RegistryService, ServiceKey } from '#model/service.js';
import { cause } from '#sources/contract.js';
import { Recorder } from '#test/real/recorder.js';
import { until } from '#test/servers/probes.js';

const why = cause('test');

function key(name: string, namespace = 'public'): ServiceKey {
  return { registry: 'n', namespace, group: 'DEFAULT_GROUP', name, version: '' };
}

function service(name: string, hosts: readonly object[], namespace = 'public'): RegistryService {
  return decodeService(key(name, namespace), { hosts });
}

const provider = (ip: string, more: Record<string, string> = {}) => ({
  ...{ ip, port: 20880, metadata: { interface: 'a.B', protocol: 'dubbo', path: 'a.B', ...more } },
});

const instance = (revision: string, ip = '10.0.0.1') => ({
  ip,
  port: 20880,
  metadata: {
    'dubbo.endpoints': '[{"port":20880,"protocol":"dubbo"}]',
    'dubbo.metadata.revision': revision,
    'dubbo.metadata.storage-type': 'remote',
  },
});

/** What a revision is in the config centre: it provides these interfaces. */
const provides = (...names: string[]) =>
  JSON.stringify({
    services: Object.fromEntries(names.map((name) => [name, { name, protocol: 'dubbo', path: name }])),
  });

/** What a metadata service answers over the dubbo protocol: an object of one field, `services`, with the interface a.D. */
function dubboAnswer(): Buffer {
  const services = Buffer.concat([
    Buffer.from('H'),
    writeText('a.D'),
    writeTexts({ name: 'a.D', protocol: 'dubbo', path: 'a.D' }),
    Buffer.from('Z'),
  ]);
  const body = Buffer.concat([
    Buffer.from([0x91]),
    Buffer.from('H'),
    writeText('services'),
    services,
    Buffer.from('Z'),
  ]);
  const header = Buffer.from('dabb0214000000000000000100000000', 'hex');
  header.writeUInt32BE(body.length, 12);
  return Buffer.concat([header, body]);
}

describe('Dubbo on Nacos', () => {
  let out: Recorder;
  let dubbo: DubboServices;
  let documents: Map<string, string>;
  let lost: Error[];

  beforeEach(() => {
    out = new Recorder();
    documents = new Map();
    lost = [];
    dubbo = new DubboServices(
      {
        registry: 'n',
        includes: (name) => name !== 'not.Wanted',
        log: pino({ level: 'silent' }),
        configGroup: 'dubbo',
      },
      out,
    );
    const configs: NonNullable<NacosClient['configs']> = {
      read: async ({ group, dataId }) => documents.get(`${group}/${dataId}`),
      watch: async (names) => names.filter(({ group, dataId }) => documents.has(`${group}/${dataId}`)),
    };
    dubbo.attach({ configs } as NacosClient, controllerWithin(new AbortController().signal).signal, (reason) =>
      lost.push(reason),
    );
  });

  async function list(...services: RegistryService[]): Promise<void> {
    const { listings } = out;
    const listing = dubbo.listing();
    listing.add(services);
    listing.commit(why);
    await until('listed', () => out.listings > listings, 2_000, 1);
  }

  /** `kind name/group/version` → addresses. */
  const seen = () =>
    Object.fromEntries(
      [...out.services.values()].map(({ kind, key, instances }) => [
        `${kind} ${key.namespace} ${kind === 'dubbo' ? key.group : ''}/${key.name}:${key.version}`,
        instances.map(({ address }) => address).join(),
      ]),
    );

  it('leaves other services as they are', async () => {
    const plain = service('orders', [{ ip: '10.0.0.9', port: 80 }]);
    await list(plain);
    expect([...out.services.values()]).to.deep.equal([plain]);
  });

  it('has one service for each interface, version and group, and namespace', async () => {
    await list(
      service('providers:a.B:1:g', [provider('10.0.0.1', { version: '1', group: 'g' })]),
      service('providers:a.B::', [provider('10.0.0.2')]),
      service('providers:a.B::', [provider('10.0.0.3')], 'other'),
    );
    expect(seen()).to.deep.equal({
      'dubbo public g/a.B:1': '10.0.0.1',
      'dubbo public /a.B:': '10.0.0.2',
      'dubbo other /a.B:': '10.0.0.3',
    });
  });

  it('keeps one version empty beside another', async () => {
    await list(service('providers:a.B:1:', [provider('10.0.0.1', { version: '1' })]), service('providers:a.B:2:', []));
    expect(seen()).to.deep.equal({ 'dubbo public /a.B:1': '10.0.0.1', 'dubbo public /a.B:2': '' });
    dubbo.update([service('providers:a.B:1:', [])], [key('providers:a.B:2:')], why);
    expect(seen()).to.deep.equal({ 'dubbo public /a.B:1': '' });
  });

  it('has an endpoint once that is registered at both levels', async () => {
    documents.set('r1/shop', provides('a.B', 'not.Wanted'));
    await list(service('providers:a.B::', [provider('10.0.0.1')]), service('shop', [instance('r1')]));
    expect(seen()).to.deep.equal({ 'dubbo public /a.B:': '10.0.0.1' });
  });

  it('follows an application whose service was of another kind, and keeps what stands beside it', async () => {
    documents.set('r1/shop', provides('a.B'));
    await list(service('shop', [{ ip: '10.0.0.9', port: 80 }]));
    dubbo.update([service('shop', [{ ip: '10.0.0.9', port: 80 }, instance('r1')])], [], why);
    await until('both', () => Object.keys(seen()).length === 2, 2_000, 1);
    expect(seen()).to.deep.equal({ 'dubbo public /a.B:': '10.0.0.1', 'nacos public /shop:': '10.0.0.9' });
    dubbo.update([service('shop', [instance('r1')])], [], why);
    expect(seen()).to.deep.equal({ 'dubbo public /a.B:': '10.0.0.1' });
    dubbo.update([service('shop', [])], [], why);
    expect(seen()).to.deep.equal({ 'dubbo public /a.B:': '' });
  });

  it('keeps what an application provided while a new revision cannot be had', async () => {
    documents.set('r1/shop', provides('a.B'));
    await list(service('shop', [instance('r1')]));
    dubbo.update([service('shop', [instance('r2', '10.0.0.2')])], [], why);
    await until('the other instance', () => seen()['dubbo public /a.B:'] === '10.0.0.2', 2_000, 1);
  });

  it('shows an instance of which nothing is known as rejected, under the name of its application', async () => {
    await list(service('shop', [instance('r9')]));
    const [shown] = out.services.values();
    expect(shown?.key.name).to.equal('shop');
    expect(shown?.rejected[0]?.reason).to.equal(
      'what it provides is not known: the config centre has no metadata of shop in revision r9',
    );
  });

  it('keeps what cannot be read, and says so', async () => {
    await list(service('providers:a.B:1:', [provider('10.0.0.1', { version: '1' })]));
    const listing = dubbo.listing();
    dubbo.unreadable(key('providers:a.B:1:'), new Error('no answer'));
    listing.commit(why);
    expect(out.listings).to.equal(2);
    expect([...out.unreadables.values()].map(({ message }) => message)).to.deep.equal(['no answer']);
    expect(seen()).to.deep.equal({ 'dubbo public /a.B:1': '10.0.0.1' });
  });

  it('applies rules as they come and go', async () => {
    const name = 'a.B::.configurators';
    await list(service('providers:a.B::', [provider('10.0.0.1')]));
    const weight = () => [...out.services.values()][0]?.instances[0]?.weight;
    expect(weight()).to.equal(100);
    documents.set(`dubbo/${name}`, 'key: a.B\nconfigs: [{side: consumer, parameters: {weight: 5}}]');
    await dubbo.configured({ namespace: 'public', group: 'dubbo', dataId: name });
    expect(weight()).to.equal(5);
    documents.clear();
    await dubbo.configured({ namespace: 'public', group: 'dubbo', dataId: name });
    expect(weight()).to.equal(100);
  });

  it('leaves an unhealthy provider unhealthy, at both levels, when a rule is for it', async () => {
    documents.set('r1/shop', provides('a.B'));
    documents.set('dubbo/a.B::.configurators', 'key: a.B\nconfigs: [{side: consumer, parameters: {timeout: 5}}]');
    const sick = { healthy: false, weight: 2 };
    await list(
      service('providers:a.B::', [{ ...provider('10.0.0.1'), ...sick }]),
      service('shop', [{ ...instance('r1', '10.0.0.2'), ...sick }]),
    );
    const instances = out.instances('a.B');
    expect(instances.map(({ status, weight }) => [status, weight])).to.deep.equal([
      ['unhealthy', 200],
      ['unhealthy', 200],
    ]);
    expect(instances.map(({ metadata }) => metadata.timeout)).to.deep.equal(['5', '5']);
  });

  it("tells an application's rejected records once, with the first of its interfaces", async () => {
    documents.set('r1/shop', provides('a.C', 'a.B'));
    const bad = { ip: 'not an address', port: 1 };
    const rejections = () => [...out.services.values()].map(({ key, rejected }) => [key.name, rejected.length]);
    await list(service('shop', [instance('r1'), bad]));
    expect(rejections()).to.have.deep.members([
      ['a.B', 1],
      ['a.C', 0],
    ]);
    dubbo.update([service('shop', [instance('r1'), bad, { ip: '10.0.0.9', port: 80 }])], [], why);
    expect(rejections()).to.have.deep.members([
      ['shop', 1],
      ['a.B', 0],
      ['a.C', 0],
    ]);
  });

  it('does not wait for long in a listing for (fake) instances that are silent, and shows what they provide when they say it', async function () {
    this.timeout(60_000);
    const silent = new Set<Socket>();
    const server = createServer((socket) => silent.add(socket.on('error', () => undefined)));
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    const { port } = server.address() as AddressInfo;
    const local = (i: number) => {
      const own = instance(`r${i}`, '127.0.0.1');
      const params = JSON.stringify({ protocol: 'dubbo', port: String(port) });
      const endpoints = JSON.stringify([{ port: 20_000 + i, protocol: 'dubbo' }]);
      const metadata = { ...own.metadata, 'dubbo.endpoints': endpoints, 'dubbo.metadata.storage-type': 'local' };
      return { ...own, port: 20_000 + i, metadata: { ...metadata, 'dubbo.metadata-service.url-params': params } };
    };
    documents.set('r1/shop', provides('a.B'));
    const silentOnes = Array.from({ length: 64 }, (_, i) => service(`silent${i}`, [local(i)]));
    try {
      const listing = dubbo.listing();
      listing.add([
        service('orders', [{ ip: '10.0.0.9', port: 80 }]),
        service('shop', [instance('r1')]),
        ...silentOnes,
      ]);
      listing.commit(why);
      // All of them, one after the other, would take 12 s.
      await until('listed', () => out.listings === 1, 9_000, 10);
      expect(seen()).to.include({ 'nacos public /orders:': '10.0.0.9', 'dubbo public /a.B:': '10.0.0.1' });
      expect(out.named('silent63')?.rejected[0]?.reason).to.equal(
        'what it provides is not known: its metadata has not been read yet',
      );
      server.on('connection', (socket) => socket.on('data', () => socket.end(dubboAnswer())));
      await until('the last one', () => out.instances('a.D').some(({ ports }) => ports[0]?.number === 20_063), 10_000);
      expect(out.named('silent63')).to.equal(undefined);
    } finally {
      for (const socket of silent) socket.destroy();
      server.close();
    }
  });

  it('ends the session when a listing cannot be given', async () => {
    const listing = dubbo.listing();
    const broken = service('providers:a.B::', [provider('10.0.0.1')]);
    listing.add([{ ...broken, instances: undefined as never }]);
    listing.commit(why);
    await dubbo.listed;
    expect(out.listings).to.equal(0);
    expect(dubbo.committed).to.equal(false);
    expect(lost).to.have.length(1);
  });

  it('says that the config centre is not asked over HTTP', async () => {
    dubbo.attach({} as NacosClient, new AbortController().signal, (reason) => lost.push(reason));
    await list(service('shop', [instance('r1')]));
    expect(out.named('shop')?.rejected[0]?.reason).to.equal(
      'what it provides is not known: its metadata is in the config centre, which is not asked with "api: http"',
    );
  });
});
