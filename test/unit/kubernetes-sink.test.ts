import { setTimeout as sleep } from 'node:timers/promises';
import { expect } from 'chai';
import type { IstioResource } from '#istio/resource.js';
import { KubeError } from '#kubernetes/kubeclient.js';
import { ServiceEntry_Location, ServiceEntry_Resolution } from '#proto/istio/networking.js';
import { Rate } from '#queue/rate.js';
import { WorkQueue } from '#queue/workqueue.js';
import { Ledger } from '#sinks/kubernetes/ledger.js';
import { isHeldBy, type Manifest, manifests, type Refused, type Seen, seen } from '#sinks/kubernetes/manifest.js';
import { failureOf } from '#sinks/kubernetes/problem.js';
import { until } from '#test/servers/probes.js';

const options = { owner: 'pontoon', fieldManager: 'pontoon', oversized: 'split' } as const;

function entry(endpoints: number, labels: Readonly<Record<string, string>> = {}): IstioResource<'ServiceEntry'> {
  return {
    type: 'ServiceEntry',
    namespace: 'shop',
    name: 'a.test',
    host: 'a.test',
    labels: {},
    body: {
      hosts: ['a.test'],
      addresses: ['240.1.2.3'],
      ports: [{ name: 'http', number: 80, protocol: 'HTTP', targetPort: 0 }],
      location: ServiceEntry_Location.MESH_INTERNAL,
      resolution: ServiceEntry_Resolution.STATIC,
      endpoints: Array.from({ length: endpoints }, (_, index) => ({
        address: `10.0.${index >> 8}.${index & 255}`,
        ports: { http: 8080 },
        labels,
        network: '',
        locality: '',
        weight: 100,
        serviceAccount: '',
      })),
      exportTo: ['*'],
      subjectAltNames: [],
    },
  };
}

const isManifest = (one: Manifest | Refused): one is Manifest => 'body' in one;
const made = (resource: IstioResource<'ServiceEntry'>) => manifests(resource, ['r'], options).filter(isManifest);
const endpointsOf = ({ body }: Manifest) =>
  (body as { readonly spec: { readonly endpoints: readonly { readonly address: string }[] } }).spec.endpoints;

/** As the API server tells of it. */
function told(manifest: Manifest, more: object = {}): object {
  const { metadata, ...body } = manifest.body as { readonly metadata: object };
  return JSON.parse(JSON.stringify({ ...body, metadata: { ...metadata, uid: 'u', resourceVersion: '1', ...more } }));
}

