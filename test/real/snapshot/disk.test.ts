import { readdirSync } from 'node:fs';
import { expect } from 'chai';
import { pino } from 'pino';
import { SnapshotFile } from '#snapshot/file.js';
import { SmallDisk } from '#test/servers/disk.js';
import { until } from '#test/servers/probes.js';
import { knownOf } from '../../unit/known.js';

describe('a snapshot on a disk that takes nothing more', () => {
  let disk: SmallDisk;
  before(async () => {
    disk = await SmallDisk.mount(512 * 1024);
  });
  after(() => disk.close());

  for (const [what, code, fail, mend] of [
    ['full', 'ENOSPC', async () => disk.fill(), () => disk.empty()],
    ['read-only', 'EROFS', () => disk.setReadOnly(true), () => disk.setReadOnly(false)],
  ] as const)
    it(`keeps the last good one while it is ${what}, says so once, and writes again by itself`, async () => {
      const lines: { level: number; reason?: string; msg: string }[] = [];
      const log = pino({ base: null }, { write: (line: string) => void lines.push(JSON.parse(line)) });
      const savedAt = Date.now();
      let known = knownOf(300, savedAt);
      const file = new SnapshotFile({ directory: disk.path, known: () => known, log });
      file.now();
      await until('written', () => file.status().at === savedAt);
      await fail();
      known = knownOf(300, savedAt + 1);
      file.now();
      await until('failed', () => file.status().error !== undefined);
      expect(file.status().error).to.match(new RegExp(`^${code}`));
      expect(file.status().at).to.equal(savedAt);
      file.now();
      const reader = new SnapshotFile({ directory: disk.path, known: () => undefined, log });
      expect(reader.load()).to.deep.equal(knownOf(300, savedAt));
      expect(readdirSync(disk.path).filter((name) => name.endsWith('.tmp'))).to.deep.equal([]);
      await mend();
      await until('written again', () => file.status().at === savedAt + 1);
      expect(reader.load()).to.deep.equal(known);
      expect(lines.map(({ level, msg }) => [level, msg.split(':')[0]])).to.deep.equal([
        [40, 'the snapshot cannot be written'],
        [30, 'the snapshot is written again'],
      ]);
      await file.close();
    });
});
