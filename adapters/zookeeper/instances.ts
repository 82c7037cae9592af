import { type ApplicationInstance, parseApplicationInstance } from '#adapters/dubbo/index.js';
import { reasonOf } from '#model/reason.js';
import type { Endpoint } from '#probe/prober.js';
import type { Cause } from '#sources/contract.js';
import type { Followed, Following } from './follow.js';
import { type Said, said } from './level.js';
import { below, reconcile } from './paths.js';
import { endpointsOf, type PersistentNodes } from './persistent.js';
import { parseSpringInstance, type SpringInstance } from './springcloud.js';

/** Names have at most so many parts: what lies deeper is somebody else's. */
const maxDepth = 6;

/** What one znode below an application's holds. */
export type Entry =
  | { readonly kind: 'dubbo'; readonly instance: ApplicationInstance }
  | { readonly kind: 'spring-cloud'; readonly instance: SpringInstance }
  | { readonly kind: 'malformed'; readonly reason: string }
  /** No instance, but part of a longer name: `<root>/shop/cart/<instance>`. */
  | { readonly kind: 'folder' };

export interface InstancesListener {
  /** Something below an application's znode has changed, or the znode has come or gone. */
  changed(application: string, cause: Cause): void;
  /** The list of applications cannot be read. */
  failed(error: Error): void;
}

interface Folder {
  readonly list: Followed<readonly string[]>;
  readonly entries: Map<string, Followed<Entry>>;
}

/**
 * The instances that Curator's service discovery keeps: `<root>/<application>/<instance>`, each with the JSON of Curator's ServiceInstance. Dubbo and
 * Spring Cloud both write there. An application's name may have slashes, and then its znode lies as deep.
 */
export class Instances {
  readonly root: string;
  readonly #following: Following;
  readonly #persistent: PersistentNodes | undefined;
  readonly #listeners: InstancesListener[] = [];
  readonly #folders = new Map<string, Folder>();
  readonly #list: Followed<readonly string[]>;

  constructor(following: Following, root: string, persistent: PersistentNodes | undefined, why: Cause) {
    this.#following = following;
    this.#persistent = persistent;
    this.root = root;
    this.#list = following.children(root, 'everything', why, (cause) => this.#listChanged(cause));
  }

  listen(listener: InstancesListener): void {
    this.#listeners.push(listener);
  }

  /** Names of all applications, and of the znodes that lead to them. */
  names(): Iterable<string> {
    return this.#folders.keys();
  }

  /** What lies below an application's znode, by the names of the znodes there. */
  read(application: string): Said<ReadonlyMap<string, Entry>> {
    if (this.#list.content === undefined) return { kind: 'unknown' };
    const folder = this.#folders.get(application);
    if (folder === undefined) return { kind: 'nothing' };
    const list = said(folder.list.content);
    if (list.kind !== 'something') return list;
    const entries = new Map<string, Entry>();
    for (const [child, followed] of folder.entries) {
      const entry = said(followed.content);
      // It went while it was read: its list will tell.
      if (entry.kind === 'nothing') continue;
      if (entry.kind !== 'something') return entry;
      entries.set(child, entry.value);
    }
    return { kind: 'something', value: entries };
  }

  /** What could be read last, whatever can be read now. */
  *last(application: string): Iterable<Entry> {
    for (const { last } of this.#folders.get(application)?.entries.values() ?? []) if (last !== undefined) yield last;
  }

  stop(): void {
    this.#list.stop();
    for (const folder of this.#folders.values()) stop(folder);
  }

  #listChanged(cause: Cause): void {
    const { content } = this.#list;
    if (content?.kind === 'unreadable') {
      for (const listener of this.#listeners) listener.failed(content.error);
      return;
    }
    const wanted = new Set(this.#list.last ?? []);
    for (const name of [...this.#folders.keys()]) if (!name.includes('/') && !wanted.has(name)) this.#drop(name, cause);
    for (const name of wanted) this.#follow(name, cause);
  }

  #follow(name: string, why: Cause): void {
    if (this.#folders.has(name)) return;
    const path = below(this.root, name);
    const entries = new Map<string, Followed<Entry>>();
    const list = this.#following.children(path, 'emptiness', why, (cause) => {
      reconcile(
        entries,
        list.last ?? [],
        (child) => this.#followEntry(name, child, cause),
        (child, entry) => {
          entry.stop();
          this.#drop(`${name}/${child}`, cause);
        },
      );
      this.#tell(name, cause);
    });
    this.#folders.set(name, { list, entries });
  }

  #followEntry(name: string, child: string, why: Cause): Followed<Entry> {
    const nested = `${name}/${child}`;
    const followed = this.#following.data(below(this.root, name, child), parseEntry, why, (cause) => {
      if (followed.last?.kind === 'folder' && nested.split('/').length <= maxDepth) this.#follow(nested, cause);
      else this.#drop(nested, cause);
      this.#tell(name, cause);
    });
    return followed;
  }

  #drop(name: string, cause: Cause): void {
    const folder = this.#folders.get(name);
    if (folder === undefined) return;
    this.#folders.delete(name);
    stop(folder);
    for (const child of folder.entries.keys()) this.#drop(`${name}/${child}`, cause);
    this.#tell(name, cause);
  }

  #tell(application: string, cause: Cause): void {
    const endpoints = new Map<string, readonly Endpoint[]>();
    for (const [child, { last }] of this.#folders.get(application)?.entries ?? [])
      if (last?.kind === 'dubbo' || last?.kind === 'spring-cloud') endpoints.set(child, endpointsIn(last));
    const told = (cause: Cause) => {
      for (const listener of this.#listeners) listener.changed(application, cause);
    };
    this.#persistent?.sync(below(this.root, application), endpoints, told);
    told(cause);
  }
}

/** Curator leaves a znode on the way empty, older versions write the writer's address into it; anything else should be an instance. */
function parseEntry(text: string): Entry {
  if (/^[\w.:-]*$/.test(text.trim())) return { kind: 'folder' };
  try {
    const instance = parseApplicationInstance(text);
    if (instance !== undefined) return { kind: 'dubbo', instance };
    return { kind: 'spring-cloud', instance: parseSpringInstance(text) };
  } catch (error) {
    return { kind: 'malformed', reason: reasonOf(error) };
  }
}

function endpointsIn(entry: Extract<Entry, { instance: unknown }>): Endpoint[] {
  if (entry.kind === 'dubbo')
    return endpointsOf(
      entry.instance.address,
      entry.instance.endpoints.map(({ port }) => port),
    );
  const { address, port, sslPort } = entry.instance;
  return endpointsOf(address ?? '', [port ?? 0, sslPort ?? 0]);
}

function stop(folder: Folder): void {
  folder.list.stop();
  for (const entry of folder.entries.values()) entry.stop();
}
