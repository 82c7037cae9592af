import { spawn } from 'node:child_process';
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { expect } from 'chai';
import { pino } from 'pino';
import { SnapshotFile } from '#snapshot/file.js';
import { decodeSnapshot, encodeSnapshot } from '#snapshot/format.js';
import type { Known } from '#snapshot/known.js';
import { until } from '#test/servers/probes.js';
import { knownOf } from './known.js';

const writer = fileURLToPath(new URL('./snapshot-writer.js', import.meta.url));

describe('the file of a snapshot', () => {
  let directory: string;
  let known: Known | undefined;
  let lines: { readonly level: number; readonly msg: string; readonly reason?: string; readonly aside?: string }[];

  beforeEach(() => {
    directory = mkdtempSync(join(tmpdir(), 'pontoon-snapshot-'));
    known = knownOf(5);
    lines = [];
  });
  afterEach(() => rmSync(directory, { recursive: true, force: true }));

  const file = () => {
    const log = pino({ base: null }, { write: (line: string) => void lines.push(JSON.parse(line)) });
    return new SnapshotFile({ directory, known: () => known, log });
  };
  const path = (name = 'snapshot') => join(directory, name);
  const names = () => readdirSync(directory).sort();

  it('keeps what is known, for nobody else to read', async () => {
    const first = file();
    expect(first.load()).to.equal(undefined);
    expect(first.status()).to.deep.equal({ at: undefined, bytes: undefined, ms: undefined, error: undefined });
    await first.close();
    expect(first.status()).to.include({ at: known?.savedAt, bytes: statSync(path()).size, error: undefined });
    expect(statSync(path()).mode & 0o777).to.equal(0o600);
    const second = file();
    expect(second.load()).to.deep.equal(known);
    expect(second.status()).to.include({ at: known?.savedAt, bytes: statSync(path()).size });
    expect(names()).to.deep.equal(['snapshot']);
    expect(lines).to.deep.equal([]);
  });

  it('writes nothing while what is known is not complete', async () => {
    known = undefined;
    const it = file();
    it.now();
    await sleep(100);
    await it.close();
    expect(names()).to.deep.equal([]);
  });

  it('gathers changes and rests after a write, but not long when it matters', async function () {
    this.timeout(180_000);
    const it = file();
    const savedAt = () => (existsSync(path()) ? decodeSnapshot(readFileSync(path()), path()).known.savedAt : undefined);
    for (let change = 0; change < 100; change++) it.changed();
    await until('written', () => savedAt() !== undefined);
    known = knownOf(5, 2);
    it.changed();
    await sleep(1_500);
    expect(savedAt()).to.not.equal(2);
    const begun = performance.now();
    it.now();
    await until('written soon', () => savedAt() === 2);
    expect(performance.now() - begun).to.be.below(4_000 + 5 * (it.status().ms ?? 0));
    known = knownOf(5, 3);
    it.changed();
    await until('written in its turn', () => savedAt() === 3, 120_000);
    known = knownOf(5, 4);
    it.changed();
    await it.close();
    expect(savedAt()).to.equal(4);
  });

  it('puts aside what cannot be used, and goes on', async () => {
    const sound = await encodeSnapshot(knownOf(3));
    const cases: [string, Buffer][] = [
      ['truncated', sound.subarray(0, 300)],
      ['corrupt', Buffer.concat([sound, Buffer.from('x')])],
      ['foreign', Buffer.from('services: []')],
    ];
    for (const [code, bytes] of cases) {
      writeFileSync(path(), bytes);
      expect(file().load()).to.equal(undefined);
      const aside = names().find((name) => name.startsWith(`snapshot.${code}-`)) ?? '';
      expect(readFileSync(path(aside)).equals(bytes)).to.equal(true);
      expect(lines.at(-1)).to.include({ level: 50, aside: path(aside) });
      expect(lines.at(-1)?.reason).to.include(path());
    }
    await file().close();
    expect(file().load()).to.deep.equal(known);
  });

  it('keeps three of those put aside, and each of a newer version', async () => {
    const aside = (count: number, code: string) =>
      Array.from({ length: count }, (_, day) => `snapshot.${code}-2020010${day}T000000.000Z`);
    const old = [...aside(4, 'newer'), ...aside(4, 'corrupt'), 'snapshot.foreign-20210101T000000.000Z'];
    for (const name of old) writeFileSync(path(name), 'old');
    writeFileSync(path('journal.jsonl'), '');
    writeFileSync(path(), 'no snapshot');
    expect(file().load()).to.equal(undefined);
    const kept = names();
    expect(kept.filter((name) => name.includes('newer'))).to.deep.equal(aside(4, 'newer'));
    expect(kept.filter((name) => name.includes('corrupt'))).to.deep.equal(aside(4, 'corrupt').slice(3));
    expect(kept.filter((name) => name.includes('foreign'))).to.have.length(2);
    expect(kept).to.include('journal.jsonl');
  });

  it('puts a folder in its place aside, too', async () => {
    mkdirSync(path());
    expect(file().load()).to.equal(undefined);
    expect(names()[0]).to.match(/^snapshot\.unreadable-/);
    await file().close();
    expect(file().load()).to.deep.equal(known);
  });

  it('says once that its directory is gone, and when it is back', async () => {
    const it = file();
    await it.close();
    const away = `${directory}.away`;
    renameSync(directory, away);
    try {
      await it.close();
      await it.close();
      expect(lines).to.have.length(1);
      expect(lines[0]).to.include({ level: 40 });
      expect(lines[0]?.reason).to.match(/^ENOENT/);
      expect(it.status().error).to.match(/^ENOENT/);
      expect(it.status().at).to.equal(known?.savedAt);
    } finally {
      renameSync(away, directory);
    }
    expect(file().load()).to.deep.equal(known);
    await it.close();
    expect(it.status().error).to.equal(undefined);
    expect(lines.map(({ msg }) => msg)[1]).to.equal('the snapshot is written again');
  });

  it('has the last good one wherever in a write the process is killed', async function () {
    this.timeout(120_000);
    for (let round = 0; round < 3; round++) {
      const child = spawn(process.execPath, [writer, directory], { stdio: ['ignore', 'ignore', 'inherit'] });
      const left = () => names().filter((name) => name.endsWith('.tmp'));
      await until(
        'stopped while it writes',
        async () => {
          if (left().length === 0 || !names().includes('snapshot')) return false;
          child.kill('SIGSTOP');
          await sleep(20);
          if (left().length > 0) return true;
          child.kill('SIGCONT');
          return false;
        },
        30_000,
        1,
      );
      child.kill('SIGKILL');
      await new Promise((resolve) => child.once('close', resolve));
      expect(left()).to.have.length(1);
      const read = file().load();
      expect(read?.registries[0]?.services).to.have.length(2_000);
      expect(read).to.deep.equal(knownOf(2_000, read?.savedAt));
      expect(left()).to.deep.equal([]);
    }
    expect(lines).to.deep.equal([]);
  });
});
