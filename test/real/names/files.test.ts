import { existsSync, mkdirSync, readdirSync, readFileSync, renameSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { expect } from 'chai';
import { parseAllDocuments } from 'yaml';
import { Sidecar } from '#test/e2e/sidecar.js';
import { entriesOf } from '#test/e2e/world.js';
import { SmallDisk } from '#test/servers/disk.js';
import { startIstiod } from '#test/servers/istiod.js';
import { until } from '#test/servers/probes.js';
import { requireServers } from '#test/servers/require.js';
import { Mesh, temporaryDirectory } from './mesh.js';

const orders = 'shop/orders.eureka.yaml';

describe('files sink', function () {
  this.timeout(60_000);
  const meshes: Mesh[] = [];
  const open = (directory = temporaryDirectory()): Mesh => {
    const mesh = new Mesh(directory);
    meshes.push(mesh);
    return mesh;
  };
  const settled = ({ sink }: Mesh): Promise<void> =>
    until('that all is written', () => {
      const { pending, files } = sink.status();
      return pending === 0 && files > 0;
    });
  const text = ({ directory }: Mesh, path: string): string => readFileSync(join(directory, path), 'utf8');
  const has = ({ directory }: Mesh, path: string): boolean => existsSync(join(directory, path));
  const closed = () => Promise.all(meshes.splice(0).map((mesh) => mesh.close()));
  afterEach(closed);

  it('writes one file for each host, none before it may, and an equal one never again', async () => {
    const mesh = open();
    mesh.set('orders.eureka', ['10.0.0.1:8080', '10.0.0.2:8080']);
    await sleep(300);
    expect(readdirSync(mesh.directory)).to.deep.equal([]);
    mesh.sink.ready();
    await settled(mesh);
    expect(text(mesh, orders)).to.equal(`# Written by Pontoon: do not edit
---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata:
  name: orders.eureka
  namespace: shop
  creationTimestamp: 2026-11-01T00:00:00Z
spec:
  hosts:
    - orders.eureka
  addresses:
    - ${mesh.vips('orders.eureka').join('\n    - ')}
  exportTo:
    - "*"
  location: MESH_INTERNAL
  resolution: STATIC
  ports:
    - name: http
      number: 80
      protocol: HTTP
  endpoints:
    - address: 10.0.0.1
      ports:
        http: 8080
      weight: 100
    - address: 10.0.0.2
      ports:
        http: 8080
      weight: 100
`);
    expect(text(mesh, 'dns/db.eureka')).to.contain('orders IN A 241.');
    const { mtimeMs, ino } = statSync(join(mesh.directory, orders));
    await mesh.sink.close();

    // Another process, over the same directory.
    const next = open(mesh.directory);
    writeFileSync(join(mesh.directory, 'shop/crashed.yaml.pontoon-tmp'), 'apiVer');
    next.set('orders.eureka', ['10.0.0.1:8080', '10.0.0.2:8080']);
    next.sink.ready();
    await settled(next);
    expect(statSync(join(mesh.directory, orders))).to.include({ mtimeMs, ino });
    expect(next.sink.status()).to.include({ written: 0, removed: 0, files: 3 });
    expect(has(next, 'shop/crashed.yaml.pontoon-tmp')).to.equal(false);
  });

  it('writes only what changed, and deletes what is gone, also what went while it was down', async () => {
    const mesh = open();
    for (const name of ['orders.eureka', 'pay.eureka', 'stock.eureka']) mesh.set(name, ['10.0.0.1:8080']);
    mesh.sink.ready();
    await settled(mesh);
    const { written } = mesh.sink.status();
    mesh.set('orders.eureka', ['10.0.0.9:8080']);
    await until('the change', () => text(mesh, orders).includes('10.0.0.9'));
    expect(mesh.sink.status().written).to.equal(written + 1);
    mesh.remove('pay.eureka');
    await until('that it is gone', () => !has(mesh, 'shop/pay.eureka.yaml'));
    await until('that its name is gone', () => !text(mesh, 'dns/hosts').includes('pay.eureka'));
    await mesh.sink.close();
    const next = open(mesh.directory);
    next.set('orders.eureka', ['10.0.0.9:8080']);
    next.sink.ready();
    await until('that the other is gone', () => !has(next, 'shop/stock.eureka.yaml'));
    expect(has(next, orders)).to.equal(true);
  });

  it('keeps what it does not know until every registry has been read', async () => {
    const mesh = open();
    for (const name of ['orders.eureka', 'stock.eureka']) mesh.set(name, ['10.0.0.1:8080']);
    mesh.sink.ready();
    await settled(mesh);
    await mesh.sink.close();
    const next = open(mesh.directory);
    next.isComplete = false;
    next.set('orders.eureka', ['10.0.0.9:8080']);
    next.sink.ready();
    await until('what changed', () => text(next, orders).includes('10.0.0.9'));
    await settled(next);
    expect(has(next, 'shop/stock.eureka.yaml')).to.equal(true);
    next.isComplete = true;
    next.sink.ready();
    await until('that the other is gone', () => !has(next, 'shop/stock.eureka.yaml'));
  });

  it('looks into no folder that is none of its own: lost+found may not be read', async () => {
    const mesh = open();
    const found = join(mesh.directory, 'lost+found');
    mkdirSync(found);
    writeFileSync(join(found, 'a.yaml'), '# Written by Pontoon: do not edit\n');
    mesh.set('orders.eureka', ['10.0.0.1:8080']);
    mesh.sink.ready();
    await settled(mesh);
    expect(mesh.sink.status()).to.include({ files: 3, removed: 0, errorCount: 0 });
    expect(existsSync(join(found, 'a.yaml'))).to.equal(true);
  });

  it('tries again ever more seldom what cannot be written, and goes on when it can', async () => {
    const mesh = open();
    writeFileSync(join(mesh.directory, 'shop'), 'in the way of a folder');
    mesh.set('orders.eureka', ['10.0.0.1:8080']);
    let tries = 0;
    const { resources } = mesh.projection;
    mesh.projection.resources = (host) => {
      if (host !== undefined) tries++;
      return resources.call(mesh.projection, host);
    };
    mesh.sink.ready();
    await until('an error', () => mesh.sink.status().errorCount === 1);
    await sleep(4_000);
    expect(tries, 'at once, after 1 s, after 2 s more').to.be.within(2, 5);
    rmSync(join(mesh.directory, 'shop'));
    await until('the file', () => has(mesh, orders));
    expect(mesh.sink.status().errorCount).to.equal(0);
  });

  it("never touches another's file: one where ours belongs is a conflict until it is moved away", async () => {
    const mesh = open();
    for (const [path, content] of [
      [orders, 'kind: Mine\n'],
      ['shop/notes.yaml', '# Written by me\n'],
      ['dns/hosts', '127.0.0.1 localhost\n'],
    ] as const) {
      mkdirSync(dirname(join(mesh.directory, path)), { recursive: true });
      writeFileSync(join(mesh.directory, path), content);
    }
    mesh.set('orders.eureka', ['10.0.0.1:8080']);
    mesh.sink.ready();
    await until('conflicts', () => mesh.sink.status().conflictCount === 2);
    const [conflict] = mesh.sink.status().conflicts;
    expect(conflict?.reason).to.contain('not ours');
    expect(text(mesh, orders)).to.equal('kind: Mine\n');
    rmSync(join(mesh.directory, orders));
    renameSync(join(mesh.directory, 'dns/hosts'), join(mesh.directory, 'dns/mine'));
    await until('that ours is there', () => has(mesh, orders) && has(mesh, 'dns/hosts'), 20_000);
    await until('no conflict', () => mesh.sink.status().conflictCount === 0);
    // Put there by hand in place of ours: not deleted with the service.
    writeFileSync(join(mesh.directory, orders), 'kind: Mine\n');
    mesh.remove('orders.eureka');
    await until('that its name is gone', () => !text(mesh, 'dns/hosts').includes('orders.eureka'));
    expect(text(mesh, orders)).to.equal('kind: Mine\n');
    expect(text(mesh, 'shop/notes.yaml')).to.equal('# Written by me\n');
  });

  it('a disk that is full or read-only is shown, leaves no part of a file, and is tried again', async () => {
    const disk = await SmallDisk.mount(128 * 1_024);
    try {
      const mesh = new Mesh(join(disk.path, 'istio'));
      mesh.set('orders.eureka', ['10.0.0.1:8080']);
      mesh.sink.ready();
      await settled(mesh);
      const before = text(mesh, orders);
      disk.fill();
      mesh.set('orders.eureka', ['10.0.0.2:8080']);
      mesh.set('pay.eureka', ['10.0.0.3:8080']);
      await until('an error', () => mesh.sink.status().errors.some(({ reason }) => reason.includes('ENOSPC')));
      expect(text(mesh, orders)).to.equal(before);
      expect(readdirSync(join(mesh.directory, 'shop'))).to.deep.equal(['orders.eureka.yaml']);
      await disk.empty();
      await until(
        'that all is written',
        () => has(mesh, 'shop/pay.eureka.yaml') && text(mesh, orders) !== before,
        20_000,
      );
      await until('no error', () => mesh.sink.status().errorCount === 0);
      await disk.setReadOnly(true);
      mesh.remove('pay.eureka');
      await until('an error', () => mesh.sink.status().errors.some(({ reason }) => reason.includes('EROFS')));
      await disk.setReadOnly(false);
      await until('that it is gone', () => !has(mesh, 'shop/pay.eureka.yaml'), 20_000);
      await mesh.sink.close();
      mesh.catalog.close();
    } finally {
      await disk.close();
    }
  });

  it('writes only what it is to take, and deletes what it is to take no more', async () => {
    let isHidden = (host: string): boolean => host === 'hidden.eureka';
    const mesh = new Mesh(temporaryDirectory(), ({ host }) => !isHidden(host));
    meshes.push(mesh);
    for (const name of ['orders.eureka', 'hidden.eureka']) mesh.set(name, ['10.0.0.1:8080']);
    mesh.sink.ready();
    await settled(mesh);
    expect(readdirSync(join(mesh.directory, 'shop'))).to.deep.equal(['orders.eureka.yaml']);
    expect(text(mesh, 'dns/hosts')).not.to.include('hidden');
    isHidden = () => true;
    mesh.set('orders.eureka', ['10.0.0.2:8080']);
    await until('that it is gone', () => !has(mesh, orders) && !has(mesh, 'dns/db.eureka'));
  });

  it('keeps the longest hosts apart, and a host in one file whatever its entries', async () => {
    const mesh = open();
    const long = (end: string): string => `${Array.from({ length: 4 }, () => 'x'.repeat(60)).join('.')}.${end}`;
    for (const end of ['a', 'b']) mesh.set(long(end), ['10.0.0.1:8080']);
    const port = (name: string, number: number) => ({ name, protocol: 'http' as const, number });
    mesh.set('two.eureka', ['10.0.0.1:1'], [port('a', 8080), port('b', 8081)]);
    mesh.sink.ready();
    await settled(mesh);
    const files = readdirSync(join(mesh.directory, 'shop'));
    expect(files).to.have.length(3);
    const hosts = files.flatMap((file) =>
      parseAllDocuments(text(mesh, join('shop', file))).map((document) => document.toJS().spec.hosts[0] as string),
    );
    expect([...new Set(hosts)].sort()).to.deep.equal(['two.eureka', long('a'), long('b')].sort());
  });

  it('a real istiod reads the folder by fs://: hosts, changes by rename, new namespaces, removals', async function () {
    await requireServers(this, 'istiod');
    const mesh = open();
    mesh.set('orders.eureka', ['10.0.0.1:8080']);
    mesh.sink.ready();
    await settled(mesh);
    const istiod = await startIstiod({ configSources: [`fs://${mesh.directory}`] });
    const sidecar = new Sidecar(istiod.xdsAddress);
    try {
      await sidecar.has('orders.eureka', 80, ['10.0.0.1:8080']);
      mesh.set('orders.eureka', ['10.0.0.2:8080']);
      const ms = await sidecar.has('orders.eureka', 80, ['10.0.0.2:8080']);
      console.log(`      ${ms.toFixed(0)} ms  change → file → istiod → sidecar`);
      mesh.set('pay.eureka', ['10.0.0.3:8080']);
      await sidecar.has('pay.eureka', 80, ['10.0.0.3:8080']);
      mesh.remove('orders.eureka');
      await until('that it is gone', async () => (await entriesOf(istiod)).size === 1);
      // The zone and hosts files beside them are nothing to it.
      expect(readdirSync(join(mesh.directory, 'dns')).sort()).to.deep.equal(['db.eureka', 'hosts']);
      expect(istiod.log()).not.to.match(/Failed to (parse|readOnce)|unable to reload/);
    } finally {
      sidecar.close();
      await istiod.stop();
    }
  });

  it('writes a thousand hosts, and of them only the one that changed', async () => {
    const mesh = open();
    for (let index = 0; index < 1_000; index++)
      mesh.set(`service-${index}.eureka`, [`10.0.${index >> 8}.${index & 255}:8080`]);
    mesh.sink.ready();
    await until('1,000 files', () => mesh.sink.status().files === 1_002 && mesh.sink.status().pending === 0, 50_000);
    const { written } = mesh.sink.status();
    mesh.set('service-77.eureka', ['10.9.9.9:8080']);
    await until('the change', () => text(mesh, 'shop/service-77.eureka.yaml').includes('10.9.9.9'));
    expect(mesh.sink.status().written).to.equal(written + 1);
  });
});
