import { expect } from 'chai';
import { Sidecar } from '#test/e2e/sidecar.js';
import { type Istiod, startIstiod } from '#test/servers/istiod.js';
import { until } from '#test/servers/probes.js';
import { serverFolder } from '#test/servers/process.js';
import { requireServers } from '#test/servers/require.js';
import { Wire } from '#test/servers/wire.js';
import { Cluster, type Entry } from './cluster.js';
import { Replica, type Services, ServicesFile } from './replica.js';

/** Of a fresh field manager for each test, so that none sees another's objects. */
describe('Kubernetes sink', () => {
  let cluster: Cluster;
  let istiod: Istiod | undefined;
  let sidecar: Sidecar | undefined;
  let running: Replica[] = [];
  let count = 0;

  before(async function () {
    await requireServers(this, 'etcd', 'kube-apiserver', 'istio-crds', 'istiod');
    this.timeout(120_000);
    cluster = await Cluster.start('shop', 'istio-system');
    istiod = await startIstiod({
      kubeconfig: cluster.api.kubeconfig(),
      // As it is by default: it must leave alone what has addresses.
      env: { PILOT_ENABLE_IP_AUTOALLOCATE: 'true' },
    });
    sidecar = new Sidecar(istiod.xdsAddress);
  });
  after(async () => {
    sidecar?.close();
    await istiod?.stop();
    await cluster?.api.stop();
  });
  beforeEach(() => {
    count++;
  });
  afterEach(async () => {
    await Promise.all(running.map((replica) => replica.kill()));
    running = [];
    for (const id of (await cluster.entries()).keys()) await cluster.delete(id);
  });

  const start = async (services: ServicesFile, more: object = {}, config: object = {}): Promise<Replica> => {
    const keys = { kubeconfig: cluster.kubeconfig(), fieldManager: `pontoon-${count}`, rate: 1_000, ...more };
    const replica = await Replica.start(services, keys, config);
    running.push(replica);
    return replica;
  };
  const names = (prefix: string, number: number): Services =>
    Object.fromEntries(Array.from({ length: number }, (_, index) => [`${prefix}${index}.test`, ['10.1.0.1:8080']]));

  it('writes objects that a sidecar gets from istiod, follows changes, and deletes what is gone after its grace', async () => {
    const services = new ServicesFile({ 'a.test': ['10.0.0.1:8080'], 'b.test': ['10.0.0.2:8080'] });
    const replica = await start(services);
    await replica.settled(2);
    const entry = (await cluster.entries()).get('pontoon/a.test');
    expect(entry?.metadata.labels).to.include({
      'app.kubernetes.io/managed-by': `pontoon-${count}`,
      'pontoon.io/owner': 'pontoon',
    });
    expect(entry?.metadata.annotations).to.include({ 'pontoon.io/registries': 'services' });
    expect(entry?.metadata.managedFields?.map(({ manager, operation }) => [manager, operation])).to.deep.include([
      `pontoon-${count}`,
      'Apply',
    ]);
    await sidecar?.has('a.test', 80, ['10.0.0.1:8080']);
    services.write({ 'a.test': ['10.0.0.1:8080', '10.0.0.9:8080'], 'b.test': ['10.0.0.2:8080'] });
    await sidecar?.has('a.test', 80, ['10.0.0.1:8080', '10.0.0.9:8080']);
    const { requests } = await replica.settled(2);
    services.write({ 'a.test': ['10.0.0.1:8080', '10.0.0.9:8080'] });
    // Emptied at once, deleted later.
    await cluster.has('pontoon/b.test', []);
    await cluster.has('pontoon/b.test', undefined);
    await until(
      'b.test gone from istiod',
      async () => (await istiod?.configz())?.every((entry) => (entry as Entry).metadata.name !== 'b.test') ?? false,
    );
    expect((await replica.settled(1)).requests - requests, 'requests for two writes').to.be.at.most(4);
  });

  it("keeps our virtual addresses although istiod's own allocation is on", async () => {
    const replica = await start(new ServicesFile({ 'vip.test': ['10.0.0.1:8080'] }));
    await replica.settled(1);
    await sidecar?.has('vip.test', 80, ['10.0.0.1:8080']);
    // One without addresses shows that the allocation is at work, and has passed ours.
    await cluster.applyAs('hand', 'pontoon/auto.test', {
      spec: { hosts: ['auto.test'], ports: [{ name: 'http', number: 80, protocol: 'HTTP' }], resolution: 'DNS' },
    });
    const statusOf = async () => JSON.stringify((await cluster.entries()).get('pontoon/auto.test')?.status ?? {});
    await until('an address allocated', async () => (await statusOf()).includes('addresses'));
    const entry = (await cluster.entries()).get('pontoon/vip.test');
    expect(entry?.spec.addresses).to.have.length(1);
    expect(entry?.spec.addresses?.[0]).to.match(/^24\d|^25[0-4]/);
    expect(entry?.status ?? {}).to.not.have.property('addresses');
    expect((await replica.status()).written).to.equal(1);
  });

  it('repairs what somebody deleted or emptied by hand', async () => {
    const replica = await start(new ServicesFile({ 'a.test': ['10.0.0.1:8080'] }));
    await replica.settled(1);
    await cluster.delete('pontoon/a.test');
    await cluster.has('pontoon/a.test', ['10.0.0.1']);
    await cluster.api.ask(
      'PATCH',
      '/apis/networking.istio.io/v1/namespaces/pontoon/serviceentries/a.test?fieldManager=hand',
      { spec: { endpoints: null } },
      'application/merge-patch+json',
    );
    await cluster.has('pontoon/a.test', ['10.0.0.1']);
  });

  it('leaves alone what is not its own, says whose it is, and writes once it is gone', async () => {
    const foreign = {
      metadata: { labels: { 'app.kubernetes.io/managed-by': 'helm' } },
      // With addresses: istiod allocates it none, and does not write it.
      spec: {
        hosts: ['a.test'],
        addresses: ['10.9.0.1'],
        ports: [{ name: 'http', number: 80, protocol: 'HTTP' }],
        resolution: 'DNS',
      },
    };
    await cluster.applyAs('helm', 'pontoon/a.test', foreign);
    await cluster.applyAs('kubectl', 'pontoon/mine.test', { spec: { ...foreign.spec, hosts: ['mine.test'] } });
    const before = await cluster.versions();
    const replica = await start(new ServicesFile({ 'a.test': ['10.0.0.1:8080'] }));
    const { problems, others } = await replica.settled(0);
    expect(others).to.equal(2);
    expect(problems.map(({ object, kind }) => [object, kind])).to.deep.equal([['pontoon/a.test', 'foreign']]);
    expect(problems[0]?.reason).to.include('helm');
    expect(await cluster.versions()).to.equal(before);
    await cluster.delete('pontoon/a.test');
    await cluster.has('pontoon/a.test', ['10.0.0.1']);
    expect((await replica.settled(1)).problems).to.deep.equal([]);
    expect((await cluster.entries()).has('pontoon/mine.test')).to.equal(true);
  });

  it('gives an object its hosts back, and leaves it the object that it was', async () => {
    const replica = await start(new ServicesFile({ 'a.test': ['10.0.0.1:8080'] }));
    await replica.settled(1);
    const before = (await cluster.entries()).get('pontoon/a.test');
    const path = '/apis/networking.istio.io/v1/namespaces/pontoon/serviceentries/a.test?fieldManager=hand';
    await cluster.api.ask('PATCH', path, { spec: { hosts: ['b.test'] } }, 'application/merge-patch+json');
    const hosts = async () => (await cluster.entries()).get('pontoon/a.test')?.spec.hosts.join();
    await until('its own hosts', async () => (await hosts()) === 'a.test');
    expect((await cluster.entries()).get('pontoon/a.test')?.metadata.uid).to.equal(before?.metadata.uid);
    const { problems, deleted } = await replica.settled(1);
    expect(problems).to.deep.equal([]);
    expect(deleted).to.equal(0);
  });

  it('shows a service over xDS until its object is there', async () => {
    const services = new ServicesFile({ 'a.test': ['10.0.0.1:8080'], 'b.test': ['10.0.0.2:8080'] });
    await cluster.applyAs('helm', 'pontoon/a.test', {
      spec: { hosts: ['a.test'], ports: [{ name: 'http', number: 80, protocol: 'HTTP' }], resolution: 'DNS' },
    });
    const replica = await start(services);
    const { problems, uncovered } = await replica.settled(1);
    expect(problems.map(({ object, kind }) => [object, kind])).to.deep.equal([['pontoon/a.test', 'foreign']]);
    expect(uncovered).to.equal(1);
    // The one without an object, once the other one's has settled.
    await until('one over xDS', async () => (await replica.onXds()) === 1);
    await cluster.delete('pontoon/a.test');
    await cluster.has('pontoon/a.test', ['10.0.0.1']);
    await until('none over xDS', async () => (await replica.onXds()) === 0);
    await replica.kill();
    // A restart shows over xDS nothing that has its object.
    const again = await start(services);
    await again.settled(2);
    expect(await again.onXds()).to.equal(0);
  });

  it('takes over nothing that came while it could not hear of it', async () => {
    const services = new ServicesFile({ 'a.test': ['10.0.0.1:8080'] });
    const wire = await Wire.open(cluster.api.port);
    try {
      const replica = await start(services, { kubeconfig: cluster.kubeconfig(wire.port) });
      await replica.settled(1);
      wire.cut();
      await until('it says so', async () => (await replica.status()).error !== undefined);
      await cluster.applyAs('helm', 'pontoon/b.test', {
        spec: { hosts: ['b.test'], ports: [{ name: 'http', number: 80, protocol: 'HTTP' }], resolution: 'DNS' },
      });
      services.write({ 'a.test': ['10.0.0.1:8080'], 'b.test': ['10.0.0.2:8080'] });
      await until('it waits', async () => (await replica.status()).pending > 0);
      wire.mend();
      await until('it goes on', async () => (await replica.status()).error === undefined);
      const { problems } = await replica.settled(1);
      expect(problems.map(({ object, kind }) => [object, kind])).to.deep.equal([['pontoon/b.test', 'foreign']]);
      const managers = (await cluster.entries())
        .get('pontoon/b.test')
        ?.metadata.managedFields?.map(({ manager }) => manager);
      expect(managers).to.include('helm').and.not.include(`pontoon-${count}`);
    } finally {
      await wire.close();
    }
  });

  it('goes on in another version when the one that it has is served no more', async function () {
    this.timeout(120_000);
    const services = new ServicesFile({ 'a.test': ['10.0.0.1:8080'] });
    const replica = await start(services);
    expect((await replica.settled(1)).apiVersion).to.equal('networking.istio.io/v1');
    await cluster.serve('v1', false);
    try {
      services.write({ 'a.test': ['10.0.0.2:8080'] });
      await until('written', async () => (await replica.status()).written === 2);
      expect((await replica.status()).apiVersion).to.equal('networking.istio.io/v1beta1');
    } finally {
      await cluster.serve('v1', true);
    }
    await cluster.has('pontoon/a.test', ['10.0.0.2']);
  });

  it('does not touch the objects of another owner, whose fields have the same name', async () => {
    const one = await start(new ServicesFile({ 'a.test': ['10.0.0.1:8080'] }));
    await one.settled(1);
    const before = await cluster.versions();
    const two = await start(new ServicesFile({ 'a.test': ['10.0.0.2:8080'] }), {}, { state: { owner: 'cloud-b' } });
    const { problems } = await two.settled(0);
    expect(problems[0]?.reason).to.include(`pontoon-${count} of pontoon`);
    await one.settled(1);
    expect(await cluster.versions()).to.equal(before);
  });

  it('does not touch the objects of another Pontoon', async () => {
    const one = await start(new ServicesFile({ 'a.test': ['10.0.0.1:8080'] }));
    await one.settled(1);
    const before = await cluster.versions();
    const two = await start(new ServicesFile({ 'a.test': ['10.0.0.2:8080'] }), { fieldManager: 'another' });
    const { problems } = await two.settled(0);
    expect(problems[0]?.reason).to.include(`pontoon-${count}`);
    expect(await cluster.versions()).to.equal(before);
  });

  it('shows fields that another manager holds, and forces nothing', async () => {
    const services = new ServicesFile({ 'a.test': ['10.0.0.1:8080'], 'b.test': ['10.0.0.1:8080'] });
    const replica = await start(services);
    await replica.settled(2);
    await cluster.applyAs('gitops', 'pontoon/a.test', {
      spec: { hosts: ['a.test'], endpoints: [{ address: '10.9.9.9' }] },
    });
    services.write({ 'a.test': ['10.0.0.3:8080'], 'b.test': ['10.0.0.3:8080'] });
    await cluster.has('pontoon/b.test', ['10.0.0.3']);
    const { problems } = await replica.settled(2);
    expect(problems.map(({ object, kind }) => [object, kind])).to.deep.equal([['pontoon/a.test', 'conflict']]);
    expect(problems[0]?.reason).to.include('.spec.endpoints').and.include('gitops');
    await cluster.has('pontoon/a.test', ['10.9.9.9']);
    // As the message says.
    await cluster.delete('pontoon/a.test');
    await cluster.has('pontoon/a.test', ['10.0.0.3']);
  });

  it('writes nothing after a crash when nothing has changed, and deletes only once all registries are read', async () => {
    const services = new ServicesFile(names('s', 50));
    const first = await start(services);
    await first.settled(50);
    await first.kill();
    const before = await cluster.versions();
    services.write(names('s', 49));
    const late = new ServicesFile();
    const second = await start(
      services,
      {},
      { registries: [{ name: 'late', type: 'file', path: late.path, required: false }] },
    );
    const kept = await second.settled(50);
    expect(kept.problems.map(({ object, kind }) => [object, kind])).to.deep.equal([['pontoon/s49.test', 'kept']]);
    expect([kept.written, kept.deleted]).to.deep.equal([0, 0]);
    expect(await cluster.versions()).to.equal(before);
    late.write({ 'other.test': ['10.0.0.1:80'] });
    await cluster.has('pontoon/s49.test', undefined);
    const { written, deleted } = await second.settled(50);
    expect([written, deleted]).to.deep.equal([1, 1]);
  });

  it('moves an object to another namespace without a gap, and says which namespace is missing', async () => {
    const services = new ServicesFile({ 'a.test': ['10.0.0.1:8080'] });
    const first = await start(services);
    await first.settled(1);
    await first.kill();
    const second = await start(services, {}, { istio: { namespace: 'nowhere' } });
    const { problems } = await second.settled(1);
    expect(problems.map(({ object, kind }) => [object, kind])).to.deep.equal([['nowhere/a.test', 'refused']]);
    expect(problems[0]?.reason).to.include('namespaces "nowhere" not found').and.include('create that namespace');
    // What was there serves on.
    await cluster.has('pontoon/a.test', ['10.0.0.1']);
    await second.kill();
    const third = await start(services, {}, { istio: { namespace: 'shop' } });
    await third.settled(1);
    expect([...(await cluster.entries()).keys()]).to.deep.equal(['shop/a.test']);
  });

  it('spreads more than 4,096 endpoints over objects that istiod joins, or refuses them', async function () {
    this.timeout(180_000);
    const addresses = Array.from({ length: 5_000 }, (_, index) => `10.7.${index >> 8}.${index & 255}:8080`);
    const services = new ServicesFile({ 'big.test': addresses.slice(0, 100) });
    const replica = await start(services);
    await replica.settled(1);
    services.write({ 'big.test': addresses });
    await replica.settled(2);
    const entries = [...(await cluster.entries()).values()];
    expect(entries.map(({ metadata }) => metadata.name.replace(/-[0-9a-f]{8}$/, ''))).to.deep.equal([
      'big.test.part-1-of-2',
      'big.test.part-2-of-2',
    ]);
    await until('all at the sidecar', () => sidecar?.endpoints('big.test', 80)?.length === 5_000, 60_000);
    await replica.kill();
    const refusing = await start(services, { oversized: 'refuse' });
    const { problems, objects } = await refusing.settled();
    expect(problems[0]?.reason).to.include('5000 endpoints').and.include('oversized: split');
    expect(objects, 'what was there serves on').to.equal(2);
  });

  it('writes no faster than its rate, and the newest when it comes to it', async () => {
    const services = new ServicesFile(names('r', 100));
    const start0 = performance.now();
    const replica = await start(services, { rate: 40 });
    await until('some are written', async () => (await replica.status()).written > 20);
    services.write(Object.fromEntries(Object.keys(names('r', 100)).map((name) => [name, ['10.2.0.2:8080']])));
    await replica.settled(100);
    const seconds = (performance.now() - start0) / 1_000;
    await cluster.has('pontoon/r99.test', ['10.2.0.2']);
    const { written } = await replica.settled(100);
    expect(written / (seconds + 0.3), 'writes per second').to.be.at.most(42);
    // Those that waited were written once, with the newest content.
    expect(written).to.be.below(200);
  });

  it('goes on when the API server comes back', async function () {
    this.timeout(120_000);
    const services = new ServicesFile({ 'a.test': ['10.0.0.1:8080'] });
    const replica = await start(services);
    await replica.settled(1);
    await cluster.api.kill();
    services.write({ 'a.test': ['10.0.0.2:8080'] });
    await until('it says so', async () => (await replica.status()).error !== undefined);
    await cluster.api.start();
    await cluster.has('pontoon/a.test', ['10.0.0.2']);
    await until('all is well', async () => (await replica.status()).error === undefined);
  });

  it('has one writer among replicas, and another when that crashes', async () => {
    const coordination = { type: 'file', directory: serverFolder('election') };
    const services = new ServicesFile({ 'a.test': ['10.0.0.1:8080'] });
    const replicas = await Promise.all([1, 2].map(() => start(services, {}, { coordination })));
    await cluster.has('pontoon/a.test', ['10.0.0.1']);
    const statuses = await Promise.all(replicas.map((replica) => replica.status()));
    expect(statuses.map(({ written }) => written).sort()).to.deep.equal([0, 1]);
    const leading = statuses.findIndex(({ written }) => written === 1);
    const [leader, other] = leading === 0 ? replicas : replicas.toReversed();
    const before = await cluster.versions();
    await leader?.kill();
    const taken = await other?.settled(1);
    expect(taken?.written).to.equal(0);
    expect(await cluster.versions()).to.equal(before);
    services.write({ 'a.test': ['10.0.0.2:8080'] });
    await cluster.has('pontoon/a.test', ['10.0.0.2']);
  });
});
