/** Hosts that nobody claims any more, each until its grace has run out. */
export class Graces {
  readonly #over: (host: string) => void;
  readonly #graces = new Map<string, { readonly timer: NodeJS.Timeout; readonly until: number }>();

  /** @param over hears of each host whose grace has run out */
  constructor(over: (host: string) => void) {
    this.#over = over;
  }

  /** A grace that has begun already goes on. @param length ms */
  begin(host: string, length: number): void {
    if (this.#graces.has(host)) return;
    const end = (): void => {
      this.#graces.delete(host);
      this.#over(host);
    };
    this.#graces.set(host, { timer: setTimeout(end, length).unref(), until: performance.now() + length });
  }

  cancel(host: string): void {
    clearTimeout(this.#graces.get(host)?.timer);
    this.#graces.delete(host);
  }

  /** ms that a host still has; undefined if somebody claims it. */
  left(host: string): number | undefined {
    const until = this.#graces.get(host)?.until;
    return until === undefined ? undefined : Math.max(0, Math.round(until - performance.now()));
  }

  close(): void {
    for (const host of [...this.#graces.keys()]) this.cancel(host);
  }
}
