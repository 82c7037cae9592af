/** A JSON value. */
export type Json = null | boolean | number | string | readonly Json[] | { readonly [key: string]: Json };

/**
 * Small documents that all replicas see, and who of them leads. What is known stays known while the store is away: nothing here throws because of that, and
 * nothing waits for it.
 */
export interface Coordination {
  /** How the store is doing, for people: undefined while it answers, else why it does not. */
  readonly error: string | undefined;
  /**
   * A document, with each of its new contents, also those that this replica writes. `undefined` while there is none.
   * @param name letters, digits and dashes
   */
  watch(name: string, heard: (content: Json | undefined) => void): void;
  /**
   * Changes a document by compare and swap: `change` gets the newest content and may be called again when another replica was faster. It is called when
   * the store answers; so it has to be a function of its argument alone. Resolves when it is written.
   * @throws Error when closed before that
   */
  update(name: string, change: (content: Json | undefined) => Json): Promise<void>;
  /**
   * Takes part in the election of one leader among those that name the same role, until closed. `leads` hears `true` when this replica leads, and `false` in
   * time before another one can: also when the store cannot be reached for too long.
   */
  campaign(role: string, leads: (isLeader: boolean) => void): void;
  /** Stops watching, gives up leadership, and closes connections. */
  close(): Promise<void>;
}
