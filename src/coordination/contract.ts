/** A JSON value. */
export type Json = null | boolean | number | string | readonly Json[] | { readonly [key: string]: Json };

/**
 * Small documents that all replicas see, and who of them leads. What is known stays known while the store is away: nothing here throws because of that, and
 * nothing waits for it but `update`. Names of documents and roles are lower-case letters, digits and dashes, at most 40 of them.
 */
export interface Coordination {
  /** How the store is doing, for people: undefined while it answers, else why it does not. */
  readonly error: string | undefined;
  /**
   * A document: `heard` gets its content once the store has said it, and each new one, also those that this replica writes. `undefined` while there is none.
   */
  watch(name: string, heard: (content: Json | undefined) => void): void;
  /**
   * Changes a document by compare and swap: `change` gets the newest content and may be called again when another replica was faster, or when the store's
   * answer was lost. So it is a function of its argument alone, and what it does twice is what it does once. It is called when the store answers. Resolves
   * when it is written.
   * @throws what `change` throws; RangeError if the document would be longer than 400,000 bytes; Error when closed before it is written
   */
  update(name: string, change: (content: Json | undefined) => Json): Promise<void>;
  /**
   * Takes part in the election of one leader among those that name the same role, until closed. `leads` hears `true` when this replica leads, and `false` in
   * time before another one can: also when the store cannot be reached for too long. A process that is frozen hears of it when it goes on; who must not act
   * after that asks `isLeader` right before it acts.
   */
  campaign(role: string, leads: (isLeader: boolean) => void): Candidacy;
  /** Stops watching, gives up leadership, and closes connections. */
  close(): Promise<void>;
}

/** A replica's part in an election. */
export interface Candidacy {
  /** Whether it leads at this moment, by the clock. */
  readonly isLeader: boolean;
}
