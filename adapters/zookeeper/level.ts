import type { Cause } from '#sources/contract.js';
import type { Content } from './follow.js';

/** What one level of registration says about an interface. */
export type Said<T> =
  | { readonly kind: 'something'; readonly value: T }
  /** The interface is not registered at this level. */
  | { readonly kind: 'nothing' }
  | { readonly kind: 'unreadable'; readonly error: Error }
  /** Something of it has not been read yet; a change will be told when it has. */
  | { readonly kind: 'unknown' };

/** Who is told of what a level reads. */
export interface LevelListener {
  /** What is said of an interface may have changed. */
  changed(interfaceName: string, cause: Cause): void;
  /** A list that everything depends on cannot be read: the source as a whole cannot be. */
  failed(error: Error): void;
}

/** What a followed znode says, as a step towards what a level says. */
export function said<T>(content: Content<T> | undefined): Said<T> {
  if (content === undefined) return { kind: 'unknown' };
  if (content.kind === 'present') return { kind: 'something', value: content.value };
  return content.kind === 'absent' ? { kind: 'nothing' } : content;
}
