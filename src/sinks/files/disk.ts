import { createHash } from 'node:crypto';
import { mkdir, open, readdir, readFile, rename, rm } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import pLimit from 'p-limit';
import { dnsLabel } from '#model/address.js';
import { compareText } from '#model/mesh.js';

/** Stands in the first line of every file that is ours. */
export const marker = 'Written by Pontoon: do not edit';

/** istiod reads `.yaml` and `.yml` only, and CoreDNS `db.*` or the one file it is told: nobody reads a file of this name. */
const unfinished = '.pontoon-tmp';

const readsAtATime = 16;

/** Identifies content. */
export function digestOf(text: string): string {
  return createHash('sha256').update(text).digest('base64url').slice(0, 22);
}

/** Tells whether a file's content is ours. */
function isOurs(text: string): boolean {
  return text.slice(0, text.indexOf('\n')).endsWith(marker);
}

/**
 * Finds what is ours in a directory and the directories right in it, and deletes what a crash left unfinished there.
 * @returns path within the directory → digest
 * @throws Error if it cannot be read or made
 */
export async function ownFiles(directory: string): Promise<Map<string, string>> {
  await mkdir(directory, { recursive: true });
  const found = new Map<string, string>();
  const limit = pLimit(readsAtATime);
  const folders = (await readdir(directory, { withFileTypes: true })).filter(
    // Others are none of ours, and may not be readable: `lost+found`.
    (entry) => entry.isDirectory() && dnsLabel.test(entry.name),
  );
  for (const { name: folder } of folders.sort((a, b) => compareText(a.name, b.name))) {
    const entries = (await readdir(join(directory, folder), { withFileTypes: true })).filter((entry) => entry.isFile());
    await Promise.all(
      entries.map(({ name }) =>
        limit(async () => {
          const path = join(folder, name);
          if (name.endsWith(unfinished)) return rm(join(directory, path), { force: true });
          const text = await textOf(join(directory, path));
          if (text !== undefined && isOurs(text)) found.set(path, digestOf(text));
        }),
      ),
    );
  }
  return found;
}

/** Whether there is a file that is not ours. @throws Error if it cannot be read */
export async function isForeign(path: string): Promise<boolean> {
  const text = await textOf(path);
  return text !== undefined && !isOurs(text);
}

/** Puts content in place whole or not at all. @throws Error if it cannot; then no part of it is there */
export async function writeWhole(path: string, text: string): Promise<void> {
  const temporary = `${path}${unfinished}`;
  await mkdir(dirname(path), { recursive: true });
  try {
    const file = await open(temporary, 'w', 0o644);
    try {
      await file.writeFile(text);
      await file.sync();
    } finally {
      await file.close();
    }
    await rename(temporary, path);
  } catch (error) {
    await rm(temporary, { force: true }).catch(() => undefined);
    throw error;
  }
}

/** Makes renames and deletions in a directory last. */
export async function syncDirectory(path: string): Promise<void> {
  const directory = await open(path, 'r');
  try {
    await directory.sync();
  } finally {
    await directory.close();
  }
}

async function textOf(path: string): Promise<string | undefined> {
  try {
    return await readFile(path, 'utf8');
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
    throw error;
  }
}
