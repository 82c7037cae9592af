import { createHash } from 'node:crypto';
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { mkdir, readFile, rename, rm, stat, utimes, writeFile } from 'node:fs/promises';
import { homedir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { type Recipe, recipes } from '#test/servers/recipes.js';

// A holder touches its lock far more often than this; after a reboot its process id may be another's.
const STALE_LOCK_MS = 30_000;
const TOUCH_LOCK_MS = 5_000;
const LOCK_POLL_MS = 300;

/** The folder of all installs: `$PONTOON_CACHE`, else `pontoon` in `$XDG_CACHE_HOME` or `~/.cache`. */
export function cacheRoot(): string {
  return process.env.PONTOON_CACHE || join(process.env.XDG_CACHE_HOME || join(homedir(), '.cache'), 'pontoon');
}

/** The folder of a recipe's own files; it need not exist. */
export function recipeFolder(recipe: Recipe): string {
  return fileURLToPath(new URL(`../../../test/servers/recipes/${recipe.name}`, import.meta.url));
}

/**
 * The recipe with the name.
 *
 * @throws Error listing the known names
 */
export function recipeNamed(name: string): Recipe {
  const recipe = recipes.find((candidate) => candidate.name === name);
  if (recipe) return recipe;
  throw new Error(`no server is named ${name}; there are ${recipes.map((known) => known.name).join(', ')}`);
}

/** Where a recipe's install is or will be: named after its files and steps, so that a change of either installs anew. */
export function installFolder(recipe: Recipe): string {
  const hash = createHash('sha256').update(JSON.stringify(recipe.steps));
  const folder = recipeFolder(recipe);
  for (const file of existsSync(folder) ? readdirSync(folder).sort() : []) {
    hash.update(`\0${file}\0`).update(readFileSync(join(folder, file)));
  }
  return join(cacheRoot(), `${recipe.name}-${hash.digest('hex').slice(0, 12)}`);
}

/** Whether the recipe as it is now is installed. */
export function isInstalled(recipe: Recipe): boolean {
  return existsSync(installFolder(recipe));
}

/**
 * The folder of an installed server.
 *
 * @throws Error saying how to install it
 */
export function installed(name: string): string {
  const recipe = recipeNamed(name);
  if (isInstalled(recipe)) return installFolder(recipe);
  throw new Error(`${name} is not installed: npm run servers:install -- ${name}`);
}

/**
 * Fills an install's folder unless it is there: `build` gets a temporary folder, which is moved in
 * place when it is done. Another process that does the same is waited for; the lock of a process
 * that is gone is taken over.
 *
 * @returns whether `build` ran
 */
export async function fillOnce(folder: string, build: (temporary: string) => Promise<void>): Promise<boolean> {
  await mkdir(cacheRoot(), { recursive: true });
  const unlock = await lock(`${folder}.lock`);
  try {
    if (existsSync(folder)) return false;
    const temporary = `${folder}.tmp`;
    await rm(temporary, { recursive: true, force: true });
    await mkdir(temporary);
    try {
      await build(temporary);
      await rename(temporary, folder);
    } finally {
      await rm(temporary, { recursive: true, force: true });
    }
    return true;
  } finally {
    await unlock();
  }
}

async function lock(file: string): Promise<() => Promise<void>> {
  while (!(await create(file))) {
    if (await isStale(file)) await rm(file, { force: true });
    else await sleep(LOCK_POLL_MS);
  }
  const touch = setInterval(() => {
    const now = new Date();
    utimes(file, now, now).catch(() => {});
  }, TOUCH_LOCK_MS);
  touch.unref();
  return async () => {
    clearInterval(touch);
    await rm(file, { force: true });
  };
}

async function create(file: string): Promise<boolean> {
  try {
    await writeFile(file, String(process.pid), { flag: 'wx' });
    return true;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'EEXIST') return false;
    throw error;
  }
}

async function isStale(file: string): Promise<boolean> {
  try {
    const [{ mtimeMs }, content] = await Promise.all([stat(file), readFile(file, 'utf8')]);
    if (Date.now() - mtimeMs > STALE_LOCK_MS) return true;
    const pid = Number(content);
    return pid > 0 && !isAlive(pid);
  } catch {
    return false;
  }
}

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'EPERM';
  }
}
