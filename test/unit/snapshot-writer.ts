import { pino } from 'pino';
import { SnapshotFile } from '#snapshot/file.js';
import { knownOf } from './known.js';

/** A process that writes one snapshot after the other into a directory until it is killed. */
const directory = process.argv[2] ?? '';
for (let savedAt = 1; ; savedAt++) {
  const known = knownOf(2_000, savedAt);
  await new SnapshotFile({ directory, known: () => known, log: pino({ level: 'silent' }) }).close();
}
