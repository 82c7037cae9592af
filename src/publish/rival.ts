import type { Instance } from '#model/service.js';
import { markOf } from './mark.js';

/** How often a mark of another process has to appear until it is no remnant. */
const enough = 2;

/**
 * Notices a second process that writes under the same owner where nobody elects: its marks appear after the start. What runs before this one wrote may appear
 * late, too, while caches of the registry are behind.
 */
export class RivalWatch {
  readonly #owner: string;
  readonly #run: string;
  /** ms for which what appears may be from before the start. */
  readonly #settling: number;
  /** Place and run that were seen already. */
  readonly #seen = new Set<string>();
  #since: number | undefined;
  #strikes = 0;
  #lastAt = Number.NEGATIVE_INFINITY;
  /** The run of the other one; undefined while there is none. */
  rival: string | undefined;

  constructor(owner: string, run: string, seenWithin: number) {
    this.#owner = owner;
    this.#run = run;
    this.#settling = 2 * seenWithin;
  }

  /** Looks at a service that the registry's source has read. @param isListing whether it comes of a complete listing @returns whether a rival is new */
  look(id: string, instances: readonly Instance[], now = performance.now()): boolean {
    if (this.rival !== undefined) return false;
    this.#since ??= now;
    const isSettling = now - this.#since < this.#settling;
    for (const { address, ports, metadata } of instances) {
      const mark = markOf(metadata);
      if (mark === undefined || mark.owner !== this.#owner || mark.run === this.#run) continue;
      const key = `${id} ${address} ${ports[0]?.number} ${mark.run}`;
      if (this.#seen.has(key)) continue;
      this.#seen.add(key);
      // What one event shows is one sign.
      if (isSettling || now === this.#lastAt) continue;
      this.#lastAt = now;
      this.#strikes++;
      if (this.#strikes < enough) continue;
      this.rival = mark.run;
      return true;
    }
    return false;
  }
}
