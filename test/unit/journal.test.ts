import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect } from 'chai';
import { pino } from 'pino';
import { Catalog } from '#catalog/catalog.js';
import { parseRanges, VipAllocator } from '#catalog/vip.js';
import type { Entry } from '#journal/entry.js';
import { JournalFile } from '#journal/file.js';
import { Journal } from '#journal/journal.js';
import { RegistryPolicy } from '#policy/contribution.js';
import { cause } from '#sources/contract.js';
import { until } from '#test/servers/probes.js';
import { instance, plainKinds, service } from './builders.js';

const log = pino({ level: 'silent' });

function scene(file?: JournalFile) {
  const catalog = new Catalog(
    { namespace: 'pontoon', exportTo: ['*'], grace: 5 },
    new VipAllocator(parseRanges(['241.0.0.0/8'])),
  );
  const journal = new Journal(catalog, file);
  const view = catalog.add(new RegistryPolicy({ name: 'r', type: 'test', kinds: plainKinds }));
  return { catalog, journal, view };
}

const told = (entries: readonly Entry[]) =>
  entries.map(({ text, endpoints, cause: why }) => [
    text,
    ...endpoints.map((one) => `${one.endpoint} ${one.text}`),
    why,
  ]);

describe('journal', () => {
  it('says what became of a host, and why', async () => {
    const { journal, view } = scene();
    const set = (...instances: Parameters<typeof service>[1]) =>
      view.update([service('orders', instances)], [], cause('poll'));
    set(instance('10.0.0.1', 80), instance('10.0.0.2', 80));
    set(instance('10.0.0.1', 80, { weight: 2 }), instance('10.0.0.2', 80, { status: 'OUT_OF_SERVICE' }));
    set(instance('10.0.0.1', 80, { weight: 2 }));
    set();
    view.update([], [service('orders', []).key], cause('lease expired'));
    await until('deleted', () => journal.query({})[0]?.text === 'deleted');
    expect(told(journal.query({}).reverse())).to.deep.equal([
      ['appeared; 2 endpoints now', '10.0.0.1:80 added', '10.0.0.2:80 added', 'poll'],
      ['1 endpoint now', '10.0.0.1:80 weight 100 → 200', '10.0.0.2:80 removed: status OUT_OF_SERVICE', 'poll'],
      ['0 endpoints now', '10.0.0.1:80 removed: no longer in r', 'poll'],
      ['gone: no registry holds it any more', 'lease expired'],
      ['deleted', 'grace ended'],
    ]);
  });

  it('is asked by host, instance, registry and time', () => {
    const { journal, view } = scene();
    view.update(
      [service('orders', [instance('10.0.0.1', 80)]), service('carts', [instance('10.0.0.2', 80)])],
      [],
      cause('poll'),
    );
    journal.note('r', 'source', 'stale: no answer');
    const hosts = (query: Parameters<Journal['query']>[0]) => journal.query(query).map(({ host }) => host);
    expect(hosts({})).to.deep.equal(['', 'carts.test', 'orders.test']);
    expect(hosts({ host: 'Orders.test' })).to.deep.equal(['orders.test']);
    expect(hosts({ instance: '10.0.0.2' })).to.deep.equal(['carts.test']);
    expect(hosts({ instance: '10.0.0.2:80' })).to.deep.equal(['carts.test']);
    expect(hosts({ instance: '10.0.0.2:81' })).to.deep.equal([]);
    expect(hosts({ registry: 'q' })).to.deep.equal([]);
    expect(hosts({ since: Date.now() + 1000 })).to.deep.equal([]);
    expect(hosts({ until: Date.now() - 60_000 })).to.deep.equal([]);
    expect(hosts({ limit: 1 })).to.deep.equal(['']);
  });

  it('has one entry for what a registry holds at the start', () => {
    const { journal, view } = scene();
    const listing = view.listing();
    listing.add([service('orders', [instance('10.0.0.1', 80)]), service('carts', [])]);
    listing.commit(cause('poll'));
    expect(told(journal.query({}))).to.deep.equal([['read for the first time: 2 services', 'poll']]);
    view.update([service('orders', [])], [], cause('push'));
    expect(told(journal.query({ instance: '10.0.0.1:80' }))).to.have.length(1);
  });

  it('finds an endpoint by each of its ports', () => {
    const { journal, view } = scene();
    const ports = [80, 8443].map((number) => ({ name: `p${number}`, protocol: 'http' as const, number }));
    view.update([service('orders', [instance('10.0.0.1', 80, { ports })])], [], cause('poll'));
    for (const asked of ['10.0.0.1', '10.0.0.1:80', '10.0.0.1:8443'])
      expect(journal.query({ instance: asked })).to.have.length(1);
    expect(journal.query({ instance: '10.0.0.1:443' })).to.deep.equal([]);
  });

  it('is bounded by what its entries hold', () => {
    const { journal, view } = scene();
    for (let round = 1; round <= 60; round++) {
      const instances = Array.from({ length: 10_000 }, (_, index) =>
        instance(`10.${index >> 8}.${index & 255}.1`, 80, { weight: round }),
      );
      view.update([service('orders', instances)], [], cause('poll'));
    }
    const held = journal.query({ limit: 1_000 }).reduce((sum, { endpoints }) => sum + endpoints.length, 0);
    expect(held).to.be.within(150_000, 400_000);
  }).timeout(60_000);

  it('notes nothing where nothing changed, and stays bounded', () => {
    const { journal, view } = scene();
    for (let round = 0; round < 3; round++)
      view.update([service('orders', [instance('10.0.0.1', 80)])], [], cause('poll'));
    expect(journal.query({})).to.have.length(1);
    for (let round = 0; round < 25_000; round++) journal.note('r', 'source', String(round));
    const kept = journal.query({ limit: 1_000_000 });
    expect(kept.length).to.be.within(10_000, 20_000);
    expect(kept[0]?.text).to.equal('24999');
  });

  it('survives a restart, and a line that was cut off', async () => {
    const folder = mkdtempSync(join(tmpdir(), 'pontoon-journal-'));
    try {
      const file = new JournalFile(folder, log);
      scene(file).view.update([service('orders', [instance('10.0.0.1', 80)])], [], cause('poll'));
      await file.close();
      const path = join(folder, 'journal.jsonl');
      writeFileSync(path, `${readFileSync(path, 'utf8')}{"at":1,"ho`);
      const again = scene(new JournalFile(folder, log)).journal;
      expect(told(again.query({}))).to.deep.equal([['appeared; 1 endpoint now', '10.0.0.1:80 added', 'poll']]);
    } finally {
      rmSync(folder, { recursive: true });
    }
  });

  it('goes on in memory where the disk takes nothing', async () => {
    const file = new JournalFile('/proc/nowhere', log);
    const { journal, view } = scene(file);
    view.update([service('orders', [])], [], cause('poll'));
    await file.close();
    expect(journal.query({})).to.have.length(1);
  });
});
