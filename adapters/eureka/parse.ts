import { gunzipSync } from 'node:zlib';
import { short } from '#model/address.js';
import { takeParts } from '#sources/parts.js';
import { decodeDocument, decodeInParts, type EurekaApplication, type EurekaDocument } from './decode.js';

/** Answers above this many bytes are parsed in a worker: `JSON.parse` takes some 5 ms for as many. */
const INLINE_BYTES = 1_000_000;

/** Leases that are decoded, or handed from thread to thread, in one go. */
const PART_SIZE = 500;

/**
 * Parses an answer and gives its applications to `take`, part by part. A big answer never holds up the event loop: it is parsed and
 * decoded in a worker, and each part comes in a turn of its own.
 * @param body the bytes as they came, gzipped or not; not to be used afterwards
 * @returns the server's hash code
 * @throws Error if it is not an answer of Eureka's; parts may have been taken before
 */
export async function parseAnswer(
  body: Buffer,
  take: (part: readonly EurekaApplication[]) => void,
  signal: AbortSignal,
): Promise<string> {
  if (plainSize(body) > INLINE_BYTES) return parseInWorker(body, take, signal);
  const parts = partsOf(body);
  let next = parts.next();
  for (; next.done !== true; next = parts.next()) take(next.value);
  return next.value;
}

/** The applications of an answer, part by part, and at the end its hash code. @throws as {@link parseAnswer} */
export function* partsOf(body: Buffer): Generator<readonly EurekaApplication[], string> {
  const { applications, hashCode } = parseDocument(body);
  yield* decodeInParts(applications, PART_SIZE);
  return hashCode;
}

/** Unpacks and parses in one go. @throws Error that shows how the answer begins */
function parseDocument(body: Buffer): EurekaDocument {
  if (body.length === 0) throw new Error('an empty body instead of JSON');
  const plain = isGzip(body) ? gunzipSync(body) : body;
  let json: unknown;
  try {
    json = JSON.parse(plain.toString());
  } catch (error) {
    const start = short(plain.subarray(0, 100).toString().replace(/\s+/g, ' '));
    throw new Error(`not JSON (${plain.length} bytes, starting ${start})`, { cause: error });
  }
  return decodeDocument(json);
}

// JSON never begins with these bytes.
function isGzip(body: Buffer): boolean {
  return body[0] === 0x1f && body[1] === 0x8b;
}

/** Size in bytes when unpacked: gzip says it in its last four bytes. */
function plainSize(body: Buffer): number {
  return isGzip(body) && body.length >= 18 ? body.readUInt32LE(body.length - 4) : body.length;
}

function parseInWorker(
  body: Buffer,
  take: (part: readonly EurekaApplication[]) => void,
  signal: AbortSignal,
): Promise<string> {
  const bytes = body.byteLength === body.buffer.byteLength ? (body.buffer as ArrayBuffer) : new Uint8Array(body).buffer;
  return takeParts(new URL('./parse-worker.js', import.meta.url), bytes, take, signal, [bytes]);
}
