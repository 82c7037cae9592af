/** Failures one after the other that are the registry's, not a service's. */
const many = 3;
/** ms of a rest when the registry takes nothing, at first and at most. */
const shortestRest = 200;
const longestRest = 15_000;
/** ms between two tries of one service, at first and at most. */
const shortest = 1_000;
const longest = 60_000;
/** The same of what the registry has refused. */
const shortestRefused = 30_000;
const longestRefused = 600_000;

/** How long a registry, or one service in it, is left alone when something goes wrong: longer each time. */
export class Pauses {
  readonly #seenWithin: number;
  #failures = 0;
  #rest = shortestRest;

  /** @param seenWithin ms until the registry's source has read what was written */
  constructor(seenWithin: number) {
    this.#seenWithin = seenWithin;
  }

  succeeded(): void {
    this.#failures = 0;
    this.#rest = shortestRest;
  }

  /** @returns ms for which nothing is tried; undefined if it may be that service's fault alone */
  failed(): number | undefined {
    this.#failures++;
    if (this.#failures < many) return undefined;
    const rest = this.#rest * (1 + Math.random()) * 0.7;
    this.#rest = Math.min(longestRest, this.#rest * 1.5);
    return rest;
  }

  /** ms until a service whose write failed is tried again. */
  alone(tries: number): number {
    return Math.min(longest, shortest * 2 ** tries);
  }

  /** ms until a service that is not as it was written is written again. */
  repair(tries: number): number {
    return tries === 0 ? 0 : Math.min(longest, Math.max(shortest, this.#seenWithin) * 2 ** tries);
  }

  /** ms until what the registry refused is tried again. */
  refused(tries: number): number {
    return Math.min(longestRefused, shortestRefused * 2 ** tries);
  }
}
