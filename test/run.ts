import { fork, spawn } from 'node:child_process';
import { existsSync, readdirSync } from 'node:fs';
import { constants, setPriority } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { installed, isInstalled, recipeNamed } from '#test/servers/cache.js';
import { endWithThisProcess } from '#test/servers/lifetime.js';
import type { SuiteMessage } from '#test/suite.js';

interface Suite {
  readonly name: string;
  readonly files: readonly string[];
  /** The servers it needs, by the names of their recipes. */
  readonly needs: readonly string[];
  /** The Node to run it with, by the name of its recipe; this process's own unless given. */
  readonly node?: string;
}

interface Tally {
  passed: number;
  skipped: number;
  readonly failed: { readonly suite: string; readonly title: string; readonly message: string }[];
}

/** What each folder under test/real needs; the long ones first. */
const NEEDS: Readonly<Record<string, readonly string[]>> = {
  nacos: ['nacos2', 'nacos3', 'nacos-client'],
  dubbo: ['zookeeper', 'dubbo', 'nacos2', 'nacos3'],
  zookeeper: ['zookeeper', 'dubbo', 'dubbo27', 'springcloud-zookeeper'],
  consul: ['consul'],
  coordination: ['zookeeper', 'consul', 'etcd', 'kube-apiserver'],
  istiod: ['istiod', 'etcd', 'kube-apiserver'],
  kubernetes: ['etcd', 'kube-apiserver'],
  eureka: ['eureka', 'springcloud'],
  doctor: ['zookeeper', 'consul', 'istiod', 'libfaketime', 'etcd', 'kube-apiserver'],
  file: [],
  snapshot: [],
  names: ['istiod', 'envoy', 'coredns'],
  'kubernetes-sink': ['etcd', 'kube-apiserver', 'istio-crds', 'istiod'],
  istio: ['istiod', 'istio-validator', 'envoy'],
};
const EVERYTHING = [...new Set([...Object.values(NEEDS).flat(), 'envoy'])];
const INSTALL_POLL_MS = 500;
/** Suites at a time: most of what they do is waiting for servers. */
const JOBS = 2;

const sources = fileURLToPath(new URL('../../test/', import.meta.url));
const compiled = fileURLToPath(new URL('.', import.meta.url));

/** All suites in the order in which they run when nothing has to be installed first. */
function allSuites(): Suite[] {
  const real = existsSync(join(sources, 'real')) ? readdirSync(join(sources, 'real'), { withFileTypes: true }) : [];
  const folders = real.filter((entry) => entry.isDirectory() && entry.name !== 'contract').map((entry) => entry.name);
  // The table's order.
  folders.sort((a, b) => Object.keys(NEEDS).indexOf(a) - Object.keys(NEEDS).indexOf(b));
  return [
    suite('unit', 'unit', []),
    { ...suite('unit-node24', 'unit', ['node24']), node: 'node24' },
    ...folders.map((folder) => suite(folder, `real/${folder}`, needsOf(folder))),
    suite('e2e', 'e2e', EVERYTHING),
    ...inParts([suite('faults', 'faults', [...EVERYTHING, 'libfaketime'])], 'faults'),
  ].filter(({ files }) => files.length > 0);
}

function needsOf(folder: string): readonly string[] {
  const needs = NEEDS[folder];
  if (needs) return needs;
  throw new Error(`test/real/${folder}: say in test/run.ts which servers it needs`);
}

/** The suite of the folder's tests; found in the sources, since compiled ones may be left from tests that are gone. */
function suite(name: string, folder: string, needs: readonly string[]): Suite {
  const path = join(sources, folder);
  const names = existsSync(path) ? readdirSync(path, { recursive: true, encoding: 'utf8' }) : [];
  const tests = names.filter((file) => file.endsWith('.test.ts')).sort();
  return { name, files: tests.map((file) => join(compiled, folder, file.replace(/ts$/, 'js'))), needs };
}

