import type { ChildProcess } from 'node:child_process';
import { constants } from 'node:os';

const children = new Map<ChildProcess, NodeJS.Signals>();
const lastSteps: (() => void)[] = [];
let watching = false;

/** Sends the signal to a child process when this process ends before it, in whatever way but SIGKILL. */
export function endWithThisProcess(child: ChildProcess, signal: NodeJS.Signals): void {
  children.set(child, signal);
  const forget = () => children.delete(child);
  child.once('exit', forget).once('error', forget);
  watch();
}

/** Runs a synchronous last step when this process ends, after its children were signalled. */
export function beforeThisProcessEnds(step: () => void): void {
  lastSteps.push(step);
  watch();
}

function watch(): void {
  if (watching) return;
  watching = true;
  process.once('exit', () => {
    for (const [child, signal] of children) child.kill(signal);
    for (const step of lastSteps) step();
  });
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) {
    // A program that handles the signal itself stops its servers in its own way.
    process.once(signal, () => {
      if (process.listenerCount(signal) === 0) process.exit(128 + constants.signals[signal]);
    });
  }
}
