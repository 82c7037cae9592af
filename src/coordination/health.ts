import type { Logger } from 'pino';
import { reasonOf } from '#model/reason.js';

/** How a store is doing: what was asked of it last and failed, by what it was for. Its beginning and its end are logged. */
export class Health {
  readonly #log: Logger;
  readonly #failures = new Map<string, string>();

  constructor(log: Logger) {
    this.#log = log;
  }

  /** The reasons, each once; undefined while everything is well. */
  get error(): string | undefined {
    return this.#failures.size === 0 ? undefined : [...new Set(this.#failures.values())].sort().join('; ');
  }

  failed(part: string, error: unknown): void {
    const isNews = this.#failures.size === 0;
    this.#failures.set(part, reasonOf(error));
    if (isNews)
      this.#log.warn({ reason: reasonOf(error) }, 'the coordination store does not answer; what is known stays');
  }

  well(part: string): void {
    if (this.#failures.delete(part) && this.#failures.size === 0)
      this.#log.info('the coordination store answers again');
  }
}
