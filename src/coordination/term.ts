/**
 * The part of a lease's time after which its holder gives up. Others wait for all of it: the rest is for clocks that run apart, and for a process that is
 * kept from noticing the time.
 */
const SHARE = 2 / 3;

/** The time for which one replica may take itself for the leader. Each renewal makes it longer; it ends by itself. */
export class Term {
  readonly #leads: (isLeader: boolean) => void;
  /** By the monotonic clock. */
  #until = Number.NEGATIVE_INFINITY;
  #told = false;
  #timer: NodeJS.Timeout | undefined;

  /** @param leads hears of the term's beginning and end */
  constructor(leads: (isLeader: boolean) => void) {
    this.#leads = leads;
  }

  get isLeader(): boolean {
    return performance.now() < this.#until;
  }

  /**
   * The store has said that this replica leads.
   * @param askedAt when it was asked, by `performance.now()`: from then on it keeps others away
   * @param lease for how long it does so, in ms
   */
  renewed(askedAt: number, lease: number): void {
    this.#until = Math.max(this.#until, askedAt + lease * SHARE);
    this.#look();
  }

  /** Ends it now. */
  end(): void {
    this.#until = Number.NEGATIVE_INFINITY;
    this.#look();
  }

  #look(): void {
    clearTimeout(this.#timer);
    const { isLeader } = this;
    if (isLeader) this.#timer = setTimeout(() => this.#look(), this.#until - performance.now());
    if (isLeader === this.#told) return;
    this.#told = isLeader;
    this.#leads(isLeader);
  }
}
