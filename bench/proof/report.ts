import { cpus, totalmem } from 'node:os';
import { lateMs } from './load.js';
import { halved } from './services.js';
import type { Sample, Second, Watch } from './watch.js';

const gib = 2 ** 30;
const cellWidth = 33;

/** What a lane and registry is called: by the lane alone where that is Nacos, which all lanes have. */
export function title({ lane, registry }: Pick<Sample, 'lane' | 'registry'>): string {
  return registry === 'nacos' ? lane : `${lane}, ZooKeeper`;
}

/** The heading of the lines that {@link line} gives. */
export function heading(columns: readonly Pick<Sample, 'lane' | 'registry'>[]): string {
  const cells = columns.map((column) => title(column).padEnd(cellWidth));
  return `        │ ${cells.join('│ ')}│ held by Pontoon's guards`;
}

/** One line about one second: living endpoints, those of instances that have gone, requests answered and failed. */
export function line({ second, samples, guarded }: Second): string {
  const cells = samples.map(({ held, living, alive, requests, failed }) => {
    const gone = held > living ? `+${held - living} gone` : '';
    const endpoints = `${living}/${alive} ${gone}`.padEnd(14);
    const answers = `${String(requests - failed).padStart(3)} ok ${String(failed).padStart(3)} failed`;
    return `${endpoints} ${answers}`.padEnd(cellWidth);
  });
  return `${String(second).padStart(5)} s │ ${cells.join('│ ')}│ ${guarded ?? '(no answer)'}`;
}

/** What the run came to, as Markdown: a table by phase, one of the removals, and on what machine it was. */
export function tables(watch: Watch): string {
  return [byPhase(watch), removals(watch), `${legend} ${machine()}`].join('\n\n');
}

const legend = `Failed, of all requests: answered with anything but 200, or not within ${lateMs / 1_000} s. Endpoints: of the instances that live, how many the Envoy had when it lacked most. Both are of the services in Nacos where nothing else is said.`;

function byPhase({ phases, seconds }: Watch): string {
  const columns = seconds[0]?.samples ?? [];
  const row = (name: string, of: readonly Second[], cell: (samples: readonly Sample[]) => string) => {
    const cells = columns.map((_, index) => cell(of.flatMap(({ samples }) => samples[index] ?? [])));
    return `| ${[name, of.length, ...cells].join(' | ')} |`;
  };
  return [
    `| phase | s | ${columns.map((column) => `${title(column)}: failed | endpoints`).join(' | ')} |`,
    `| --- | ---: |${' ---: | ---: |'.repeat(columns.length)}`,
    ...phases.map((name, index) =>
      row(
        `${index + 1} ${name}`,
        seconds.filter(({ phase }) => phase === index),
        (samples) => `${failed(samples)} | ${fewest(samples)}`,
      ),
    ),
    row('**all**', seconds, (samples) => `**${failed(samples)}** | ${fewest(samples)}`),
    row(
      `to ${halved}, half of which crashed`,
      seconds,
      (samples) => `${sum(samples.map(({ failedOf }) => failedOf[halved] ?? 0))} | `,
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
    if (ms === 'before') return 'had none of them any more';
    return ms === undefined ? 'still there at the end' : `${(ms / 1_000).toFixed(1)} s`;
  };
  return [
    `| what really went: time until its last endpoint had left the Envoy | ${lanes.join(' | ')} |`,
    `| --- |${' ---: |'.repeat(lanes.length)}`,
    ...all.map(({ what, after }) => `| ${what} | ${lanes.map((lane) => delay(after.get(lane))).join(' | ')} |`),
  ].join('\n');
}

/** On what it ran, and when. */
export function machine(): string {
  const [cpu] = cpus();
  const memory = `${Math.round(totalmem() / gib)} GiB of memory`;
  const date = new Date().toISOString().slice(0, 10);
  return `${cpus().length} cores (${cpu?.model.trim()}), ${memory}, Node ${process.version}, ${date}.`;
}

function sum(values: readonly number[]): number {
  return values.reduce((total, value) => total + value, 0);
}
