/** A count that rises and falls, and the highest that it was within a time. Times are monotonic ms. */
export class PeakWindow {
  /** The longest time that is asked for. */
  readonly #length: number;
  /** Former counts, falling; each with when it ended. */
  #former: { count: number; readonly until: number }[] = [];
  #count: number;

  /** @param length ms */
  constructor(length: number, count = 0) {
    this.#length = length;
    this.#count = count;
  }

  get count(): number {
    return this.#count;
  }

  set(count: number, now: number): void {
    const reached = Math.max(count, this.#count);
    while ((this.#former.at(-1)?.count ?? Number.POSITIVE_INFINITY) <= reached) this.#former.pop();
    if (count < this.#count) this.#former.push({ count: this.#count, until: now });
    this.#count = count;
  }

  /** So much of what has fallen is no fall. */
  excuse(count: number): void {
    if (count === 0) return;
    for (const former of this.#former) former.count -= count;
  }

  /** It is counted another way: so much more or less, now and before. */
  shift(difference: number): void {
    this.excuse(-difference);
    this.#count += difference;
  }

  /** The highest count within a time that ends now. @param within ms; the whole length unless given */
  peak(now: number, within = this.#length): number {
    while ((this.#former[0]?.until ?? now) < now - this.#length) this.#former.shift();
    const highest = this.#former.find(({ until }) => until >= now - within);
    return Math.max(this.#count, highest?.count ?? 0);
  }

  /** What has fallen until now counts no more. */
  settle(): void {
    this.#former = [];
  }
}
