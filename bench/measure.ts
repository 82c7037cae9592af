import { fork } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';

const ticksPerSecond = 100;

/** A process that is measured. */
export interface Measured {
  readonly pid?: number | undefined;
}

/** CPU that a process has used since its start, user and system: s. */
export function cpuSeconds({ pid }: Measured): number {
  const fields = readFileSync(`/proc/${pid}/stat`, 'utf8').split(') ')[1]?.split(' ') ?? [];
  return (Number(fields[11]) + Number(fields[12])) / ticksPerSecond;
}

/** Memory that a process holds now: MB. */
export function residentMegabytes({ pid }: Measured): number {
  return (Number(/VmRSS:\s+(\d+)/.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1]) * 1024) / 1e6;
}

/** The share of a core that a process uses during so many ms: %. */
export async function coreShare(process: Measured, ms: number): Promise<number> {
  const [before, begun] = [cpuSeconds(process), performance.now()];
  await sleep(ms);
  return (100_000 * (cpuSeconds(process) - before)) / (performance.now() - begun);
}

/** The value below which this share of them is; 0 of none. @param share 0 to 1 */
export function quantile(values: readonly number[], share: number): number {
  const sorted = [...values].sort((a, b) => a - b);
  return sorted[Math.min(sorted.length - 1, Math.floor(share * sorted.length))] ?? 0;
}

export function median(values: readonly number[]): number {
  return quantile(values, 0.5);
}

/** Resolves to the ms that the work took. */
export async function timed(work: () => Promise<unknown>): Promise<number> {
  const begun = performance.now();
  await work();
  return performance.now() - begun;
}

/** A Node process that does nothing but see how late its own event loop is: what the machine does to every process. */
export class Bystander {
  readonly #child = fork(fileURLToPath(new URL('./floors/bystander.js', import.meta.url)));

  /** The longest that it was kept waiting since it was asked the last time: ms. */
  async longestStall(): Promise<number> {
    this.#child.send('longest');
    const [longest] = (await once(this.#child, 'message')) as [number];
    return longest;
  }

  stop(): void {
    this.#child.kill();
  }
}
