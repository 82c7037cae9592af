import {
  type ConsumerRecord,
  type OverrideRecord,
  type ProviderRecord,
  parseConsumer,
  parseOverride,
  parseProvider,
  parseRouter,
  type ServiceNote,
} from '#adapters/dubbo/index.js';
import type { Endpoint } from '#probe/prober.js';
import type { Cause } from '#sources/contract.js';
import type { Content, Followed, Following } from './follow.js';
import { type LevelListener, type Said, said } from './level.js';
import { below, nameOf, reconcile, reserved } from './paths.js';
import type { PersistentNodes } from './persistent.js';

export interface InterfaceContent {
  readonly providers: readonly ProviderRecord[];
  readonly consumers: readonly ConsumerRecord[];
  /** Rules beside the providers, as Dubbo up to 2.6 keeps them and later versions still obey them. */
  readonly rules: readonly OverrideRecord[];
  readonly notes: readonly ServiceNote[];
}

/** The znodes below an interface's that mean something here. */
const categories = ['providers', 'consumers', 'configurators', 'routers'] as const;
type Category = (typeof categories)[number];

interface InterfaceNode {
  readonly path: string;
  readonly list: Followed<readonly string[]>;
  /** Those that are there: most interfaces have neither consumers nor routers, and a watch for each would be twice as many in all. */
  readonly categories: Map<Category, Followed<readonly string[]>>;
  /** Records by the names of their znodes, so that a change costs what has changed; and the list that they were made of. */
  records: Map<string, ProviderRecord>;
  recorded: readonly string[] | undefined;
}

/** The interface level: `<root>/<interface>/providers/<URL>`, and `consumers`, `configurators` and `routers` beside it. */
export class InterfaceLevel {
  readonly #following: Following;
  readonly #root: string;
  readonly #includes: (name: string) => boolean;
  readonly #persistent: PersistentNodes | undefined;
  readonly #listener: LevelListener;
  readonly #nodes = new Map<string, InterfaceNode>();
  readonly #list: Followed<readonly string[]>;

  constructor(
    following: Following,
    root: string,
    includes: (name: string) => boolean,
    persistent: PersistentNodes | undefined,
    why: Cause,
    listener: LevelListener,
  ) {
    this.#following = following;
    this.#root = root;
    this.#includes = includes;
    this.#persistent = persistent;
    this.#listener = listener;
    this.#list = following.children(root, 'everything', why, (cause) => this.#listChanged(cause));
  }

  /** Whether the list of interfaces has been read. */
  get isListed(): boolean {
    return this.#list.content !== undefined;
  }

  names(): Iterable<string> {
    return this.#nodes.keys();
  }

  /** What is registered for an interface; a znode without `providers` is none. */
  read(name: string): Said<InterfaceContent> {
    const node = this.#nodes.get(name);
    if (node === undefined) return { kind: this.isListed ? 'nothing' : 'unknown' };
    const list = said(node.list.content);
    if (list.kind !== 'something') return list;
    if ([...node.categories.values()].some(({ content }) => content === undefined)) return { kind: 'unknown' };
    const providers = said(node.categories.get('providers')?.content ?? { kind: 'absent' });
    if (providers.kind !== 'something') return providers;
    if (node.recorded !== providers.value) this.#record(name, node, providers.value);
    // Who is called matters most: of the rest, what cannot be read keeps its last state.
    const last = (category: Category) => node.categories.get(category)?.last ?? [];
    const value = {
      providers: [...node.records.values()],
      consumers: last('consumers').map(parseConsumer),
      rules: last('configurators').map(parseOverride),
      notes: [
        ...last('routers').flatMap((child) => parseRouter(child) ?? []),
        ...[...node.categories].flatMap(([category, { content }]) => unreadableNote(category, content)),
      ],
    };
    return { kind: 'something', value };
  }

  stop(): void {
    this.#list.stop();
    for (const node of this.#nodes.values()) stop(node);
  }

  #record(name: string, node: InterfaceNode, urls: readonly string[]): void {
    node.records = new Map(urls.map((url) => [url, node.records.get(url) ?? parseProvider(url)]));
    node.recorded = urls;
    this.#persistent?.sync(below(node.path, 'providers'), endpointsIn(node.records), (cause) =>
      this.#listener.changed(name, cause),
    );
  }

  #listChanged(cause: Cause): void {
    const { content } = this.#list;
    if (content?.kind === 'unreadable') {
      this.#listener.failed(content.error);
      return;
    }
    const names = new Map<string, string>();
    for (const child of this.#list.last ?? []) {
      const name = nameOf(child);
      if (!reserved.has(child) && this.#includes(name)) names.set(name, child);
    }
    reconcile(
      this.#nodes,
      names.keys(),
      (name) => this.#follow(name, names.get(name) ?? name, cause),
      (name, node) => {
        stop(node);
        this.#persistent?.sync(below(node.path, 'providers'), new Map(), () => undefined);
        this.#listener.changed(name, cause);
      },
    );
  }

  #follow(name: string, child: string, why: Cause): InterfaceNode {
    const changed = (cause: Cause) => this.#listener.changed(name, cause);
    const path = below(this.#root, child);
    const followed: InterfaceNode['categories'] = new Map();
    const follow = (category: Category, why: Cause) => {
      const doubt = category === 'providers' ? 'emptiness' : 'nothing';
      return this.#following.children(below(path, category), doubt, why, changed);
    };
    const list = this.#following.children(path, 'emptiness', why, (cause) => {
      const present = categories.filter((category) => list.last?.includes(category));
      reconcile(
        followed,
        present,
        (category) => follow(category, cause),
        (_, category) => category.stop(),
      );
      changed(cause);
    });
    return { path, list, categories: followed, records: new Map(), recorded: undefined };
  }
}

function endpointsIn(records: ReadonlyMap<string, ProviderRecord>): Map<string, readonly Endpoint[]> {
  const endpoints = new Map<string, readonly Endpoint[]>();
  for (const [url, record] of records)
    if (record.kind === 'provider') {
      const { address, ports } = record.instance;
      endpoints.set(
        url,
        ports.map(({ number }) => ({ address, port: number })),
      );
    }
  return endpoints;
}

function unreadableNote(category: Category, content: Content<unknown> | undefined): ServiceNote[] {
  if (content?.kind !== 'unreadable') return [];
  return [{ note: { record: category, text: `kept as last read: ${content.error.message}` } }];
}

function stop(node: InterfaceNode): void {
  node.list.stop();
  for (const category of node.categories.values()) category.stop();
}
