import type { Json } from '#coordination/contract.js';

/** Whose a gateway's port is. */
export interface Entry {
  /** `host:number` of a mesh service's port. */
  readonly id: string;
  /** Since when nobody asks for it: ms since 1970. */
  readonly gone?: number;
}

/** The gateways' ports of one document that were given out. */
export type Block = ReadonlyMap<number, Entry>;

/** What another version wrote there is left out. */
export function readBlock(content: Json | undefined): Block {
  if (typeof content !== 'object' || content === null || Array.isArray(content)) return new Map();
  return new Map(
    Object.entries(content).flatMap(([port, entry]: [string, Json]) => {
      if (!/^\d{1,5}$/.test(port) || typeof entry !== 'object' || entry === null || !('id' in entry)) return [];
      const { id, gone } = entry as { readonly [key: string]: Json };
      if (typeof id !== 'string') return [];
      return [[Number(port), { id, ...(typeof gone === 'number' ? { gone } : {}) }] as const];
    }),
  );
}

/** As JSON: port → entry, in the order of the ports. */
export function writeBlock(block: Block): Json {
  return Object.fromEntries(
    [...block]
      .sort(([a], [b]) => a - b)
      .map(([port, { id, gone }]) => [port, gone === undefined ? { id } : { id, gone }]),
  );
}
