import { type ConsumerRecord, type ProviderRecord, parseConsumer, parseProvider } from '#adapters/dubbo/index.js';
import type { Cause } from '#sources/contract.js';
import type { Followed, Following } from './follow.js';
import { type LevelListener, type Said, said } from './level.js';
import { below, nameOf, reconcile, reserved } from './paths.js';

export interface InterfaceContent {
  readonly providers: readonly ProviderRecord[];
  readonly consumers: readonly ConsumerRecord[];
}

interface InterfaceNode {
  readonly providers: Followed<readonly string[]>;
  readonly consumers: Followed<readonly string[]>;
  /** Records by the names of their znodes, so that a change costs what has changed. */
  records: Map<string, ProviderRecord>;
}

/** The interface level: `<root>/<interface>/providers/<URL>` and `consumers/<URL>`. */
export class InterfaceLevel {
  readonly #following: Following;
  readonly #root: string;
  readonly #includes: (name: string) => boolean;
  readonly #listener: LevelListener;
  readonly #nodes = new Map<string, InterfaceNode>();
  readonly #list: Followed<readonly string[]>;

  constructor(
    following: Following,
    root: string,
    includes: (name: string) => boolean,
    why: Cause,
    listener: LevelListener,
  ) {
    this.#following = following;
    this.#root = root;
    this.#includes = includes;
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
    if (node.consumers.content === undefined) return { kind: 'unknown' };
    const providers = said(node.providers.content);
    if (providers.kind !== 'something') return providers;
    const records = new Map(providers.value.map((url) => [url, node.records.get(url) ?? parseProvider(url)]));
    node.records = records;
    // Who calls matters less than who is called: consumers that cannot be read keep their last state.
    const consumers = (node.consumers.last ?? []).map(parseConsumer);
    return { kind: 'something', value: { providers: [...records.values()], consumers } };
  }

  stop(): void {
    this.#list.stop();
    for (const node of this.#nodes.values()) stop(node);
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
        this.#listener.changed(name, cause);
      },
    );
  }

  #follow(name: string, child: string, why: Cause): InterfaceNode {
    const changed = (cause: Cause) => this.#listener.changed(name, cause);
    const path = below(this.#root, child);
    return {
      providers: this.#following.children(below(path, 'providers'), 'emptiness', why, changed),
      consumers: this.#following.children(below(path, 'consumers'), 'nothing', why, changed),
      records: new Map(),
    };
  }
}

function stop(node: InterfaceNode): void {
  node.providers.stop();
  node.consumers.stop();
}
