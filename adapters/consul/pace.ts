import { setTimeout as sleep } from 'node:timers/promises';

const FIRST_MS = 200;
const LONGEST_MS = 10_000;

/** Pauses between attempts: doubling from 0.2 s to 10 s, each shortened by up to a half at random. */
export class Backoff {
  #attempts = 0;

  reset(): void {
    this.#attempts = 0;
  }

  /** @throws the signal's reason */
  async pause(signal: AbortSignal): Promise<void> {
    const longest = Math.min(LONGEST_MS, FIRST_MS * 2 ** this.#attempts++);
    await sleep(longest * (1 - Math.random() / 2), undefined, { signal });
  }
}

/** Lets one wait until others ring. What rings meanwhile is not lost. */
export class Bell {
  #rung = false;
  #wake = new AbortController();

  ring(): void {
    this.#rung = true;
    this.#wake.abort();
  }

  /** Returns when it was rung since the last return, or after `ms`. @returns whether it was rung @throws the signal's reason */
  async heard(ms: number, signal: AbortSignal): Promise<boolean> {
    if (!this.#rung) {
      // Not AbortSignal.any: on Node 20 it keeps a little of each call while the first signal lives.
      const wake = new AbortController();
      this.#wake = wake;
      const end = (): void => wake.abort();
      signal.addEventListener('abort', end, { once: true });
      if (signal.aborted) end();
      await sleep(ms, undefined, { signal: wake.signal }).catch(() => signal.throwIfAborted());
      signal.removeEventListener('abort', end);
    }
    const rung = this.#rung;
    this.#rung = false;
    return rung;
  }
}