describe('Kubernetes sink: manifests', () => {
  it('know themselves again when the API server tells of them, whatever others add', () => {
    const [manifest] = made(entry(3));
    const object = told(manifest as Manifest) as {
      spec: { endpoints: unknown[] };
      metadata: { labels: Record<string, string> };
    };
    expect(seen(object, options)).to.include({ hash: manifest?.hash, isOurs: true, host: 'a.test' });
    object.metadata.labels = { ...object.metadata.labels, team: 'shop' };
    expect(seen(object, options).hash).to.equal(manifest?.hash);
    object.spec.endpoints.pop();
    expect(seen(object, options).hash).to.not.equal(manifest?.hash);
  });

  it('are ours by owner and manager, both of them', () => {
    const [manifest] = made(entry(1));
    for (const other of [{ owner: 'another' }, { fieldManager: 'another' }])
      expect(seen(told(manifest as Manifest), { ...options, ...other }).isOurs).to.equal(false);
  });

  it('of a big entry hold each endpoint once, at most 4,096 in one, and nothing else differs', () => {
    const parts = made(entry(9_000));
    expect(parts).to.have.length(4);
    const addresses = parts.flatMap((part) => endpointsOf(part).map(({ address }) => address));
    expect(new Set(addresses).size).to.equal(9_000);
    expect(addresses).to.have.length(9_000);
    const rest = parts.map(({ body }) => {
      const { spec, metadata } = body as { spec: object; metadata: { labels: object } };
      return JSON.stringify([{ ...spec, endpoints: [] }, metadata.labels]);
    });
    expect(new Set(rest).size).to.equal(1);
  });

  it('leave an endpoint in its object while others come and go', () => {
    const place = (count: number) => made(entry(count)).find((part) => endpointsOf(part)[0]?.address === '10.0.0.0');
    expect(place(5_000)?.name).to.equal(place(5_100)?.name);
  });

  it('are split by their bytes, too', () => {
    const parts = made(entry(2_000, { note: 'x'.repeat(63), remark: 'y'.repeat(63), word: 'z'.repeat(630) }));
    expect(parts).to.have.length(2);
    for (const { size } of parts) expect(size).to.be.below(1_300_000);
  });

  it('stay as many while a service is about as big as one object holds', () => {
    const counts = (endpoints: number, ids: readonly string[]) => {
      const now = manifests(entry(endpoints), ['r'], options, ids).filter(isManifest);
      return now.map(({ id }) => id);
    };
    const whole = counts(4_096, []);
    expect(whole).to.deep.equal(['shop/a.test']);
    const two = counts(4_097, whole);
    expect(two).to.have.length(2);
    expect(counts(4_096, two)).to.deep.equal(two);
    expect(counts(3_700, two)).to.deep.equal(two);
    expect(counts(3_600, two)).to.deep.equal(whole);
    expect(counts(3_700, whole)).to.deep.equal(whole);
    const four = counts(9_000, two);
    expect(four).to.have.length(4);
    expect(counts(7_900, four)).to.deep.equal(four);
    expect(counts(7_900, two)).to.deep.equal(two);
  });

  it('hold an entry as one, or in all of its parts', () => {
    const [first = '', second = ''] = made(entry(5_000)).map(({ id }) => id);
    expect(isHeldBy('shop/a.test', ['shop/a.test'])).to.equal(true);
    expect(isHeldBy('shop/a.test', [first])).to.equal(false);
    expect(isHeldBy('shop/a.test', [first, second])).to.equal(true);
    expect(isHeldBy('shop/a.test', ['shop/b.test', `${first}x`, second])).to.equal(false);
  });

  it('are about the host that they were written for, whatever somebody makes of it', () => {
    const object = told(made(entry(1))[0] as Manifest) as { spec: { hosts: string[] }; metadata: object };
    expect(seen(object, options)).to.include({ host: 'a.test', isMoved: false });
    object.spec.hosts = ['b.test'];
    expect(seen(object, options)).to.include({ host: 'a.test', isMoved: true });
    expect(seen(object, { ...options, owner: 'another' })).to.include({ host: 'b.test', isMoved: false });
  });

  it('differ by their alternative names', () => {
    const resource = entry(1);
    const [plain] = made(resource);
    const [named] = made({
      ...resource,
      body: { ...resource.body, subjectAltNames: ['spiffe://cluster.local/ns/a/sa/b'] },
    });
    expect(named?.hash).to.not.equal(plain?.hash);
    expect(seen(told(named as Manifest), options).hash).to.equal(named?.hash);
    const object = told(named as Manifest) as { spec: { subjectAltNames?: string[] }; metadata: object };
    delete object.spec.subjectAltNames;
    expect(seen(object, options).hash).to.equal(plain?.hash);
  });

  it('are refused with what to do, if they are not to be split', () => {
    const [refused] = manifests(entry(4_097), ['r'], { ...options, oversized: 'refuse' });
    expect(refused).to.have.property('reason').that.includes('4097 endpoints').and.includes('oversized: split');
    expect(manifests(entry(4_096), ['r'], { ...options, oversized: 'refuse' }).every(isManifest)).to.equal(true);
  });
});

