import { asError } from '#model/reason.js';
import { Backoff } from '#sources/pace.js';
import { type KubeClient, KubeError } from './kubeclient.js';

/** Objects in one page of a listing: more would hold up the event loop while they are parsed. */
const PAGE_SIZE = 250;
const LIST_TIMEOUT_MS = 60_000;
/** Seconds until the server ends a watch; a new one goes on where it ended. */
const WATCH_SECONDS = 300;
const LEAST_WATCH_MS = 1_000;
/** The server sends bookmarks every 60 to 75 s. */
const SILENCE_MS = 160_000;

/** What every object of Kubernetes says of itself. */
export interface KubeObject {
  readonly metadata?: {
    readonly name?: string;
    readonly namespace?: string;
    readonly resourceVersion?: string;
    readonly creationTimestamp?: string;
    readonly deletionTimestamp?: string;
    readonly labels?: Readonly<Record<string, string>>;
    readonly annotations?: Readonly<Record<string, string>>;
  };
}

/** Which objects: all of a collection, or those that selectors choose. */
export interface Collection {
  /** `/api/v1/pods`, `/api/v1/namespaces/shop/pods`. */
  readonly path: string;
  readonly labelSelector?: string | undefined;
  readonly fieldSelector?: string | undefined;
  /** Whether nothing but their metadata is wanted, which is less to send. */
  readonly metadataOnly?: boolean | undefined;
}

/** Takes up what is in a collection. */
export interface CollectionReader {
  /** A listing begins: what it does not have is gone when it ends. */
  begin(): void;
  listed(object: KubeObject): void;
  end(): void;
  changed(object: KubeObject): void;
  removed(object: KubeObject): void;
  /** A sign of life. */
  alive(): void;
  /** It cannot be read any more, and is tried again; what is known may be old. */
  lost(error: Error): void;
  /** Changes are heard of again. */
  back(): void;
}

/**
 * Reads a collection and hears of its changes, until the signal aborts. A watch that breaks goes on where it ended; where the server does not know that place
 * any more, all is listed anew.
 * @throws KubeError if the first listing fails, or the server knows no such collection any more; the signal's reason
 */
export async function follow(
  client: KubeClient,
  collection: Collection,
  reader: CollectionReader,
  signal: AbortSignal,
): Promise<never> {
  let version: string | undefined = await list(client, collection, reader, signal);
  const backoff = new Backoff();
  for (;;) {
    const began = performance.now();
    try {
      version ??= await list(client, collection, reader, signal);
      version = await watch(client, collection, version, reader, () => backoff.reset(), signal);
      // Something between us ends watches at once.
      if (performance.now() - began < LEAST_WATCH_MS) await backoff.pause(signal);
    } catch (error) {
      signal.throwIfAborted();
      if (error instanceof Expired) {
        version = undefined;
        await backoff.pause(signal);
        continue;
      }
      const cause = error instanceof Broken ? error.cause : error;
      if (cause instanceof KubeError && cause.status === 404) throw cause;
      version = error instanceof Broken ? error.version : version;
      reader.lost(asError(cause));
      await backoff.pause(signal);
    }
  }
}

/** The place where a watch was to begin is forgotten by the server. */
class Expired extends Error {}

/** A watch that ended too early, and where. */
class Broken extends Error {
  readonly version: string;
  constructor(version: string, cause: unknown) {
    super('the watch broke', { cause });
    this.version = version;
  }
}

/** @returns the version from which a watch goes on */
async function list(
  client: KubeClient,
  collection: Collection,
  reader: CollectionReader,
  signal: AbortSignal,
): Promise<string> {
  reader.begin();
  for (let next = ''; ; ) {
    const query = { ...selectors(collection), limit: String(PAGE_SIZE), ...(next === '' ? {} : { continue: next }) };
    const accept = acceptOf(collection, 'PartialObjectMetadataList');
    const request = { method: 'GET', path: collection.path, query, ...accept, timeout: LIST_TIMEOUT_MS } as const;
    const { metadata, items } = (await client.ask(request, signal)) as KubeList;
    // An empty list of metadata is null.
    if (typeof metadata?.resourceVersion !== 'string' || !(items === null || Array.isArray(items)))
      throw new KubeError(`${collection.path}: the answer is no list`);
    for (const item of (items ?? []) as readonly KubeObject[]) reader.listed(item);
    reader.alive();
    next = metadata.continue ?? '';
    if (next !== '') continue;
    reader.end();
    return metadata.resourceVersion;
  }
}

interface KubeList {
  readonly metadata?: { readonly resourceVersion?: unknown; readonly continue?: string };
  readonly items?: unknown;
}

/** @param heard is called at the first sign of life @returns the version from which the next watch goes on */
async function watch(
  client: KubeClient,
  collection: Collection,
  from: string,
  reader: CollectionReader,
  heard: () => void,
  signal: AbortSignal,
): Promise<string> {
  let version = from;
  const query = {
    ...selectors(collection),
    watch: '1',
    allowWatchBookmarks: 'true',
    resourceVersion: version,
    timeoutSeconds: String(WATCH_SECONDS),
  };
  const accept = acceptOf(collection, 'PartialObjectMetadata');
  const request = { path: collection.path, query, ...accept, timeout: (WATCH_SECONDS + 30) * 1_000 };
  const take = (line: unknown): void => {
    const { type, object = {} } = line as { readonly type?: string; readonly object?: KubeObject & Status };
    if (type === 'ERROR') {
      if (object.code === 410) throw new Expired();
      throw new KubeError(object.message ?? 'the watch has failed', object.code);
    }
    version = object.metadata?.resourceVersion ?? version;
    heard();
    reader.alive();
    if (type === 'DELETED') reader.removed(object);
    else if (type !== 'BOOKMARK') reader.changed(object);
  };
  try {
    const opened = (): void => reader.back();
    await client.stream(request, SILENCE_MS, take, signal, opened);
    return version;
  } catch (error) {
    if (error instanceof Expired || (error instanceof KubeError && error.status === 410)) throw new Expired();
    if (error instanceof KubeError && error.cause instanceof Expired) throw error.cause;
    throw new Broken(version, error);
  }
}

interface Status {
  readonly code?: number;
  readonly message?: string;
}

function selectors({ labelSelector, fieldSelector }: Collection): Record<string, string> {
  return {
    ...(labelSelector === undefined ? {} : { labelSelector }),
    ...(fieldSelector === undefined ? {} : { fieldSelector }),
  };
}

function acceptOf({ metadataOnly }: Collection, as: string): { readonly accept?: string } {
  return metadataOnly ? { accept: `application/json;as=${as};g=meta.k8s.io;v=v1` } : {};
}
