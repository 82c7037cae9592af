import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pino } from 'pino';
import { SnapshotFile } from '#snapshot/file.js';
import { encodeSnapshot } from '#snapshot/format.js';
import type { Known } from '#snapshot/known.js';

const services = 10_000;
const instances = 10;
const rounds = 7;

/** Services as Nacos and Eureka have them: some metadata, no two instances alike. */
const known: Known = {
  savedAt: Date.now(),
  registries: [
    {
      name: 'nacos-bj',
      type: 'nacos',
      source: '0',
      services: Array.from({ length: services }, (_, index) => ({
        key: { registry: 'nacos-bj', namespace: 'prod', group: 'DEFAULT_GROUP', name: `service-${index}`, version: '' },
        kind: 'nacos',
        ports: [],
        metadata: {},
        instances: Array.from({ length: instances }, (_, number) => ({
          id: `10.${number}.${index >> 8}.${index & 255}#8080#DEFAULT#DEFAULT_GROUP@@service-${index}`,
          address: `10.${number}.${index >> 8}.${index & 255}`,
          ports: [{ name: '', protocol: 'http' as const, number: 8080 }],
          status: 'healthy',
          weight: 1,
          zone: `zone-${number % 3}`,
          locality: undefined,
          network: undefined,
          metadata: { version: `1.${index % 50}`, 'preserved.register.source': 'SPRING_CLOUD', side: 'provider' },
          changedAt: 0,
        })),
        rejected: [],
        consumers: [],
      })),
      holds: [],
    },
  ],
  empty: [],
};

const folder = mkdtempSync(join(tmpdir(), 'pontoon-bench-'));

/** The longest that the event loop did nothing else, in ms. */
async function longestStall(work: () => Promise<unknown>): Promise<number> {
  let longest = 0;
  let last = performance.now();
  let isOver = false;
  const look = (): void => {
    const now = performance.now();
    longest = Math.max(longest, now - last);
    last = now;
    if (!isOver) setImmediate(look);
  };
  await new Promise<void>((resolve) => setImmediate(() => resolve(look())));
  await work();
  await new Promise(setImmediate);
  isOver = true;
  return longest;
}

/** `min / median / max`. */
function spread(values: readonly number[]): string {
  const sorted = [...values].sort((a, b) => a - b);
  return [sorted[0], sorted[Math.floor(sorted.length / 2)], sorted.at(-1)]
    .map((one) => (one ?? 0).toFixed(0))
    .join(' / ');
}

const figures = new Map<string, { readonly times: number[]; readonly stalls: number[] }>();
async function measured(what: string, work: () => unknown): Promise<void> {
  const of = figures.get(what) ?? { times: [], stalls: [] };
  figures.set(what, of);
  let ms = 0;
  const stall = await longestStall(async () => {
    const begun = performance.now();
    await work();
    ms = performance.now() - begun;
  });
  of.times.push(ms);
  of.stalls.push(stall);
}

let bytes: Buffer = Buffer.alloc(0);
let floorBytes = 0;
for (let round = 0; round < rounds; round++) {
  await measured('floor: JSON.stringify and writeFileSync', () => {
    const text = JSON.stringify(known);
    floorBytes = Buffer.byteLength(text);
    writeFileSync(join(folder, 'floor.json'), text);
  });
  await measured('floor: readFileSync and JSON.parse', () =>
    JSON.parse(readFileSync(join(folder, 'floor.json'), 'utf8')),
  );
  await measured('encode', async () => {
    bytes = await encodeSnapshot(known);
  });
  const file = new SnapshotFile({ directory: folder, known: () => known, log: pino({ level: 'silent' }) });
  await measured('encode and write to disk', () => file.close());
  await measured('read from disk and decode', () => file.load());
}
rmSync(folder, { recursive: true });
console.log(`${services} × ${instances}: ${bytes.length} bytes; as plain JSON ${floorBytes}`);
for (const [what, { times, stalls }] of figures)
  console.log(`${what}, ms min / median / max: ${spread(times)}; longest stall: ${spread(stalls)}`);
