import { isDeepStrictEqual } from 'node:util';
import { type Collection, type CollectionReader, follow, type KubeObject } from '#kubernetes/collection.js';
import { type KubeClient, KubeError } from '#kubernetes/kubeclient.js';

/** One collection of a cluster, and where what is kept of its objects goes. */
export interface Reading<Kept> {
  readonly collection: Collection;
  /** Whether it may be missing: who may not read it, or has no such kind, goes on without. */
  readonly optional?: boolean;
  /** @returns undefined if nothing of the object is to be kept */
  readonly decode: (object: KubeObject) => Kept | undefined;
  readonly known: (id: string) => Kept | undefined;
  /** Only called with what is another than before. */
  readonly set: (id: string, kept: Kept | undefined) => void;
}

/** What a reading tells beside its objects. */
export interface ReadingOutput {
  /** All that is there was read, for the first time or again. */
  complete(): void;
  changed(): void;
  alive(): void;
  /** @param error undefined when it is read again */
  lost(error: Error | undefined): void;
  /** It may not be read. */
  refused(error: KubeError): void;
  /** An object cannot be understood. */
  malformed(id: string, error: unknown): void;
}

/** Reads a collection until the signal aborts. @throws as {@link follow}, except for one that is optional and forbidden, or not there */
export async function read<Kept>(
  client: KubeClient,
  reading: Reading<Kept>,
  out: ReadingOutput,
  signal: AbortSignal,
): Promise<void> {
  try {
    await follow(client, reading.collection, readerOf(reading, out), signal);
  } catch (error) {
    signal.throwIfAborted();
    const isMissing = error instanceof KubeError && (error.status === 403 || error.status === 404);
    if (!reading.optional || !isMissing) throw error;
    out.refused(error);
    out.complete();
  }
}

function readerOf<Kept>({ decode, known, set }: Reading<Kept>, out: ReadingOutput): CollectionReader {
  const ids = new Set<string>();
  let listed = new Set<string>();
  const take = (object: KubeObject): void => {
    const id = idOf(object);
    let kept: Kept | undefined;
    try {
      kept = decode(object);
    } catch (error) {
      out.malformed(id, error);
      return;
    }
    if (kept === undefined) ids.delete(id);
    else ids.add(id);
    if (!isDeepStrictEqual(known(id), kept)) set(id, kept);
  };
  const drop = (id: string): void => {
    ids.delete(id);
    if (known(id) !== undefined) set(id, undefined);
  };
  return {
    begin: () => {
      listed = new Set();
    },
    listed: (object) => {
      listed.add(idOf(object));
      take(object);
    },
    end: () => {
      for (const id of [...ids]) if (!listed.has(id)) drop(id);
      out.complete();
      out.changed();
    },
    changed: (object) => {
      take(object);
      out.changed();
    },
    removed: (object) => {
      drop(idOf(object));
      out.changed();
    },
    alive: () => out.alive(),
    lost: (error) => out.lost(error),
    back: () => out.lost(undefined),
  };
}

/** `namespace/name`; of what is in no namespace the name. */
function idOf({ metadata: { namespace, name = '' } = {} }: KubeObject): string {
  return namespace === undefined ? name : `${namespace}/${name}`;
}
