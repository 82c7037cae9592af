const shortest = 10;
const longest = 200;

/**
 * Decides when changes go out: the first at once, those that follow closely gather. While changes keep coming the pause between two pushes doubles from
 * 10 to 200 ms; a pause without changes starts it over.
 */
export class Pace {
  readonly #push: () => void;
  #pause = shortest;
  #lastPush = Number.NEGATIVE_INFINITY;
  #timer: NodeJS.Timeout | undefined;

  constructor(push: () => void) {
    this.#push = push;
  }

  /** Something changed: it is pushed now, or together with what follows. */
  changed(): void {
    if (this.#timer !== undefined) return;
    const since = performance.now() - this.#lastPush;
    this.#pause = since > 2 * this.#pause ? shortest : Math.min(longest, 2 * this.#pause);
    this.#timer = setTimeout(() => this.#run(), Math.max(0, this.#pause - since));
  }

  stop(): void {
    clearTimeout(this.#timer);
  }

  #run(): void {
    this.#timer = undefined;
    this.#lastPush = performance.now();
    this.#push();
  }
}
