import { setImmediate } from 'node:timers/promises';

const LONG_MS = 5;

/** A turn of the event loop, so that work on thousands of services can end it in time: `if (turn.isLong) await turn.next();` */
export class Turn {
  #began = performance.now();

  get isLong(): boolean {
    return performance.now() - this.#began >= LONG_MS;
  }

  /** Lets others have their turn. */
  async next(): Promise<void> {
    await setImmediate();
    this.#began = performance.now();
  }
}
