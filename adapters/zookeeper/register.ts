import type { RegistryService } from '#model/service.js';
import type { Cause } from '#sources/contract.js';

/** What the records of one name have come to. */
export type Outcome =
  | { readonly kind: 'services'; readonly services: readonly RegistryService[] }
  | { readonly kind: 'gone' }
  /** All services of the name keep what they had. */
  | { readonly kind: 'unreadable'; readonly error: Error }
  /** A change will be told when what is missing has been read. */
  | { readonly kind: 'unknown' };

/** What is told already when a name is evaluated. */
export interface Told {
  /** The services that the registry's view may hold of the name; undefined if there is none. */
  readonly keys: readonly RegistryService['key'][] | undefined;
  /** Whether the first complete listing was given: until then there is time for what is yet to be read. */
  readonly isListed: boolean;
}

/** One kind of registration in ZooKeeper, below its own znode. */
export interface Register {
  /** Of all its services; together with a name, what `told` is kept by. */
  readonly namespace: string;
  names(): Iterable<string>;
  /** What is known of a name now. Never throws for what stands in a znode. */
  evaluate(name: string, why: Cause, told: Told): Outcome;
  stop(): void;
}

/** Who is told of what a register reads. */
export interface RegisterListener {
  changed(register: Register, name: string, cause: Cause): void;
  /** A list that everything depends on cannot be read: the source as a whole cannot be. */
  failed(error: Error): void;
}

/** A root's name among namespaces: its path without the first slash. */
export function namespaceOf(root: string): string {
  return root.slice(1);
}
