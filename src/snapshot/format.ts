import { createHash } from 'node:crypto';
import { buffer } from 'node:stream/consumers';
import { pipeline } from 'node:stream/promises';
import { createGzip, gunzipSync } from 'node:zlib';
import { reasonOf } from '#model/reason.js';
import { Turn } from '#sources/turn.js';
import { version } from '../version.js';
import type { Known } from './known.js';
import { fromRecords, toRecords } from './records.js';

/*
 * A snapshot is, as bytes:
 *
 *     pontoon-snapshot {"format":1,...}\n     magic and header; `head -1` shows it
 *     records, one a line as JSON, gzipped    see records.ts; as many bytes as the header says
 *     SHA-256 of all before                   32 bytes
 *
 * The first line and the checksum are the same in all formats to come, so that a newer one is told from a broken one. Whatever an older Pontoon could not read, such as
 * another kind of record or a further protocol, is a new format.
 */
const format = 1;
const magic = 'pontoon-snapshot ';
const checksumBytes = 32;
const longestHeader = 4_096;
/** Bytes of the records, as text: far more than a process could hold as services. */
const mostText = 1024 ** 3;
/** Characters that are compressed in one go. */
const chunk = 64 * 1024;

/** What a snapshot says about itself in its first line. */
export interface SnapshotHeader {
  readonly format: number;
  /** The version of the Pontoon that wrote it. */
  readonly pontoon: string;
  /** ms since 1970. */
  readonly savedAt: number;
  readonly registries: number;
  readonly services: number;
  readonly instances: number;
  /** Of the instances, those that a hold keeps. */
  readonly held: number;
  /** Mesh services without endpoints. */
  readonly empty: number;
  /** Of the records, compressed. */
  readonly bytes: number;
}

/** Why a snapshot cannot be used: it is something else, of a format to come, cut off, or damaged. */
export type SnapshotFault = 'foreign' | 'newer' | 'truncated' | 'corrupt';

/** A snapshot that cannot be used. The message says which one, what was found and what was expected. */
export class SnapshotError extends Error {
  override readonly name = 'SnapshotError';
  readonly code: SnapshotFault;
  constructor(code: SnapshotFault, message: string, options?: ErrorOptions) {
    super(message, options);
    this.code = code;
  }
}

/** Makes a snapshot of what is known. The work is done in slices of some ms, and compressed off the event loop. */
export async function encodeSnapshot(known: Known): Promise<Buffer> {
  const body = await pipeline(chunks(known), createGzip({ level: 1, chunkSize: chunk }), buffer);
  const header: SnapshotHeader = { format, pontoon: version, ...counts(known), bytes: body.length };
  const content = [Buffer.from(`${magic}${JSON.stringify(header)}\n`), body];
  const hash = createHash('sha256');
  for (const part of content) hash.update(part);
  return Buffer.concat([...content, hash.digest()]);
}

async function* chunks(known: Known): AsyncGenerator<Buffer, void> {
  const turn = new Turn();
  let text = '';
  for (const record of toRecords(known)) {
    text += `${JSON.stringify(record)}\n`;
    if (text.length >= chunk) {
      yield Buffer.from(text);
      text = '';
    }
    if (turn.isLong) await turn.next();
  }
  yield Buffer.from(text);
}

function counts({ savedAt, registries, empty }: Known) {
  const sum = (of: (registry: Known['registries'][number]) => number) =>
    registries.reduce((total, registry) => total + of(registry), 0);
  return {
    savedAt,
    registries: registries.length,
    services: sum(({ services }) => services.length),
    instances: sum(({ services }) => services.reduce((total, { instances }) => total + instances.length, 0)),
    held: sum(({ holds }) => holds.reduce((total, { instances }) => total + instances.length, 0)),
    empty: empty.length,
  };
}

/**
 * Reads a snapshot's first line, and checks that the whole of it is there and sound.
 * @param place where it is from, for messages
 * @throws SnapshotError if it cannot be used
 */
export function readHeader(bytes: Buffer, place: string): SnapshotHeader {
  const begin = bytes.subarray(0, magic.length);
  if (!magic.startsWith(begin.toString('latin1')))
    throw new SnapshotError(
      'foreign',
      `${place} is no snapshot of Pontoon: it begins with ${JSON.stringify(begin.toString('latin1'))}, expected ${JSON.stringify(magic)}`,
    );
  const end = bytes.subarray(0, longestHeader).indexOf('\n');
  const header = end < 0 ? undefined : parseHeader(bytes.toString('utf8', magic.length, end));
  const expected = header === undefined ? undefined : end + 1 + header.bytes + checksumBytes;
  if ((end < 0 && bytes.length < longestHeader) || (expected !== undefined && bytes.length < expected))
    throw new SnapshotError(
      'truncated',
      `${place} is cut off: found ${bytes.length} bytes, expected ${expected ?? 'a whole first line'}`,
    );
  const sum = createHash('sha256').update(bytes.subarray(0, -checksumBytes)).digest();
  if (!sum.equals(bytes.subarray(-checksumBytes)))
    throw new SnapshotError('corrupt', `${place} is damaged: its content does not have the checksum at its end`);
  if (header === undefined || header.format < format)
    throw new SnapshotError('corrupt', `${place} is damaged: its first line says nothing of its format`);
  if (header.format > format)
    throw new SnapshotError(
      'newer',
      `${place} is of format ${header.format}, written by Pontoon ${header.pontoon}; this is Pontoon ${version}, which reads format ${format}: use the newer one with it`,
    );
  return header;
}

function parseHeader(text: string): SnapshotHeader | undefined {
  try {
    const header = JSON.parse(text) as SnapshotHeader;
    return typeof header.format === 'number' && typeof header.bytes === 'number' ? header : undefined;
  } catch {
    return undefined;
  }
}

/** A snapshot that was read. */
export interface Snapshot {
  readonly header: SnapshotHeader;
  readonly known: Known;
}

/**
 * Reads a snapshot, in one go: at a start nothing else is to be done.
 * @param place where it is from, for messages
 * @throws SnapshotError if it cannot be used
 */
export function decodeSnapshot(bytes: Buffer, place: string): Snapshot {
  const header = readHeader(bytes, place);
  const begin = bytes.indexOf('\n') + 1;
  try {
    const text = gunzipSync(bytes.subarray(begin, begin + header.bytes), { maxOutputLength: mostText });
    const known = fromRecords(lines(text), header.savedAt);
    const { format: _, pontoon: __, bytes: ___, ...expected } = header;
    const found = counts(known);
    for (const [what, count] of Object.entries(found))
      if (count !== expected[what as keyof typeof expected])
        throw new Error(`found ${count} ${what}, expected ${expected[what as keyof typeof expected]}`);
    return { header, known };
  } catch (error) {
    throw new SnapshotError('corrupt', `${place} cannot be read: ${reasonOf(error)}`, { cause: error });
  }
}

function* lines(text: Buffer): Generator<unknown, void> {
  for (let begin = 0; begin < text.length; ) {
    const end = text.indexOf('\n', begin);
    yield JSON.parse(text.toString('utf8', begin, end));
    begin = end + 1;
  }
}
