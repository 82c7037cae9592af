import { readdir, readFile, stat } from 'node:fs/promises';
import { basename, join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { compareText } from '#model/mesh.js';
import { asError } from '#model/reason.js';

/** The texts of files by their names, in the order of the names; or why one cannot be read. */
export type Texts = ReadonlyMap<string, string | Error>;

/** Two looks this far apart, in ms, that see the same: nobody is in the middle of writing. */
export const settlePause = 50;

/**
 * Reads a file, or the files of a folder whose names end in .yaml, .yml or .json and do not begin with a dot: as soon as two looks see the same.
 * @param known what an earlier look saw
 * @throws Error if the path is not there, or is a folder without any such file: a volume that is not mounted looks like that
 */
export async function readSettled(path: string, known: Texts, signal: AbortSignal): Promise<Texts> {
  for (let before = known; ; ) {
    const now = await read(path);
    if (isSame(before, now)) return now;
    before = now;
    await sleep(settlePause, undefined, { signal });
  }
}

/** Whether a file of that name is read, of those in a folder. */
export function isFileOfServices(name: string): boolean {
  return /^[^.].*\.(ya?ml|json)$/i.test(name);
}

/** Whether two looks saw the same. */
export function isSame(a: Texts, b: Texts): boolean {
  const text = (found: string | Error | undefined) => (found instanceof Error ? `error ${found.message}` : found);
  return a.size === b.size && [...a].every(([name, found]) => text(found) === text(b.get(name)));
}

async function read(path: string): Promise<Texts> {
  if (!(await stat(path)).isDirectory()) return new Map([[basename(path), await readFile(path, 'utf8')]]);
  const texts = new Map<string, string | Error>();
  for (const name of (await readdir(path)).sort(compareText)) {
    if (!isFileOfServices(name)) continue;
    try {
      texts.set(name, await readFile(join(path, name), 'utf8'));
    } catch (error) {
      texts.set(name, asError(error));
    }
  }
  if (texts.size > 0) return texts;
  throw new Error(
    `${path} has no file of services (*.yaml, *.yml, *.json); one with "services: []" says that there is none`,
  );
}
