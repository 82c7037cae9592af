import { mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect } from 'chai';
import { pino } from 'pino';
import type { Coordination, Json } from '#coordination/contract.js';
import { openCoordination } from '#coordination/coordination.js';
import { FileStore } from '#coordination/file.js';
import { electByLease, type Lease, type LeaseStore, type LeaseVersion } from '#coordination/lease.js';
import { Term } from '#coordination/term.js';
import { KubeClient } from '#kubernetes/kubeclient.js';
import { until } from '#test/servers/probes.js';

const log = pino({ level: 'silent' });
const { signal: never } = new AbortController();

describe('coordination: a term', () => {
  it('ends by itself, before the lease does, and can be renewed', async () => {
    const told: boolean[] = [];
    const term = new Term((isLeader) => told.push(isLeader));
    const start = performance.now();
    let ended = 0;
    term.renewed(start, 300);
    expect(term.isLeader).to.equal(true);
    term.renewed(start + 300, 300);
    await until(
      'it ends',
      () => {
        ended = performance.now();
        return told.length === 2;
      },
      5_000,
      5,
    );
    expect(told).to.deep.equal([true, false]);
    expect(ended - start).to.be.at.least(300 + 200);
    term.renewed(performance.now(), 60_000);
    term.end();
    expect(told).to.deep.equal([true, false, true, false]);
  });

  it('is over by the clock before anybody could be told', () => {
    const told: boolean[] = [];
    const term = new Term((isLeader) => told.push(isLeader));
    const start = performance.now();
    term.renewed(start, 60);
    while (performance.now() < start + 45);
    expect(term.isLeader).to.equal(false);
    expect(told).to.deep.equal([true]);
    term.end();
  });

  it('does not begin with an answer that came too late', () => {
    const term = new Term(() => expect.fail('told'));
    term.renewed(performance.now() - 1_000, 1_000);
    expect(term.isLeader).to.equal(false);
  });
});

/** A lease in memory. */
class MemoryLease implements LeaseStore {
  current: LeaseVersion = { lease: undefined, mark: 0 };
  async read() {
    return this.current;
  }
  async next(known: LeaseVersion, ms: number, signal: AbortSignal) {
    await until('change', () => signal.aborted || this.current.mark !== known.mark, ms, 5).catch(() => undefined);
    signal.throwIfAborted();
    return this.current;
  }
  async write(lease: Lease, known: LeaseVersion) {
    if (known.mark !== this.current.mark) return undefined;
    this.current = { lease, mark: Number(known.mark) + 1 };
    return this.current;
  }
}

describe('coordination: an election by a lease', () => {
  const duration = 400;
  const other: Lease = { holder: 'other', duration, acquiredAt: 1, renewedAt: 1, transitions: 4 };
  const begin = (store: LeaseStore) => {
    const ending = new AbortController();
    const term = new Term(() => undefined);
    const done = electByLease(store, 'me', duration, term, () => undefined, ending.signal).catch(() => undefined);
    return {
      term,
      end: async () => {
        ending.abort();
        await done;
      },
    };
  };

  it('takes a lease that nobody has, renews it, and gives it up', async () => {
    const store = new MemoryLease();
    const { term, end } = begin(store);
    await until('it leads', () => term.isLeader);
    await until('renewed', () => Number(store.current.mark) > 3);
    expect(store.current.lease).to.include({ holder: 'me', duration, transitions: 0 });
    await end();
    expect(term.isLeader).to.equal(false);
    expect(store.current.lease?.holder).to.equal('');
  });

  it("takes another one's lease when it has seen no renewal for as long as that says, whatever its times say", async () => {
    const store = new MemoryLease();
    store.current = { lease: other, mark: 1 };
    const start = performance.now();
    const { term, end } = begin(store);
    await until('it waits', () => performance.now() - start > duration / 2);
    store.current = { lease: { ...other, renewedAt: 2 }, mark: 2 };
    await until('it leads', () => term.isLeader, 10_000, 5);
    expect(performance.now() - start).to.be.at.least(duration * 1.5);
    expect(store.current.lease).to.include({ holder: 'me', transitions: 5 });
    await end();
  });

  it('leads no longer when another one has taken it', async () => {
    const store = new MemoryLease();
    const { term, end } = begin(store);
    await until('it leads', () => term.isLeader);
    store.current = { lease: { ...other, duration: 60_000 }, mark: 100 };
    await until('it has noticed', () => !term.isLeader);
    await end();
    expect(store.current.lease?.holder).to.equal('other');
  });
});

