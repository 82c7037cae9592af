import { encodeSnapshot } from './format.js';
import type { Known } from './known.js';

/** ms that a snapshot is given to whoever asks. */
const goodFor = 3_000;

/** What is known now as a snapshot, made when it is asked for, and once for all who ask at about the same time. */
export class SharedSnapshot {
  readonly #known: () => Known | undefined;
  #bytes: Promise<Buffer> | undefined;

  /** @param known as in `SnapshotFile` */
  constructor(known: () => Known | undefined) {
    this.#known = known;
  }

  /** @returns undefined while what is known is not complete */
  bytes(): Promise<Buffer> | undefined {
    if (this.#bytes === undefined) {
      const known = this.#known();
      if (known === undefined) return undefined;
      this.#bytes = encodeSnapshot(known).finally(() => {
        // Not kept for long: it is some MB that nobody may ask for again.
        setTimeout(() => {
          this.#bytes = undefined;
        }, goodFor).unref();
      });
    }
    return this.#bytes;
  }
}
