import { title } from './report.js';
import type { Sample, Second, Watch } from './watch.js';

const width = 960;
const left = 48;
const right = 24;
const plotWidth = width - left - right;
const rowHeight = 18;

/** Legible on light and on dark. */
const style = `
  text { font: 12px system-ui, sans-serif; fill: #57606a; }
  .title { font-weight: 600; fill: #1f2328; }
  .grid { stroke: #8c959f; stroke-opacity: .35; }
  .band { fill: #8c959f; fill-opacity: .12; }
  .alive { stroke: #8c959f; stroke-dasharray: 2 3; }
  .c0 { stroke: #0969da; } .c1 { stroke: #bc4c00; } .c2 { stroke: #8250df; stroke-dasharray: 7 3; }
  path { fill: none; stroke-width: 2; stroke-linejoin: round; }
  @media (prefers-color-scheme: dark) {
    text { fill: #9198a1; } .title { fill: #f0f6fc; }
    .c0 { stroke: #58a6ff; } .c1 { stroke: #f0883e; } .c2 { stroke: #bc8cff; }
  }`;

/** A chart: one line for each lane and registry. */
interface Chart {
  readonly title: string;
  readonly top: number;
  readonly height: number;
  readonly value: (sample: Sample) => number;
}

/** Two charts over the seconds of the run, as SVG: the endpoints that each Envoy held, and the requests that failed. */
export function plot({ seconds, phases }: Watch): string {
  const series = (seconds[0]?.samples ?? []).map(title);
  const held: Chart = {
    title: 'Endpoints at the Envoy (dotted: instances that live)',
    top: 64,
    height: 170,
    value: (sample) => sample.held,
  };
  const failed: Chart = {
    title: 'Requests failed per second',
    top: 282,
    height: 130,
    value: (sample) => sample.failed,
  };
  const list = failed.top + failed.height + 44;
  const height = list + Math.ceil(phases.length / 2) * rowHeight + 4;
  const x = (second: number) => left + ((second - 1) / Math.max(1, seconds.length - 1)) * plotWidth;
  const parts = [
    `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${width} ${height}" role="img">`,
    `<title>Endpoints held and requests failed, second by second</title><style>${style}</style>`,
    legend(series),
    bands(seconds, x, held.top, failed.top + failed.height),
    chart(held, seconds, x, [...aliveLines(seconds)]),
    chart(failed, seconds, x, []),
    axis(seconds, x, failed.top + failed.height),
    ...phases.map((title, index) => {
      const column = Math.floor(index / Math.ceil(phases.length / 2));
      const row = index % Math.ceil(phases.length / 2);
      return text(left + (column * plotWidth) / 2, list + row * rowHeight, `${index + 1}  ${title}`);
    }),
    '</svg>\n',
  ];
  return parts.join('\n');
}

function legend(series: readonly string[]): string {
  return series
    .map((name, index) => {
      const from = left + index * 230;
      return `<path class="c${index}" d="M${from} 14h24"/>${text(from + 32, 18, name)}`;
    })
    .join('');
}

/** Every other phase is shaded, and each has its number on top. */
function bands(seconds: readonly Second[], x: (second: number) => number, top: number, bottom: number): string {
  const starts = seconds.filter(({ phase }, index) => phase !== seconds[index - 1]?.phase);
  return starts
    .map(({ second, phase }, index) => {
      const from = x(second);
      const to = x(starts[index + 1]?.second ?? seconds.length);
      const size = `y="${top}" width="${round(to - from)}" height="${bottom - top}"`;
      const shade = index % 2 === 1 ? `<rect class="band" x="${round(from)}" ${size}/>` : '';
      return `${shade}${text((from + to) / 2, top - 8, String(phase + 1), 'middle')}`;
    })
    .join('');
}

function aliveLines(seconds: readonly Second[]): number[][] {
  const registries = [...new Set((seconds[0]?.samples ?? []).map(({ registry }) => registry))];
  return registries.map((wanted) =>
    seconds.map(({ samples }) => samples.find(({ registry }) => registry === wanted)?.alive ?? 0),
  );
}

function chart(
  { title, top, height, value }: Chart,
  seconds: readonly Second[],
  x: (second: number) => number,
  dotted: readonly (readonly number[])[],
): string {
  const lines = (seconds[0]?.samples ?? []).map((_, index) =>
    seconds.map(({ samples }) => (samples[index] === undefined ? 0 : value(samples[index]))),
  );
  const most = Math.max(10, ...lines.flat(), ...dotted.flat());
  const step = stepOf(most);
  const roof = Math.ceil(most / step) * step;
  const y = (number: number) => top + height - (number / roof) * height;
  const path = (name: string, values: readonly number[]) =>
    `<path class="${name}" d="M${values.map((number, index) => `${round(x(index + 1))} ${round(y(number))}`).join('L')}"/>`;
  const ticks = Array.from({ length: roof / step + 1 }, (_, index) => index * step);
  return [
    text(left, top - 26, title, 'start', 'title'),
    ...ticks.map(
      (tick) =>
        `<line class="grid" x1="${left}" x2="${width - right}" y1="${round(y(tick))}" y2="${round(y(tick))}"/>${text(left - 8, y(tick) + 4, String(tick), 'end')}`,
    ),
    ...dotted.map((values) => path('alive', values)),
    // The first one is on top.
    ...lines.map((values, index) => path(`c${index}`, values)).reverse(),
  ].join('');
}

function axis(seconds: readonly Second[], x: (second: number) => number, bottom: number): string {
  return seconds
    .filter(({ second }) => second % 30 === 0)
    .map(({ second }) => text(x(second), bottom + 18, `${second} s`, 'middle'))
    .join('');
}

/** A round distance between grid lines, for some five of them. */
function stepOf(most: number): number {
  return [5, 10, 20, 25, 50, 100, 200].find((step) => most / step <= 5) ?? 500;
}

/** A text of a picture, escaped. */
export function text(x: number, y: number, content: string, anchor = 'start', name = ''): string {
  const attributes = `x="${round(x)}" y="${round(y)}" text-anchor="${anchor}"${name === '' ? '' : ` class="${name}"`}`;
  return `<text ${attributes}>${content.replaceAll('&', '&amp;').replaceAll('<', '&lt;')}</text>`;
}

/** A coordinate, short. */
export function round(number: number): string {
  return String(Math.round(number * 10) / 10);
}