describe('coordination: a directory', () => {
  let directory: string;
  const opened: Coordination[] = [];
  beforeEach(() => {
    directory = mkdtempSync(join(tmpdir(), 'pontoon-coordination-'));
  });
  afterEach(async () => {
    await Promise.all(opened.splice(0).map((one) => one.close()));
    rmSync(directory, { recursive: true });
  });

  it('lets one write each version, also when one wakes up long after', async () => {
    const store = new FileStore(directory, 'me');
    const none = await store.read('news', never);
    expect(await store.write('news', '1', none, never)).to.equal(true);
    const first = await store.read('news', never);
    expect(await store.write('news', '"late"', none, never)).to.equal(false);
    for (const text of ['2', '3', '4']) {
      const known = await store.read('news', never);
      expect(await store.write('news', text, known, never)).to.equal(true);
    }
    // The places 1 and 2 are free again.
    expect(readdirSync(directory).sort()).to.deep.equal(['news.3.json', 'news.4.json']);
    expect(await store.write('news', '"late"', first, never)).to.equal(false);
    expect(await store.write('news', '"late"', none, never)).to.equal(false);
    expect(readdirSync(directory).sort()).to.deep.equal(['news.3.json', 'news.4.json']);
    expect((await store.read('news', never)).text).to.equal('4');
    await store.close();
  });

  it('says that a document is no JSON, and goes on with others and when it is mended', async () => {
    writeFileSync(join(directory, 'news.1.json'), '{"half":');
    const coordination = openCoordination({ type: 'file', directory }, { log, registries: [] });
    opened.push(coordination);
    const heard: (Json | undefined)[] = [];
    coordination.watch('news', (content) => heard.push(content));
    await until('it says so', () => coordination.error !== undefined);
    expect(coordination.error).to.match(/^document news is not JSON: .*; delete or mend it$/);
    await coordination.update('other', () => 1);
    rmSync(join(directory, 'news.1.json'));
    await coordination.update('news', () => 'well');
    await until('heard', () => heard.at(-1) === 'well');
    expect(coordination.error).to.equal(undefined);
  });
});

describe('coordination: of one process alone', () => {
  it('has documents in memory, and leads', async () => {
    const coordination = openCoordination(undefined, { log, registries: [] });
    const heard: (Json | undefined)[] = [];
    const told: boolean[] = [];
    coordination.watch('news', (content) => heard.push(content));
    const candidacy = coordination.campaign('writer', (isLeader) => told.push(isLeader));
    await until('heard', () => heard.length === 1 && told.length === 1);
    await coordination.update('news', (content) => [content ?? null]);
    await coordination.update('news', (content) => [content ?? null]);
    expect(heard).to.deep.equal([undefined, [null], [[null]]]);
    expect(candidacy.isLeader).to.equal(true);
    expect(coordination.error).to.equal(undefined);
    await coordination.close();
    expect(candidacy.isLeader).to.equal(false);
    expect(told).to.deep.equal([true, false]);
    const late = await coordination
      .update('news', () => 1)
      .then(
        () => 'written',
        (error: Error) => error.message,
      );
    expect(late).to.equal('coordination is closed');
  });
});

describe('coordination: a kubeconfig', () => {
  it('that cannot be used is named, and nothing of it is shown', async () => {
    const folder = mkdtempSync(join(tmpdir(), 'pontoon-kubeconfig-'));
    const path = join(folder, 'config');
    const reason = () =>
      KubeClient.load(path).then(
        () => 'loaded',
        (error: Error) => error.message,
      );
    expect(await reason())
      .to.include(path)
      .and.include('ENOENT');
    for (const content of ['users:\n- user: { token: s3cret\n clusters', 's3cret', 'current-context: s3cret\n']) {
      writeFileSync(path, content);
      expect(await reason())
        .to.include(`kubeconfig ${path}`)
        .and.not.include('s3cret');
    }
    rmSync(folder, { recursive: true });
  });
});
