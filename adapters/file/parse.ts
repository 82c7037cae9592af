import { setImmediate } from 'node:timers/promises';
import { takeParts } from '#sources/parts.js';
import { decodeFile, type Entry } from './decode.js';

/** Texts above this many characters are parsed in a worker: the parser takes some 20 ms for as many. */
const INLINE_CHARACTERS = 20_000;

/** Instances that are handed from thread to thread in one go. */
const PART_SIZE = 500;

/** What {@link parseFile} parses. */
export interface FileText {
  readonly text: string;
  /** The file's name, for messages. */
  readonly file: string;
  readonly registry: string;
}

/** Reads the services of a file; a big one never holds up the event loop. @throws as {@link decodeFile}, or the signal's reason */
export async function parseFile(input: FileText, signal: AbortSignal): Promise<Entry[]> {
  const entries: Entry[] = [];
  const take = (part: readonly Entry[]): void => void entries.push(...part);
  if (input.text.length > INLINE_CHARACTERS)
    await takeParts(new URL('./parse-worker.js', import.meta.url), input, take, signal);
  else for (const part of partsOf(input)) take(part);
  await setImmediate();
  return entries;
}

/** The services of a file, part by part. @throws as {@link decodeFile} */
export function* partsOf({ text, file, registry }: FileText): Generator<readonly Entry[], void> {
  let part: Entry[] = [];
  let count = 0;
  for (const entry of decodeFile(text, file, registry)) {
    part.push(entry);
    count += typeof entry.content === 'string' ? 1 : 1 + entry.content.instances.length;
    if (count < PART_SIZE) continue;
    yield part;
    part = [];
    count = 0;
  }
  yield part;
}