describe('Kubernetes sink: ledger', () => {
  const object = (name: string, version: number, more: Partial<Seen> = {}): Seen => ({
    id: `shop/${name}`,
    host: name,
    isMoved: false,
    uid: name,
    resourceVersion: String(version),
    isOurs: true,
    manager: '',
    hash: '',
    ...more,
  });

  it('takes no older news of an object, and no end of one whose name another has', () => {
    const ledger = new Ledger();
    expect(ledger.put(object('a', 10))).to.equal(true);
    expect(ledger.put(object('a', 9))).to.equal(false);
    expect(ledger.put(object('a', 10))).to.equal(false);
    expect(ledger.put(object('a', 8, { uid: 'new' }))).to.equal(true);
    expect(ledger.drop(object('a', 11))).to.equal(false);
    expect(ledger.drop(object('a', 11, { uid: 'new' }))).to.equal(true);
    expect(ledger.counts()).to.deep.equal({ ours: 0, others: 0 });
  });

  it('believes a listing but for what was heard of meanwhile', () => {
    const ledger = new Ledger();
    for (const name of ['same', 'gone', 'changed', 'written']) ledger.put(object(name, 1));
    ledger.begin();
    ledger.put(object('written', 5));
    ledger.put(object('new', 6));
    for (const name of ['same', 'written']) ledger.listed(object(name, 1));
    ledger.listed(object('changed', 4));
    expect([...ledger.end()].sort()).to.deep.equal(['changed', 'gone']);
    expect(ledger.get('shop/written')?.resourceVersion).to.equal('5');
    expect(ledger.hosts().sort()).to.deep.equal(['changed', 'new', 'same', 'written']);
  });
});

describe('Kubernetes sink: queue and rate', () => {
  it('does what changes again once more, and never twice at a time', async () => {
    let running = 0;
    const done: string[] = [];
    const queue = new WorkQueue(async (key) => {
      expect(++running).to.be.at.most(2);
      await sleep(5);
      running--;
      done.push(key);
    }, 2);
    for (const key of ['a', 'b', 'c', 'a', 'a']) queue.add(key);
    queue.open();
    queue.add('a');
    await until('the first is done', () => done.length > 0);
    queue.add('a');
    await until('all is done', () => queue.size === 0);
    expect(done.filter((key) => key === 'a').length).to.be.within(2, 3);
    expect(done.filter((key) => key !== 'a').sort()).to.deep.equal(['b', 'c']);
    await queue.close();
  });

  it('does what was added while its worker looked elsewhere', async () => {
    const done: string[] = [];
    const queue = new WorkQueue(async (key) => {
      // In the moment in which the pump waits for the loop.
      if (key === 'a') setImmediate(() => queue.add('b'));
      if (key === 'b') setImmediate(() => queue.add('a2'));
      done.push(key);
    }, 1);
    queue.open();
    for (let round = 0; round < 200; round++) {
      done.length = 0;
      queue.add('a');
      await until('all three', () => done.length === 3, 10_000, 0);
      expect(done).to.deep.equal(['a', 'b', 'a2']);
    }
    await queue.close();
  });

  it('begins nothing while it is paused, and forgets nothing', async () => {
    const done: string[] = [];
    const queue = new WorkQueue(async (key) => void done.push(key), 2);
    queue.open();
    queue.pause();
    queue.add('a');
    await sleep(20);
    expect(done).to.deep.equal([]);
    queue.open();
    await until('it goes on', () => done.length === 1);
    await queue.close();
  });

  it('rests when told to', async () => {
    const done: string[] = [];
    const queue = new WorkQueue(async (key) => void done.push(key), 2);
    queue.rest(60_000);
    queue.open();
    queue.add('a');
    await sleep(20);
    expect(done).to.deep.equal([]);
    queue.rest(1);
    await until('it goes on', () => done.length === 1);
    await queue.close();
  });

  it('lets no more through than its rate and a few at once', async () => {
    const rate = new Rate(100);
    const begun = performance.now();
    for (let index = 0; index < 40; index++) await rate.turn(new AbortController().signal);
    expect(performance.now() - begun).to.be.at.least(190);
  });
});

describe('Kubernetes sink: failures', () => {
  it('are told apart by what helps', () => {
    const kinds = [undefined, 401, 429, 503, 500, 409, 403, 404, 413, 422].map((status) => {
      const { kind, isServer } = failureOf(new KubeError('x', status));
      return `${status ?? 'none'} ${kind}${isServer ? ', all wait' : ''}`;
    });
    expect(kinds).to.deep.equal([
      'none failed, all wait',
      '401 failed, all wait',
      '429 failed, all wait',
      '503 failed, all wait',
      '500 failed',
      '409 failed',
      '403 refused',
      '404 refused',
      '413 refused',
      '422 refused',
    ]);
    expect(failureOf(new KubeError('x', 429, { retryAfter: 3_000 })).retryAfter).to.equal(3_000);
  });
});
