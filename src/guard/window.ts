/** A count that rises and falls, and the highest that it was within a window of time. Times are monotonic ms. */
export class PeakWindow {
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
    const reached = Math.max(count, count < this.#count ? this.#count : 0);
    while (this.#former.length > 0 && (this.#former.at(-1)?.count ?? 0) <= reached) this.#former.pop();
    if (count < this.#count) this.#former.push({ count: this.#count, until: now });
    this.#count = count;
  }

  /** So much of what has fallen is no fall. */
  excuse(count: number): void {
    for (const former of this.#former) former.count -= count;
  }

  /** The highest count within the window that ends now. */
  peak(now: number): number {
    while ((this.#former[0]?.until ?? now) < now - this.#length) this.#former.shift();
    return Math.max(this.#count, this.#former[0]?.count ?? 0);
  }

  /** What has fallen until now counts no more. */
  reset(count = this.#count): void {
    this.#former = [];
    this.#count = count;
  }
}
