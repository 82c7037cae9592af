import type { Metadata } from '#model/service.js';

/**
 * What Pontoon attaches to each instance that it writes into a registry, so that everybody can tell it: letters, digits and dashes only, which all registries
 * take as keys.
 */
export const markKeys = {
  owner: 'pontoon-owner',
  run: 'pontoon-run',
  publication: 'pontoon-publication',
  host: 'pontoon-host',
} as const;

const keys: ReadonlySet<string> = new Set(Object.values(markKeys));

/** Whether a key of metadata belongs to the mark. */
export function isMarkKey(key: string): boolean {
  return keys.has(key);
}

/** Who wrote an instance, and what it stands for. */
export interface Mark {
  /** `state.owner` of the Pontoon that wrote it; replicas share one. */
  readonly owner: string;
  /** The process that wrote it. One that goes on with what another run wrote leaves its mark as it is. */
  readonly run: string;
  /** Name of the publication. */
  readonly publication: string;
  /** Host of the mesh service. */
  readonly host: string;
}

/** The mark in the metadata of an instance; undefined if it registered itself. */
export function markOf(metadata: Metadata): Mark | undefined {
  const owner = metadata[markKeys.owner];
  if (owner === undefined) return undefined;
  const { run, publication, host } = markKeys;
  return { owner, run: metadata[run] ?? '', publication: metadata[publication] ?? '', host: metadata[host] ?? '' };
}

/** A mark as metadata. */
export function marked({ owner, run, publication, host }: Mark): Metadata {
  return {
    [markKeys.owner]: owner,
    [markKeys.run]: run,
    [markKeys.publication]: publication,
    [markKeys.host]: host,
  };
}
