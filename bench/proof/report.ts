import { cpus, totalmem } from 'node:os';
import { halved } from './services.js';
import type { Sample, Second, Watch } from './watch.js';

/** A column of the tables: one lane and registry. */
interface Column {
  readonly title: string;
  readonly is: (sample: Sample) => boolean;
}

const gib = 2 ** 30;

/** One line about one second. */
export function line({ second, phase, samples, guarded }: Second, phases: readonly string[]): string {
  const parts = samples.map(({ lane, registry, held, living, alive, requests, failed }) => {
    const dead = held > living ? ` +${held - living} dead` : '';
    return `${lane}, ${registry}: ${living}/${alive}${dead}, ${requests} requests, ${failed} failed`.padEnd(60);
  });
  const holding = guarded === undefined ? 'no answer from Pontoon' : `Pontoon’s guards hold ${guarded}`;
  return `${String(second).padStart(4)} s  ${phases.length > 0 ? phase + 1 : ' '} | ${parts.join('| ')}| ${holding}`;
}

/** What the run came to, as Markdown: a table by phase, one of the removals, and on what machine it was. */
export function tables(watch: Watch): string {
  const columns = columnsOf(watch.seconds);
  return [byPhase(watch, columns), removals(watch), machine()].join('\n\n');
}

function columnsOf(seconds: readonly Second[]): Column[] {
  return (seconds[0]?.samples ?? []).map(({ lane, registry }) => ({
    title: `${lane}, ${registry === 'nacos' ? 'Nacos' : 'ZooKeeper'}`,
    is: (sample) => sample.lane === lane && sample.registry === registry,
  }));
}

function byPhase({ phases, seconds }: Watch, columns: readonly Column[]): string {
  const row = (title: string, of: readonly Second[], cells: readonly string[]) =>
    `| ${[title, of.length, ...cells].join(' | ')} |`;
  const all = (of: readonly Second[], { is }: Column) => of.flatMap(({ samples }) => samples.filter(is));
  const cell = (samples: readonly Sample[]) => `${failed(samples)} | ${fewest(samples)}`;
  const heading = columns.map(({ title }) => `${title}: failed requests | living endpoints, at the fewest`);
  const rows = phases.map((title, index) => {
    const of = seconds.filter(({ phase }) => phase === index);
    return row(
      `${index + 1} ${title}`,
      of,
      columns.map((column) => cell(all(of, column))),
    );
  });
  const crashed = (samples: readonly Sample[]) => sum(samples.map(({ failedOf }) => failedOf[halved] ?? 0));
  return [
    `| phase | s | ${heading.join(' | ')} |`,
    `| --- | ---: |${' ---: | ---: |'.repeat(columns.length)}`,
    ...rows,
    row(
      '**all**',
      seconds,
      columns.map((column) => `**${failed(all(seconds, column))}** | ${fewest(all(seconds, column))}`),
    ),
    row(
      `of these to ${halved}, half of which crashed`,
      seconds,
      columns.map((column) => `${crashed(all(seconds, column))} |`),
    ),
  ].join('\n');
}

function failed(samples: readonly Sample[]): string {
  return `${sum(samples.map((sample) => sample.failed))} of ${sum(samples.map(({ requests }) => requests))}`;
}

function fewest(samples: readonly Sample[]): string {
  const worst = [...samples].sort((a, b) => b.alive - b.living - (a.alive - a.living))[0];
  return worst === undefined ? '' : `${worst.living} of ${worst.alive}`;
}

function removals({ removals: all, seconds }: Watch): string {
  const lanes = [...new Set(seconds.flatMap(({ samples }) => samples.map(({ lane }) => lane)))];
  const delay = (ms: number | 'before' | undefined) => {
    if (ms === 'before') return 'had lost all of them before';
    return ms === undefined ? 'still there at the end' : `${(ms / 1_000).toFixed(1)} s`;
  };
  return [
    `| what really went; time until its last endpoint had left the Envoy | ${lanes.join(' | ')} |`,
    `| --- |${' ---: |'.repeat(lanes.length)}`,
    ...all.map(({ what, after }) => `| ${what} | ${lanes.map((lane) => delay(after.get(lane))).join(' | ')} |`),
  ].join('\n');
}

function machine(): string {
  const [cpu] = cpus();
  const memory = `${Math.round(totalmem() / gib)} GiB of memory`;
  const date = new Date().toISOString().slice(0, 10);
  return `${cpus().length} cores (${cpu?.model.trim()}), ${memory}, Node ${process.version}, ${date}.`;
}

function sum(values: readonly number[]): number {
  return values.reduce((total, value) => total + value, 0);
}
