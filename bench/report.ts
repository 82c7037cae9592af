import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { Bench } from './bench.js';
import { type Figure, isMet, ratios, type Spread, spread } from './figures.js';
import { machine } from './proof/report.js';
import { plot } from './ratioplot.js';

const root = fileURLToPath(new URL('../../', import.meta.url));
const marks = ['<!-- bench -->', '<!-- /bench -->'] as const;

/**
 * Writes JSON, Markdown and a plot.
 * @param to a folder; README replaces the repository's own result, and the README's: of what was not measured this time it keeps what is there
 * @param order names of all scenarios
 */
export function write(
  { figures: { all: taken, wrong }, scale, tell }: Bench,
  to: string,
  order: readonly string[],
): void {
  const isSaved = to === 'README';
  const folder = isSaved ? join(root, 'bench/results') : resolve(to);
  mkdirSync(folder, { recursive: true });
  const all = isSaved ? merged(saved(join(folder, 'result.json')), taken, order) : taken;
  const result = table(all, scale.name);
  writeFileSync(
    join(folder, 'result.json'),
    `${JSON.stringify({ machine: machine(), scale, figures: all, wrong }, undefined, 1)}\n`,
  );
  writeFileSync(join(folder, 'result.md'), `${result}\n`);
  writeFileSync(join(folder, 'result.svg'), plot(all));
  tell(`Written: ${folder}`);
  if (!isSaved) return;
  const file = join(root, 'README.md');
  const readme = readFileSync(file, 'utf8');
  const [from, until] = marks.map((mark) => readme.indexOf(mark));
  if (from === undefined || until === undefined || from < 0 || until < from)
    throw new Error(`${file} has no ${marks[0]}`);
  const picture = '![Each figure by its floor, logarithmic](bench/results/result.svg)';
  writeFileSync(
    file,
    `${readme.slice(0, from)}${marks[0]}\n\n${picture}\n\n${budgets(all)}\n\n${machine()}\n\n${readme.slice(until)}`,
  );
}

function saved(file: string): readonly Figure[] {
  return existsSync(file) ? (JSON.parse(readFileSync(file, 'utf8')) as { readonly figures: Figure[] }).figures : [];
}

/** Figures that were taken anew in the place of the old ones, in the order of their scenarios. */
function merged(old: readonly Figure[], taken: readonly Figure[], order: readonly string[]): Figure[] {
  const isAnew = ({ scenario, what }: Figure) => taken.some((one) => one.scenario === scenario && one.what === what);
  return order.flatMap((scenario) =>
    [...old.filter((figure) => !isAnew(figure)), ...taken].filter((figure) => figure.scenario === scenario),
  );
}

/** All figures, as Markdown. */
function table(figures: readonly Figure[], scale: string): string {
  const scenarios = [...new Set(figures.map(({ scenario }) => scenario))];
  return [
    `Minimum / median / maximum. ${scale === 'quick' ? 'The quick form: shows that nothing is lost, and no speed. ' : ''}${machine()}`,
    ...scenarios.map((scenario) =>
      [
        `### ${scenario}`,
        '',
        '| | Pontoon | floor | what the floor is | ratio | budget |',
        '| --- | ---: | ---: | --- | ---: | --- |',
        ...figures.filter((figure) => figure.scenario === scenario).map(row),
      ].join('\n'),
    ),
  ].join('\n\n');
}

/** The figures that have a budget. */
function budgets(figures: readonly Figure[]): string {
  return [
    '| | Pontoon: min / median / max | beside its floor | budget |',
    '| --- | ---: | ---: | --- |',
    ...figures
      .filter(({ budget }) => budget !== undefined)
      .map((figure) => {
        const by = ratios(figure);
        const beside = by === undefined ? '' : `× ${number(spread(by)[1])} (${figure.beside})`;
        return `| ${figure.scenario}: ${figure.what} | ${cell(spread(figure.ours))} ${figure.unit} | ${beside} | ${verdict(figure)} |`;
      }),
  ].join('\n');
}

function row(figure: Figure): string {
  const { what, unit, ours, floor, beside = '' } = figure;
  const by = ratios(figure);
  const cells = [
    what,
    `${cell(spread(ours))} ${unit}`,
    floor.length === 0 ? '' : `${cell(spread(floor))} ${unit}`,
    beside,
    by === undefined ? '' : cell(spread(by)),
    verdict(figure),
  ];
  return `| ${cells.join(' | ')} |`;
}

function verdict(figure: Figure): string {
  const { budget, unit } = figure;
  if (budget === undefined) return '';
  const limit = budget.of === 'ours' ? `${budget.most} ${unit}`.trim() : `× ${budget.most}`;
  return `${isMet(figure) ? 'within' : '**beyond**'} ${limit}`;
}

function cell(values: Spread): string {
  return values.map(number).join(' / ');
}

function number(value: number): string {
  if (Math.abs(value) >= 100) return value.toFixed(0);
  return value.toFixed(Math.abs(value) >= 10 ? 1 : 2);
}
