import {
  type OverrideRecord,
  parseConfigurators,
  routerDocumentNote,
  ruleDocument,
  type ServiceNote,
} from '#adapters/dubbo/index.js';
import type { Cause } from '#sources/contract.js';
import type { Followed, Following } from './follow.js';
import { below, reconcile } from './paths.js';

export interface DocumentsListener {
  /** The rules of one interface have changed; without a name, perhaps of all. */
  changed(interfaceName: string | undefined, cause: Cause): void;
  /** The list of documents cannot be read: no rule of theirs is known. */
  warned(error: Error): void;
}

/** Rules for one interface, and what is to be said of others. */
export interface InterfaceRules {
  readonly rules: readonly OverrideRecord[];
  readonly notes: readonly ServiceNote[];
}

/**
 * The rules that people edit from Dubbo 2.7 on, in the config centre: `<root>/config/dubbo/<interface>:<version>:<group>.configurators` and routers beside
 * it. Of documents for applications, tag routers alone concern providers; the others are for consumers of that name, or are applied by providers, which
 * then register anew.
 */
export class RuleDocuments {
  readonly #following: Following;
  readonly #path: string;
  readonly #includes: (name: string) => boolean;
  readonly #listener: DocumentsListener;
  readonly #list: Followed<readonly string[]>;
  /** Documents of rules by their names, of the interfaces that they are for. */
  readonly #documents = new Map<string, Followed<readonly OverrideRecord[]>>();
  #byInterface = new Map<string, string[]>();
  #tagRouters = new Set<string>();

  /** @param root of Dubbo */
  constructor(
    following: Following,
    root: string,
    includes: (name: string) => boolean,
    why: Cause,
    listener: DocumentsListener,
  ) {
    this.#following = following;
    this.#path = below(root, 'config', 'dubbo');
    this.#includes = includes;
    this.#listener = listener;
    this.#list = following.children(this.#path, 'nothing', why, (cause) => this.#listChanged(cause));
  }

  /** @param applications that provide the interface */
  of(interfaceName: string, applications: Iterable<string>): InterfaceRules {
    const rules: OverrideRecord[] = [];
    const notes: ServiceNote[] = [];
    for (const document of this.#byInterface.get(interfaceName) ?? []) {
      const followed = this.#documents.get(document);
      if (followed === undefined) notes.push(routerDocumentNote(document));
      else rules.push(...(followed.last ?? []));
      if (followed?.content?.kind === 'unreadable')
        notes.push({ note: { record: document, text: `not applied as it is now: ${followed.content.error.message}` } });
    }
    if (this.#tagRouters.size > 0)
      for (const application of new Set(applications))
        if (this.#tagRouters.has(application)) notes.push(routerDocumentNote(`${application}.tag-router`));
    return { rules, notes };
  }

  stop(): void {
    this.#list.stop();
    for (const document of this.#documents.values()) document.stop();
  }

  #listChanged(cause: Cause): void {
    if (this.#list.content?.kind === 'unreadable') this.#listener.warned(this.#list.content.error);
    const before = this.#byInterface;
    const routers = this.#tagRouters;
    this.#byInterface = new Map();
    this.#tagRouters = new Set();
    const wanted = new Map<string, string>();
    for (const name of this.#list.last ?? []) {
      const document = ruleDocument(name);
      if (document === undefined) continue;
      if (document.service === undefined) {
        if (name.endsWith('.tag-router')) this.#tagRouters.add(document.name);
      } else if (this.#includes(document.name)) {
        this.#byInterface.set(document.name, [...(this.#byInterface.get(document.name) ?? []), name]);
        if (document.kind === 'configurators') wanted.set(name, document.name);
      }
    }
    reconcile(
      this.#documents,
      wanted.keys(),
      (name) => this.#follow(name, wanted.get(name) ?? name, cause),
      (_, document) => document.stop(),
    );
    if (differ(routers, this.#tagRouters)) this.#listener.changed(undefined, cause);
    for (const name of new Set([...before.keys(), ...this.#byInterface.keys()]))
      if (String(before.get(name)) !== String(this.#byInterface.get(name))) this.#listener.changed(name, cause);
  }

  #follow(name: string, interfaceName: string, why: Cause): Followed<readonly OverrideRecord[]> {
    const path = below(this.#path, name);
    const parse = (text: string) => parseConfigurators(text, name);
    return this.#following.data(path, parse, why, (cause) => this.#listener.changed(interfaceName, cause));
  }
}

function differ(a: ReadonlySet<string>, b: ReadonlySet<string>): boolean {
  return a.size !== b.size || [...a].some((one) => !b.has(one));
}
