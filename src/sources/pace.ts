import { setMaxListeners } from 'node:events';
import { setTimeout as sleep } from 'node:timers/promises';
import { ExponentialBackoff } from 'cockatiel';

const pauses = new ExponentialBackoff({ initialDelay: 200, maxDelay: 10_000 });

/** Pauses between attempts, from some 0.2 s to 10 s, with jitter. */
export class Backoff {
  #next = pauses.next();

  reset(): void {
    this.#next = pauses.next();
  }

  /**
   * @param least ms that the server asked for
   * @throws the signal's reason
   */
  async pause(signal: AbortSignal, least = 0): Promise<void> {
    const { duration } = this.#next;
    this.#next = this.#next.next(undefined);
    await sleep(Math.max(duration, least), undefined, { signal });
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
      const wake = fork(signal);
      this.#wake = wake.controller;
      await sleep(ms, undefined, { signal: wake.controller.signal }).catch(() => signal.throwIfAborted());
      wake.release();
    }
    const rung = this.#rung;
    this.#rung = false;
    return rung;
  }
}

/** A controller that aborts when a signal does, until it is released. Not AbortSignal.any: on Node 20 it keeps a little of each call. */
export function fork(signal: AbortSignal): { readonly controller: AbortController; readonly release: () => void } {
  const controller = new AbortController();
  setMaxListeners(0, controller.signal);
  const end = (): void => controller.abort(signal.reason);
  signal.addEventListener('abort', end, { once: true });
  if (signal.aborted) end();
  return { controller, release: () => signal.removeEventListener('abort', end) };
}

/** A number of things that may be had at one time, shared by several takers. */
export class Budget {
  #left: number;

  constructor(size: number) {
    this.#left = size;
  }

  /** @returns whether one was left */
  take(): boolean {
    if (this.#left === 0) return false;
    this.#left--;
    return true;
  }

  give(): void {
    this.#left++;
  }
}
