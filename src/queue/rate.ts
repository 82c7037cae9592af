import { setTimeout as sleep } from 'node:timers/promises';

/** Lets so many through in a second, evenly; after a pause a few at once. */
export class Rate {
  readonly #interval: number;
  readonly #slack: number;
  /** When the next one may go, by `performance.now()`. */
  #next = Number.NEGATIVE_INFINITY;

  constructor(perSecond: number) {
    this.#interval = 1_000 / perSecond;
    // A fifth of a second's worth.
    this.#slack = Math.max(0, Math.ceil(perSecond / 5) - 1) * this.#interval;
  }

  /** Waits for its turn. @throws the signal's reason */
  async turn(signal: AbortSignal): Promise<void> {
    const now = performance.now();
    const at = Math.max(now - this.#slack, this.#next);
    this.#next = at + this.#interval;
    if (at > now) await sleep(at - now, undefined, { signal });
  }
}
