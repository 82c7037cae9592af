import { execFile } from 'node:child_process';
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { Load, type Stream } from './load.js';
import { play } from './phases.js';
import { plot } from './plot.js';
import { heading, line, tables } from './report.js';
import { Watch } from './watch.js';
import { startWorld, type World } from './world.js';

/**
 * `npm run proof [-- --save]`: two bridges side by side under load, while registries fail. The README says how, and shows the result. Exits with 0 if the run was completed,
 * whatever it showed.
 */
const saves = process.argv.includes('--save');
const root = fileURLToPath(new URL('../../../', import.meta.url));
const cli = fileURLToPath(new URL('../../src/cli/pontoon.js', import.meta.url));
const marks = ['<!-- proof -->', '<!-- /proof -->'] as const;

const tell = (text: string): void => console.log(text);

async function prove(world: World): Promise<void> {
  const { lanes, services, pontoon } = world;
  const streams: Stream[] = [
    { lane: lanes.pontoon, registry: 'nacos', perSecond: 200 },
    { lane: lanes.peer, registry: 'nacos', perSecond: 200 },
    { lane: lanes.pontoon, registry: 'zookeeper', perSecond: 100 },
  ];
  const held = async () => {
    const { holds } = (await pontoon.get('/api/v1/guards')) as { holds: { instances: unknown[] }[] };
    return holds.reduce((sum, { instances }) => sum + instances.length, 0);
  };
  const watch = new Watch(streams, services, held, (second) => tell(line(second)));
  const load = new Load(streams, (...answer) => watch.count(...answer));
  tell(`\n${heading(streams.map(({ lane, registry }) => ({ lane: lane.name, registry })))}`);
  load.start();
  watch.start();
  try {
    await play(world, watch, load, tell);
  } finally {
    await load.stop();
    await watch.stop();
  }
  write(tables(watch), plot(watch));
  const [missing = ''] = world.going.halved.addresses;
  for (const command of [
    ['explain', missing],
    ['journal', '--instance', missing],
  ])
    tell(`\n$ pontoon ${command.join(' ')}\n${await pontoonSays([...command, '--url', pontoon.url])}`);
}

function write(result: string, picture: string): void {
  tell(`\n${result}`);
  const folder = join(root, saves ? 'bench/proof' : 'proof-result');
  mkdirSync(folder, { recursive: true });
  writeFileSync(join(folder, 'result.md'), `${result}\n`);
  writeFileSync(join(folder, 'result.svg'), picture);
  tell(`Written: ${join(folder, 'result.md')} and result.svg`);
  if (!saves) return;
  const file = join(root, 'README.md');
  const readme = readFileSync(file, 'utf8');
  const [from, to] = marks.map((mark) => readme.indexOf(mark));
  if (from === undefined || to === undefined || from < 0 || to < from) throw new Error(`${file} has no ${marks[0]}`);
  const image = '![Endpoints held and requests failed, second by second](bench/proof/result.svg)';
  writeFileSync(file, `${readme.slice(0, from)}${marks[0]}\n\n${image}\n\n${result}\n\n${readme.slice(to)}`);
}

function pontoonSays(args: readonly string[]): Promise<string> {
  return new Promise((resolve) => execFile(process.execPath, [cli, ...args], (_, out, error) => resolve(out + error)));
}

let world: World | undefined;
try {
  tell(`${intro()}\n`);
  world = await startWorld(tell);
  await prove(world);
} catch (error) {
  console.error(error);
  process.exitCode = 1;
} finally {
  await world?.stop();
}
process.exit();

function intro(): string {
  return `Two bridges side by side on one Nacos 2.3.2, each with an istiod and an Envoy of its own: Pontoon, with its guards at their defaults, and the one that this
Nacos has built in, looking for changes every 500 ms. Between that one and its istiod stands a relay that rewrites one type URL, since istiod asks for
ServiceEntries as networking.istio.io/v1 and it knows v1alpha3 only. Pontoon reads a ZooKeeper besides. Steady load, nothing tried again.
Each second: endpoints of living instances / instances that live, requests answered and failed.`;
}
