import type { Adapter } from '#sources/contract.js';
import { file } from './file/index.js';

/** Every kind of registry that Pontoon reads, in the order in which the documentation names them. */
export const adapters: readonly Adapter[] = [file];
