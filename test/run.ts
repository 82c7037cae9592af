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
  /** The suite that this is a part of, if it is one. */
  readonly whole?: string;
  readonly files: readonly string[];
  /** The servers it needs, by the names of their recipes. */
  readonly needs: readonly string[];
  /** The Node to run it with, by the name of its recipe; this process's own unless given. */
  readonly node?: string;
  /** How often a test that failed is tried again. Real servers on a busy machine may be late once. */
  readonly retries: number;
}

interface Failure {
  readonly suite: string;
  readonly title: string;
  readonly message: string;
}

interface Tally {
  passed: number;
  skipped: number;
  readonly failed: Failure[];
  /** Those that were tried once more. */
  readonly retried: Failure[];
}

/** What each folder under test/real needs; the long ones first, so that none is left over at the end. */
const NEEDS: Readonly<Record<string, readonly string[]>> = {
  nacos: ['nacos2', 'nacos3', 'nacos-client'],
  dubbo: ['zookeeper', 'dubbo', 'nacos2', 'nacos3'],
  zookeeper: ['zookeeper', 'dubbo', 'dubbo27', 'springcloud-zookeeper'],
  consul: ['consul'],
  coordination: ['zookeeper', 'consul', 'etcd', 'kube-apiserver'],
  istiod: ['istiod', 'etcd', 'kube-apiserver'],
  kubernetes: ['etcd', 'kube-apiserver', 'istio-crds'],
  bench: ['zookeeper', 'nacos2', 'eureka', 'consul', 'istiod'],
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
/** Suites at a time: most of what they do is waiting for servers, so that two cores are idle for most of the time with half as many. */
const JOBS = 4;
/** The suites that take more than four minutes, and into how many each is divided. They begin first. */
const LONG: Readonly<Record<string, number>> = { nacos: 2, dubbo: 1, zookeeper: 1, faults: 2, e2e: 1, bench: 1 };

const sources = fileURLToPath(new URL('../../test/', import.meta.url));
const compiled = fileURLToPath(new URL('.', import.meta.url));

/** All suites in the order in which they run when nothing has to be installed first. */
function allSuites(): Suite[] {
  const real = existsSync(join(sources, 'real')) ? readdirSync(join(sources, 'real'), { withFileTypes: true }) : [];
  const folders = real.filter((entry) => entry.isDirectory() && entry.name !== 'contract').map((entry) => entry.name);
  // The table's order.
  folders.sort((a, b) => Object.keys(NEEDS).indexOf(a) - Object.keys(NEEDS).indexOf(b));
  const unit = { ...suite('unit', 'unit', []), retries: 0 };
  const all = [
    ...folders.map((folder) => suite(folder, `real/${folder}`, needsOf(folder))),
    suite('faults', 'faults', [...EVERYTHING, 'libfaketime']),
    suite('e2e', 'e2e', EVERYTHING),
  ].filter(({ files }) => files.length > 0);
  return [
    ...all.flatMap((one) => inParts(one, LONG[one.name] ?? 0)),
    unit,
    { ...unit, name: 'unit-node24', needs: ['node24'], node: 'node24' },
    ...all.filter(({ name }) => !(name in LONG)),
  ];
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
  return { name, files: tests.map((file) => join(compiled, folder, file.replace(/ts$/, 'js'))), needs, retries: 1 };
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
function runSuite({ name, files, node, retries }: Suite, job: number, tally: Tally): Promise<void> {
  return new Promise((resolve) => {
    const child = fork(join(compiled, 'suite.js'), [String(retries), ...files], {
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
      else if (message.kind === 'failed' || message.kind === 'retried')
        tally[message.kind].push({ suite: name, ...message });
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
  const tally: Tally = { passed: 0, skipped: 0, failed: [], retried: [] };
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

/** One suite in so many parts, named `name-1` and so on if there are several. */
function inParts(whole: Suite, parts: number): Suite[] {
  return Array.from({ length: parts }, (_, part) => ({
    ...whole,
    ...(parts === 1 ? {} : { name: `${whole.name}-${part + 1}`, whole: whole.name }),
    files: whole.files.filter((_file, index) => index % parts === part),
  }));
}

function report({ passed, skipped, failed, retried }: Tally): void {
  console.log('');
  for (const { suite, title, message } of retried) console.log(`second try: [${suite}] ${title}: ${indented(message)}`);
  if (retried.length > 0) console.log(`second tries: ${retried.length}`);
  for (const { suite, title, message } of failed) {
    console.log(`failed: [${suite}] ${title}\n        ${indented(message)}`);
  }
  console.log(`${passed} passed, ${failed.length} failed${skipped > 0 ? `, ${skipped} skipped` : ''}`);
}

function indented(message: string): string {
  return message.split('\n').join('\n        ');
}

const USAGE = `node dist/test/run.js [--fast] [--only suite[,suite]] [--list]
  --fast    the unit tests only; no server is needed
  --only    these suites only; nacos is nacos-1 and nacos-2
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
  const named = (wanted: string) => suites.filter(({ name, whole }) => name === wanted || whole === wanted);
  const unknown = wanted?.filter((name) => named(name).length === 0) ?? [];
  if (unknown.length > 0) throw new Error(`no suite ${unknown.join(', ')}; see --list`);

  const chosen = wanted ? [...new Set(wanted.flatMap(named))] : suites;
  const tally = await runAll(values.fast ? named('unit').flatMap((unit) => inParts(unit, JOBS)) : chosen);
  report(tally);
  process.exitCode = tally.failed.length > 0 || tally.passed === 0 ? 1 : 0;
}

main().catch((error: unknown) => {
  console.error(error instanceof Error ? error.message : error);
  process.exitCode = 1;
});
