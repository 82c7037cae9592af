import { execFile } from 'node:child_process';
import { mkdtempSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { expect } from 'chai';
import { parse, stringify } from 'yaml';
import type { PublicationsReport } from '#admin/publications.js';
import type { Entry } from '#journal/entry.js';
import { startKubeApi } from '#test/servers/kubeapi.js';
import { KubeWriter } from '#test/servers/kubewriter.js';
import { type Nacos, startNacos } from '#test/servers/nacos.js';
import { type Pontoon, startPontoon } from '#test/servers/pontoon.js';
import { until } from '#test/servers/probes.js';
import { requireServers } from '#test/servers/require.js';
import { Wire } from '#test/servers/wire.js';
import { listed, registerSelf } from './nacosentries.js';
import { Ring } from './ring.js';

const cli = fileURLToPath(new URL('../../src/cli/pontoon.js', import.meta.url));
const churnMs = 60_000;

describe('publications: what stands in a file stands in a real Nacos', function () {
  this.timeout(180_000);
  const folder = mkdtempSync(join(tmpdir(), 'pontoon-publish-'));
  const path = (name: string) => join(folder, name);
  const running: Pontoon[] = [];
  let nacos: Nacos;

  before(async function () {
    await requireServers(this, 'nacos2', 'etcd', 'kube-apiserver');
    nacos = await startNacos();
  });
  afterEach(async () => {
    await Promise.all(running.splice(0).map((pontoon) => pontoon.kill()));
  });
  after(async () => {
    await nacos?.stop();
    rmSync(folder, { recursive: true });
  });

  /** Services with so many instances each, on addresses of their own. */
  function write(file: string, counts: Readonly<Record<string, number>>, weight = 1): void {
    const services = Object.entries(counts).map(([name, count], net) => ({
      name,
      instances: Array.from({ length: count }, (_, index) => ({
        address: `10.1.${net}.${index + 1}`,
        port: 80,
        weight,
      })),
    }));
    writeFileSync(path(`${file}.new`), stringify({ services }));
    renameSync(path(`${file}.new`), path(file));
  }

  /** Each test has a group of its own. */
  const config = (group: string, more: object = {}, server = nacos.address) => ({
    registries: [
      { name: 'origin', type: 'file', path: path(`${group}.yaml`) },
      { name: 'nacos', type: 'nacos', servers: [server], groups: [group], pollInterval: '1s' },
    ],
    publications: [
      { name: 'back', when: '"origin" in mesh.registries', to: 'nacos', as: '{{ mesh.name }}', nacos: { group } },
    ],
    state: { owner: 'e2e', directory: path(`state-${group}`) },
    ...more,
  });
  async function start(content: ReturnType<typeof config>): Promise<Pontoon> {
    const pontoon = await startPontoon(content);
    running.push(pontoon);
    return pontoon;
  }
  const report = (pontoon: Pontoon) => pontoon.get('/api/v1/publications') as Promise<PublicationsReport>;
  const target = async (pontoon: Pontoon) => {
    const found = (await report(pontoon)).targets.find(({ registry }) => registry === 'nacos');
    if (found === undefined) throw new Error('there is no target nacos');
    return found;
  };
  const count = async (group: string, name: string) => (await listed(nacos, group, name)).length;
  const command = (...args: readonly string[]): Promise<{ code: number; out: string }> =>
    new Promise((resolve) =>
      execFile(process.execPath, [cli, ...args], (error, stdout, stderr) =>
        resolve({ code: error === null ? 0 : Number(error.code), out: stdout + stderr }),
      ),
    );

  it('follows, leaves what is foreign alone, and outlives SIGKILL without an instance less', async () => {
    const group = 'kill';
    await registerSelf(nacos, { group, name: 'orders', ip: '10.1.0.1', port: 80, weight: 7 });
    await registerSelf(nacos, { group, name: 'orders', ip: '10.9.9.9', port: 80, weight: 8 });
    write(`${group}.yaml`, { orders: 5, stock: 3 });
    const pontoon = await start(config(group));
    // One of the five registered itself there.
    await until('all stand', async () => (await count(group, 'orders')) === 6 && (await count(group, 'stock')) === 3);
    await until('they are read back', async () => (await target(pontoon)).instances === 7);
    expect(await target(pontoon)).to.include({ state: 'writing', conflicts: 1, refused: 0 });
    expect(Object.keys((await pontoon.service('orders')).endpoints)).to.have.length(5);

    write(`${group}.yaml`, { orders: 5, stock: 2 }, 3);
    await until('weights and what is gone arrive', async () => {
      const stock = await listed(nacos, group, 'stock');
      return stock.length === 2 && stock.every(({ weight }) => weight === 3);
    });
    const self = (await listed(nacos, group, 'orders')).filter(
      ({ metadata }) => metadata['pontoon-owner'] === undefined,
    );
    expect(self.map(({ ip, weight }) => `${ip} ${weight}`).sort()).to.deep.equal(['10.1.0.1 7', '10.9.9.9 8']);
    await until('nothing is left to do', async () => (await target(pontoon)).pending === 0);
    const explained = JSON.stringify(await pontoon.get('/api/v1/explain?q=10.1.0.1'));
    expect(explained).to.contain('nacos has it already: it registered itself');
    expect(JSON.stringify(await pontoon.get('/api/v1/explain?q=stock'))).to.contain('published as stock in nacos');
    const entries = (await pontoon.get('/api/v1/journal?registry=nacos&host=stock')) as Entry[];
    expect(entries.map(({ text }) => text).join()).to.contain('withdrawn 10.1.1.3:80');

    let fewest = Number.POSITIVE_INFINITY;
    let isOver = false;
    const watching = (async () => {
      while (!isOver) {
        fewest = Math.min(fewest, (await count(group, 'orders')) + (await count(group, 'stock')));
        await sleep(100);
      }
    })();
    await pontoon.kill();
    await sleep(1_000);
    await pontoon.start();
    await until('it goes on', async () => (await target(pontoon)).state === 'writing');
    await sleep(3_000);
    isOver = true;
    await watching;
    expect(fewest).to.equal(8);
    expect(await target(pontoon)).to.include({ requests: 0, instances: 6, state: 'writing' });

    const configFile = join(pontoon.folder, 'pontoon.yaml');
    const planned = await command('plan', '-c', configFile, '--url', pontoon.url);
    expect(planned).to.deep.equal({ code: 0, out: 'nothing changes\n' });
    const next = { ...(parse(readFileSync(configFile, 'utf8')) as { publications: object[] }) };
    const renamed = next.publications.map((one) => ({ ...one, as: '{{ mesh.name.upperAscii() }}' }));
    writeFileSync(path('next.yaml'), stringify({ ...next, publications: renamed }));
    const other = await command('plan', '-c', path('next.yaml'), '--url', pontoon.url);
    expect(other.code).to.equal(2);
    expect(other.out).to.contain('nacos: STOCK (stock, back): registered 10.1.1.1:80, 10.1.1.2:80');
    expect(other.out).to.contain('nacos: stock (stock, back): withdrawn 10.1.1.1:80, 10.1.1.2:80');
    const withdrawn = await command('withdraw', '-c', configFile, '--url', pontoon.url);
    expect(withdrawn.out).to.contain('nothing of it stands any more');
    expect(await count(group, 'stock')).to.equal(0);
    expect(await count(group, 'orders')).to.equal(2);
    write(`${group}.yaml`, { orders: 5, stock: 4 });
    await sleep(2_000);
    expect(await count(group, 'stock'), 'while withdrawn').to.equal(0);
    expect((await command('resume', '-c', configFile, '--url', pontoon.url)).code).to.equal(0);
    await until('it is back', async () => (await count(group, 'stock')) === 4);
  });

  it('publishes services of a Kubernetes cluster as their annotations say', async () => {
    const group = 'cluster';
    const api = await startKubeApi();
    const kubeconfig = api.kubeconfig();
    const writer = new KubeWriter(kubeconfig);
    try {
      await writer.namespace('shop');
      const service = (annotations: object) =>
        writer.apply('Service', 'shop', 'cart', {
          metadata: { annotations },
          spec: { selector: { app: 'cart' }, ports: [{ name: 'http', port: 80, targetPort: 8080 }] },
        });
      const slice = (...ready: readonly boolean[]) =>
        writer.apply('EndpointSlice', 'shop', 'cart-1', {
          metadata: { labels: { 'kubernetes.io/service-name': 'cart' } },
          addressType: 'IPv4',
          ports: [{ name: 'http', port: 8080, protocol: 'TCP' }],
          endpoints: ready.map((isReady, index) => ({
            addresses: [`10.2.0.${index + 1}`],
            conditions: { ready: isReady, serving: isReady },
          })),
        });
      await service({ 'pontoon.io/publish-as': 'CART' });
      await slice(true, true);
      const back = { name: 'back', to: 'nacos', when: 'mesh.namespace == "shop"', nacos: { group } };
      const registries = [{ name: 'k8s', type: 'kubernetes', kubeconfig }, ...config(group).registries.slice(1)];
      const pontoon = await start(config(group, { registries, publications: [back] }));
      const places = async (name: string) => (await listed(nacos, group, name)).map(({ ip, port }) => `${ip}:${port}`);
      await until('both stand', async () => (await places('CART')).sort().join() === '10.2.0.1:8080,10.2.0.2:8080');
      await slice(true, false);
      await until('one is gone', async () => (await places('CART')).join() === '10.2.0.1:8080');
      await service({ 'pontoon.io/publish': 'false' });
      await until('it is gone', async () => (await places('CART')).length === 0);
      expect(JSON.stringify(await pontoon.get('/api/v1/explain?q=cart'))).to.contain('pontoon.io/publish is');
    } finally {
      await writer.close();
      await api.stop();
    }
  });

  it('writes once with two replicas, and the other takes over', async () => {
    const group = 'replicas';
    write(`${group}.yaml`, { orders: 10, stock: 10 });
    const coordination = { type: 'file', directory: path('coordination') };
    const one = { coordination, state: { owner: 'e2e', directory: path('state-one') } };
    const other = { coordination, state: { owner: 'e2e', directory: path('state-other') } };
    const wire = await Wire.open(nacos.port, [1_000]);
    // As they come to Nacos: renewals are asked of another path.
    let writes = 0;
    wire.seen = (piece) => {
      if (/^(POST|PUT|DELETE) \/nacos\/v1\/ns\/instance[? ]/.test(piece.toString('latin1'))) writes++;
    };
    const throughWire = (more: object) => start(config(group, more, `127.0.0.1:${wire.port}`));
    const replicas = [await throughWire(one), await throughWire(other)] as const;
    await until('all stand', async () => (await count(group, 'orders')) + (await count(group, 'stock')) === 20);
    const states = () => Promise.all(replicas.map(async (replica) => (await target(replica)).state));
    await until('one writes', async () => (await states()).sort().join() === 'standby,writing');
    const requests = await Promise.all(replicas.map(async (replica) => (await target(replica)).requests));
    expect(requests.sort((a, b) => a - b)).to.deep.equal([0, 20]);
    expect(writes).to.equal(20);

    const leader = replicas[(await states()).indexOf('writing')] as Pontoon;
    const heir = replicas.find((replica) => replica !== leader) as Pontoon;
    await leader.kill();
    write(`${group}.yaml`, { orders: 10, stock: 11 });
    await until('the other one writes', async () => (await count(group, 'stock')) === 11, 60_000);
    expect(await count(group, 'orders')).to.equal(10);
    await until('nothing is left to do', async () => (await target(heir)).pending === 0);
    expect((await target(heir)).requests).to.equal(1);
    expect(writes).to.equal(21);
    await heir.kill();
    await wire.close();
  });

  it(`keeps the numbers exact in a ring of three registries for ${churnMs / 1000} s`, async () => {
    const ring = new Ring(nacos);
    const pontoon = await startPontoon(await ring.config());
    running.push(pontoon);
    const { steps, off } = await ring.churn(pontoon, churnMs);
    expect(off).to.deep.equal([]);
    expect(steps).to.be.greaterThan(100);
  });
});
