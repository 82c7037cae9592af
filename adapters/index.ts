import type { Adapter } from '#sources/contract.js';

/** Every kind of registry that Pontoon reads, in the order in which the documentation names them. */
export const adapters: readonly Adapter[] = [];
