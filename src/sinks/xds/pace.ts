const shortest = 10;

/**
 * Decides when changes go out: the first at once, those that follow closely gather. While changes keep coming the pause between two pushes doubles from
 * 10 ms to the longest; a pause without changes starts it over.
 */
export class Pace {
  readonly #push: () => void;
  readonly #longest: number;
  #pause = shortest;
  #lastPush = Number.NEGATIVE_INFINITY;
  #timer: NodeJS.Timeout | undefined;

  /** @param longest ms */
  constructor(push: () => void, longest: number) {
    this.#push = push;
    this.#longest = longest;
  }

  /** Something changed: it is pushed now, or together with what follows. */
  changed(): void {
    if (this.#timer !== undefined) return;
    const since = performance.now() - this.#lastPush;
    this.#pause = since > 2 * this.#pause ? shortest : Math.min(this.#longest, 2 * this.#pause);
    this.#timer = setTimeout(() => this.#run(), Math.max(0, this.#pause - since));
  }

  stop(): void {
    clearTimeout(this.#timer);
    this.#timer = undefined;
  }

  #run(): void {
    this.#timer = undefined;
    this.#lastPush = performance.now();
    this.#push();
  }
}

/** istiod takes 285 ms of a CPU for 7.9 MB: it decodes the whole set each time. */
const bytesPerMs = 28_000;
const longestPause = 2_000;
/** Of clients that are gone so many are remembered. */
const remembered = 1_000;

/** How long a client is left alone after so many bytes: as long as it takes istiod to decode them. @returns ms, at most 2,000 */
export function pauseAfter(bytes: number): number {
  return Math.min(longestPause, bytes / bytesPerMs);
}

/** Remembers when clients may be sent something again: one that reconnects over and over gets the set no oftener than one that stays. */
export class Pauses {
  readonly #until = new Map<string, number>();

  /** The client has been sent so many bytes. @returns ms for which it is to be left alone, from now */
  sent(client: string, bytes: number): number {
    const now = performance.now();
    const pause = pauseAfter(bytes);
    // Anew at the end, so that the first ones are the oldest.
    this.#until.delete(client);
    this.#until.set(client, now + pause);
    for (const [oldest, until] of this.#until) {
      if (until > now && this.#until.size <= remembered) break;
      this.#until.delete(oldest);
    }
    return pause;
  }

  /** @returns ms until the client may be sent something */
  left(client: string): number {
    return Math.max(0, (this.#until.get(client) ?? 0) - performance.now());
  }
}
