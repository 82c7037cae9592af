const window = 10_000;
const most = 20;

/** Lines about clients that come and go: so many in ten seconds are for people, the rest is for those who look closely. */
export class Quiet {
  #since = Number.NEGATIVE_INFINITY;
  #lines = 0;

  level(): 'info' | 'debug' {
    const now = performance.now();
    if (now - this.#since > window) {
      this.#since = now;
      this.#lines = 0;
    }
    return ++this.#lines <= most ? 'info' : 'debug';
  }
}
