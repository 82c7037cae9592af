import { quantile } from './measure.js';

/** What a figure has to keep to: itself, or its ratio to the floor. */
export interface Budget {
  readonly of: 'ours' | 'ratio';
  readonly most: number;
}

/** One figure of one scenario, taken several times, each time beside its floor if it has one. */
export interface Figure {
  readonly scenario: string;
  readonly what: string;
  readonly unit: string;
  /** What the floor is. */
  readonly beside: string | undefined;
  readonly ours: number[];
  readonly floor: number[];
  readonly budget: Budget | undefined;
}

export interface Taken {
  readonly what: string;
  readonly unit: string;
  readonly ours: number;
  readonly floor?: number | undefined;
  readonly beside?: string;
  readonly budget?: Budget;
}

export class Figures {
  readonly all: Figure[] = [];
  /** What was lost, or too much, at the end of a scenario: the run fails. */
  readonly wrong: string[] = [];

  take(scenario: string, { what, unit, ours, floor, beside, budget }: Taken): void {
    let figure = this.all.find((one) => one.scenario === scenario && one.what === what);
    if (figure === undefined) {
      figure = { scenario, what, unit, beside, ours: [], floor: [], budget };
      this.all.push(figure);
    }
    figure.ours.push(ours);
    if (floor !== undefined) figure.floor.push(floor);
  }
}

/** Minimum, median and maximum. */
export type Spread = readonly [number, number, number];

export function spread(values: readonly number[]): Spread {
  return [Math.min(...values), quantile(values, 0.5), Math.max(...values)];
}

/** Each value of ours by the floor's of the same repeat; undefined without a floor. */
export function ratios({ ours, floor }: Figure): number[] | undefined {
  if (floor.length !== ours.length || floor.includes(0)) return undefined;
  return ours.map((value, index) => value / (floor[index] ?? 1));
}

/** Whether the median keeps to the budget; undefined if it has none. */
export function isMet(figure: Figure): boolean | undefined {
  if (figure.budget === undefined) return undefined;
  const values = figure.budget.of === 'ours' ? figure.ours : ratios(figure);
  return values !== undefined && quantile(values, 0.5) <= figure.budget.most;
}
