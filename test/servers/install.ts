import { spawn } from 'node:child_process';
import { accessSync, constants, existsSync, realpathSync } from 'node:fs';
import { cp } from 'node:fs/promises';
import { delimiter, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { fillOnce, installFolder, isInstalled, recipeFolder, recipeNamed } from '#test/servers/cache.js';
import { endWithThisProcess } from '#test/servers/lifetime.js';
import { type Recipe, recipes, type Step } from '#test/servers/recipes.js';

const OUTPUT_TAIL_CHARS = 4_000;

/** How each toolchain is called in a message when it is missing. */
const TOOL_HINTS: Readonly<Record<string, string>> = {
  'apt-get': 'which Debian and Ubuntu have',
  dpkg: 'which Debian and Ubuntu have',
  go: 'Go 1.26 or newer',
  javac: 'a JDK of version 17 or newer',
  mvn: 'Apache Maven 3.8 or newer',
  npm: 'npm, which comes with Node',
  python3: 'Python 3 with pip',
};

/** What became of one install. */
export interface InstallResult {
  readonly name: string;
  /** Why it failed; undefined when it is installed. */
  readonly error?: Error;
  /** How long it took in seconds; 0 when it was there already. */
  readonly seconds: number;
}

/**
 * Installs servers into the cache, two at a time at most (one with Maven, one without), and
 * resolves when all are done or failed.
 *
 * @param names servers to install; one that is installed already costs nothing
 * @param report gets a line at each start, end and failure
 */
export async function install(names: readonly string[], report: (line: string) => void): Promise<InstallResult[]> {
  const wanted = recipes.filter((recipe) => names.map(recipeNamed).includes(recipe));
  const inLane = async (lane: Recipe['lane']) => {
    const results: InstallResult[] = [];
    for (const recipe of wanted) if (recipe.lane === lane) results.push(await installOne(recipe, report));
    return results;
  };
  return (await Promise.all([inLane('maven'), inLane('other')])).flat();
}

async function installOne(recipe: Recipe, report: (line: string) => void): Promise<InstallResult> {
  const { name } = recipe;
  if (isInstalled(recipe)) {
    report(`${name}: there`);
    return { name, seconds: 0 };
  }
  const start = performance.now();
  const seconds = () => Math.round((performance.now() - start) / 100) / 10;
  try {
    requireTools(recipe);
    report(`${name}: installing`);
    await fillOnce(installFolder(recipe), (folder) => build(recipe, folder));
    report(`${name}: installed in ${seconds()} s`);
    return { name, seconds: seconds() };
  } catch (cause) {
    const error = cause instanceof Error ? cause : new Error(String(cause));
    report(`${name}: failed after ${seconds()} s: ${error.message}`);
    return { name, error, seconds: seconds() };
  }
}

async function build(recipe: Recipe, folder: string): Promise<void> {
  const files = recipeFolder(recipe);
  if (existsSync(files)) await cp(files, folder, { recursive: true });
  for (const step of recipe.steps) await run(step, folder);
}

function run({ command, args, env }: Step, cwd: string): Promise<void> {
  return new Promise((resolve, reject) => {
    const child = spawn(command, args, { cwd, env: { ...process.env, ...env }, stdio: ['ignore', 'pipe', 'pipe'] });
    endWithThisProcess(child, 'SIGTERM');
    let output = '';
    for (const stream of [child.stdout, child.stderr]) {
      stream.setEncoding('utf8').on('data', (chunk) => {
        output = (output + chunk).slice(-OUTPUT_TAIL_CHARS);
      });
    }
    child.once('error', reject);
    child.once('close', (code) => {
      if (code === 0) resolve();
      else reject(new Error(`${command} ${args.join(' ')} ended with ${code}:\n${output.trim()}`));
    });
  });
}

function requireTools(recipe: Recipe): void {
  const missing = recipe.tools.filter((tool) => !isOnPath(tool));
  if (missing.length === 0) return;
  const hints = missing.map((tool) => (TOOL_HINTS[tool] ? `${tool} (${TOOL_HINTS[tool]})` : tool));
  throw new Error(`needs ${hints.join(' and ')}, not found on the PATH`);
}

function isOnPath(tool: string): boolean {
  return (process.env.PATH ?? '').split(delimiter).some((folder) => {
    try {
      accessSync(join(folder, tool), constants.X_OK);
      return true;
    } catch {
      return false;
    }
  });
}

function list(): void {
  for (const recipe of recipes) {
    console.log(`${recipe.name.padEnd(14)}${isInstalled(recipe) ? installFolder(recipe) : 'not installed'}`);
  }
}

async function main(args: readonly string[]): Promise<void> {
  if (args.includes('--list')) return list();
  const names = args.length > 0 ? args : recipes.map((recipe) => recipe.name);
  const results = await install(names, (line) => console.log(line));
  const failed = results.filter((result) => result.error);
  if (failed.length === 0) return;
  console.error(`not installed: ${failed.map((result) => result.name).join(', ')}`);
  process.exitCode = 1;
}

if (process.argv[1] && realpathSync(process.argv[1]) === fileURLToPath(import.meta.url)) {
  main(process.argv.slice(2)).catch((error: unknown) => {
    console.error(error instanceof Error ? error.message : error);
    process.exitCode = 1;
  });
}
