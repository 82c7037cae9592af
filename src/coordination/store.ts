import type { Term } from './term.js';

/** A document as a store has it. */
export interface Version {
  /** JSON; undefined while there is no document. */
  readonly text: string | undefined;
  /** What the store tells versions by. */
  readonly mark: unknown;
}

/** Where replicas keep what they share. Everything but `close` throws an Error when the store does not answer in time, and the signal's reason once it aborts. */
export interface Store {
  read(name: string, signal: AbortSignal): Promise<Version>;
  /** Waits until the document is another one than `known`; may return earlier. */
  next(name: string, known: Version, signal: AbortSignal): Promise<Version>;
  /** @returns false if the document is another one than `known` by now */
  write(name: string, text: string, known: Version, signal: AbortSignal): Promise<boolean>;
  /**
   * Takes part in an election until the signal aborts, and then gives up what it holds: the term first. When it throws it is called again, and goes on with
   * what it has.
   * @param answered is called whenever the store has answered
   */
  elect(role: string, term: Term, answered: () => void, signal: AbortSignal): Promise<void>;
  /** Closes connections. Nothing is under way any more. */
  close(): Promise<void>;
}
