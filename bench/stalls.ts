import type { Bench } from './bench.js';
import type { Run } from './run.js';

/** Takes the longest stall of Pontoon's event loop since it was asked the last time, beside that of a process that does nothing. */
export async function stalls(bench: Bench, run: Run, what: string): Promise<void> {
  bench.take({ what, unit: 'ms', ...(await longestStalls(bench, run)), beside: 'a process that does nothing' });
}

/** ms. */
export async function longestStalls(bench: Bench, run: Run): Promise<{ ours: number; floor: number }> {
  const [text, floor] = await Promise.all([
    fetch(`${run.pontoon.url}/metrics`).then((response) => response.text()),
    bench.bystander.longestStall(),
  ]);
  return { ours: 1_000 * Number(/^nodejs_eventloop_lag_max_seconds (\S+)$/m.exec(text)?.[1]), floor };
}