/** Installs what is missing in a process of low priority, and resolves when that has ended, well or not. */
function installInBackground(names: readonly string[]): Promise<void> {
  return new Promise((resolve) => {
    const child = spawn(process.execPath, [join(compiled, 'servers/install.js'), ...names], {
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    endWithThisProcess(child, 'SIGTERM');
    if (child.pid) setPriority(child.pid, constants.priority.PRIORITY_LOW);
    createInterface(child.stdout).on('line', (line) => console.log(`[install] ${line}`));
    child.once('close', () => resolve());
  });
}

/** Runs a suite in a process of its own and adds its results to the tally. @param job which of those that run at a time, from 0 */
function runSuite({ name, files, node }: Suite, job: number, tally: Tally): Promise<void> {
  return new Promise((resolve) => {
    const child = fork(join(compiled, 'suite.js'), files, {
      execPath: node === undefined ? process.execPath : join(installed(node), 'bin/node'),
      env: { ...process.env, PONTOON_TEST_JOB: `${job}/${JOBS}` },
      stdio: ['ignore', 'pipe', 'pipe', 'ipc'],
    });
    endWithThisProcess(child, 'SIGTERM');
    for (const output of [child.stdout, child.stderr])
      if (output !== null) createInterface(output).on('line', (line) => console.log(`[${name}] ${line}`));
    let ended = false;
    child.on('message', (message: SuiteMessage) => {
      if (message.kind === 'end') ended = true;
      else if (message.kind === 'failed') tally.failed.push({ suite: name, ...message });
      else tally[message.kind]++;
    });
    child.once('close', (code, signal) => {
      if (!ended) tally.failed.push({ suite: name, title: 'the suite', message: `crashed with ${signal ?? code}` });
      resolve();
    });
  });
}

/** Runs the suites, each as soon as its servers are installed. */
async function runAll(suites: readonly Suite[]): Promise<Tally> {
  const tally: Tally = { passed: 0, skipped: 0, failed: [] };
  const isThere = (name: string) => isInstalled(recipeNamed(name));
  const missing = [...new Set(suites.flatMap(({ needs }) => needs))].filter((name) => !isThere(name));
  let installing = missing.length > 0;
  if (installing) {
    void installInBackground(missing).then(() => {
      installing = false;
    });
  }
  const waiting = [...suites];
  const work = async (job: number): Promise<void> => {
    while (waiting.length > 0) {
      // Once the installer has ended, the tests themselves say what is missing.
      const next = waiting.findIndex(({ needs }) => !installing || needs.every(isThere));
      const [ready] = next < 0 ? [] : waiting.splice(next, 1);
      if (ready) await runSuite(ready, job, tally);
      else await sleep(INSTALL_POLL_MS);
    }
  };
  await Promise.all(Array.from({ length: JOBS }, (_, job) => work(job)));
  return tally;
}

/** One suite in as many parts as run at a time. */
function inParts(suites: readonly Suite[], name: string): Suite[] {
  const found = suites.filter((one) => one.name === name);
  return found.flatMap(({ files, needs }) =>
    Array.from({ length: JOBS }, (_, job) => ({
      name: `${name}-${job + 1}`,
      files: files.filter((_file, index) => index % JOBS === job),
      needs,
    })),
  );
}

function report({ passed, skipped, failed }: Tally): void {
  console.log('');
  for (const { suite, title, message } of failed) {
    console.log(`failed: [${suite}] ${title}\n        ${message.split('\n').join('\n        ')}`);
  }
  console.log(`${passed} passed, ${failed.length} failed${skipped > 0 ? `, ${skipped} skipped` : ''}`);
}

const USAGE = `node dist/test/run.js [--fast] [--only suite[,suite]] [--list]
  --fast    the unit tests only; no server is needed
  --only    these suites only
  --list    the suites and what they need`;

async function main(): Promise<void> {
  const { values } = parseArgs({
    options: {
      fast: { type: 'boolean' },
      only: { type: 'string' },
      list: { type: 'boolean' },
      help: { type: 'boolean' },
    },
  });
  if (values.help) return console.log(USAGE);
  const suites = allSuites();
  if (values.list) return console.log(suites.map(({ name, needs }) => `${name}: ${needs.join(', ')}`).join('\n'));

  const wanted = values.only?.split(',');
  const unknown = wanted?.filter((name) => !suites.some((known) => known.name === name)) ?? [];
  if (unknown.length > 0) throw new Error(`no suite ${unknown.join(', ')}; see --list`);

  const chosen = wanted ? suites.filter(({ name }) => wanted.includes(name)) : suites;
  const tally = await runAll(values.fast ? inParts(suites, 'unit') : chosen);
  report(tally);
  process.exitCode = tally.failed.length > 0 || tally.passed === 0 ? 1 : 0;
}

main().catch((error: unknown) => {
  console.error(error instanceof Error ? error.message : error);
  process.exitCode = 1;
});
