import type { RegistryService } from '#model/service.js';
import type { Cause, Listing, SourceOutput } from '#sources/contract.js';

/**
 * Makes one source of parts that are read, and fail, each by itself: its data centres, partitions and namespaces. The registry's listing
 * is complete once every part was read; the registry is live while every part is.
 */
export class Parts {
  readonly #out: SourceOutput;
  readonly #waiting = new Set<string>();
  readonly #errors = new Map<string, Error>();
  #listing: Listing | undefined;

  constructor(out: SourceOutput) {
    this.#out = out;
    this.#listing = out.listing();
    out.state({ kind: 'connecting' });
  }

  /** Announces a part. To be called before the one that led to it is `read`. */
  expect(part: string): void {
    this.#waiting.add(part);
  }

  /** A part answers, and is being read. */
  syncing(): void {
    if (this.#listing !== undefined && this.#errors.size === 0) this.#out.state({ kind: 'syncing' });
  }

  /** A part was read for the first time in this run, with all that it holds. */
  read(part: string, services: readonly RegistryService[], told: Cause): void {
    this.#waiting.delete(part);
    this.#errors.delete(part);
    if (this.#listing !== undefined) this.#listing.add(services);
    if (this.#waiting.size > 0 || this.#listing === undefined) {
      // Does not wait for the others.
      if (services.length > 0) this.#out.update(services, [], told);
      this.#tell();
      return;
    }
    this.#listing.commit(told);
    this.#listing = undefined;
    if (this.#errors.size > 0) this.#tell();
  }

  /** A part cannot be asked now. */
  failed(part: string, error: Error): void {
    this.#errors.set(part, error);
    this.#tell();
  }

  /** A part that was read before can be asked again. */
  well(part: string): void {
    if (this.#errors.delete(part)) this.#tell();
  }

  #tell(): void {
    const complete = this.#listing === undefined;
    const reasons = [...this.#errors].map(([part, { message }]) => (part === '' ? message : `${part}: ${message}`));
    if (reasons.length > 0)
      this.#out.state({ kind: complete ? 'stale' : 'failed', error: new Error(reasons.sort().join('; ')) });
    else if (complete) this.#out.state({ kind: 'live' });
  }
}
