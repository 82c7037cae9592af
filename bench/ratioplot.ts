import { type Figure, ratios, spread } from './figures.js';
import { round, text } from './proof/plot.js';

const width = 960;
const left = 560;
const right = 40;
const rowHeight = 17;
const top = 40;

/** Legible on light and on dark. */
const style = `
  text { font: 11px system-ui, sans-serif; fill: #57606a; }
  .title { font-weight: 600; fill: #1f2328; }
  .grid { stroke: #8c959f; stroke-opacity: .35; } .one { stroke: #8c959f; stroke-width: 2; }
  .spread { stroke: #0969da; stroke-width: 3; stroke-linecap: round; } .median { fill: #0969da; }
  @media (prefers-color-scheme: dark) {
    text { fill: #9198a1; } .title { fill: #f0f6fc; }
    .spread { stroke: #58a6ff; } .median { fill: #58a6ff; }
  }`;

/** Each figure by its floor, from the smallest to the largest ratio of the repeats, on a logarithmic scale, as SVG. */
export function plot(figures: readonly Figure[]): string {
  const rows = figures.flatMap((figure) => {
    const by = ratios(figure);
    return by === undefined ? [] : [{ figure, spread: spread(by) }];
  });
  const all = rows.flatMap(({ spread: [least, , most] }) => [least, most]).filter((value) => value > 0);
  const [from, to] = [Math.floor(Math.log10(Math.min(0.5, ...all))), Math.ceil(Math.log10(Math.max(10, ...all)))];
  const x = (ratio: number) =>
    left + ((Math.log10(Math.max(ratio, 10 ** from)) - from) / (to - from)) * (width - left - right);
  const height = top + rows.length * rowHeight + 30;
  const ticks = Array.from({ length: to - from + 1 }, (_, index) => 10 ** (from + index));
  return [
    `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${width} ${height}" role="img">`,
    `<title>Each figure by its floor</title><style>${style}</style>`,
    text(8, 18, 'Each figure by its floor: smallest, median and largest ratio of the repeats', 'start', 'title'),
    ...ticks.map(
      (tick) =>
        `<line class="${tick === 1 ? 'one' : 'grid'}" x1="${round(x(tick))}" x2="${round(x(tick))}" y1="${top - 8}" y2="${height - 24}"/>${text(x(tick), height - 8, `× ${tick}`, 'middle')}`,
    ),
    ...rows.map(({ figure, spread: [least, middle, most] }, index) => {
      const y = top + index * rowHeight + 6;
      const name = `${figure.scenario}: ${figure.what}`;
      return `${text(left - 10, y + 4, name.length > 92 ? `${name.slice(0, 90)}…` : name, 'end')}<path class="spread" d="M${round(x(least))} ${y}H${round(x(most))}"/><circle class="median" cx="${round(x(middle))}" cy="${y}" r="4"/>`;
    }),
    '</svg>\n',
  ].join('\n');
}
