import { parseServiceDefinition, type ServiceDefinition } from '#adapters/dubbo/index.js';
import type { Cause } from '#sources/contract.js';
import type { Followed, Following } from './follow.js';
import { type Said, said } from './level.js';
import { below, reconcile } from './paths.js';

/** Version and group, each left out where unset, stand between an interface's znode and `provider`. */
const maxDepth = 2;

/**
 * The definitions of one interface: `<metadata>/metadata/<interface>[/<version>][/<group>]/provider/<application>`. They say in which
 * groups and versions applications have ever provided it. What is no definition is left out.
 */
export class Definitions {
  readonly #following: Following;
  readonly #interface: string;
  readonly #changed: (cause: Cause) => void;
  readonly #branch: Branch;

  /** @param path of the interface's znode among the metadata */
  constructor(following: Following, path: string, interfaceName: string, why: Cause, changed: (cause: Cause) => void) {
    this.#following = following;
    this.#interface = interfaceName;
    this.#changed = changed;
    this.#branch = this.#follow(path, 0, why);
  }

  read(): Exclude<Said<readonly ServiceDefinition[]>, { kind: 'nothing' }> {
    return readBranch(this.#branch);
  }

  stop(): void {
    stop(this.#branch);
  }

  #follow(path: string, depth: number, why: Cause): Branch {
    const branches = new Map<string, Branch>();
    const leaves = new Map<string, Leaf>();
    const isProvider = path.endsWith('/provider');
    const list = this.#following.children(path, 'nothing', why, (cause) => {
      const children = list.last ?? [];
      if (isProvider)
        reconcile(
          leaves,
          children,
          (child) => this.#followLeaf(path, child, cause),
          (_, leaf) => leaf.stop(),
        );
      else
        reconcile(
          branches,
          children.filter((child) => child === 'provider' || (child !== 'consumer' && depth < maxDepth)),
          (child) => this.#follow(below(path, child), depth + 1, cause),
          (_, branch) => stop(branch),
        );
      this.#changed(cause);
    });
    return { list, branches, leaves };
  }

  #followLeaf(path: string, application: string, why: Cause): Leaf {
    const parse = (text: string) => {
      try {
        return parseServiceDefinition(text, this.#interface, application);
      } catch {
        return undefined;
      }
    };
    return this.#following.data(below(path, application), parse, why, this.#changed);
  }
}

type Leaf = Followed<ServiceDefinition | undefined>;

interface Branch {
  readonly list: Followed<readonly string[]>;
  readonly branches: ReadonlyMap<string, Branch>;
  readonly leaves: ReadonlyMap<string, Leaf>;
}

function readBranch(branch: Branch): Exclude<Said<readonly ServiceDefinition[]>, { kind: 'nothing' }> {
  const list = said(branch.list.content);
  if (list.kind === 'unknown' || list.kind === 'unreadable') return list;
  const definitions: ServiceDefinition[] = [];
  for (const leaf of branch.leaves.values()) {
    const definition = said(leaf.content);
    if (definition.kind === 'unknown' || definition.kind === 'unreadable') return definition;
    if (definition.kind === 'something' && definition.value !== undefined) definitions.push(definition.value);
  }
  for (const child of branch.branches.values()) {
    const found = readBranch(child);
    if (found.kind !== 'something') return found;
    definitions.push(...found.value);
  }
  return { kind: 'something', value: definitions };
}

function stop(branch: Branch): void {
  branch.list.stop();
  for (const leaf of branch.leaves.values()) leaf.stop();
  for (const child of branch.branches.values()) stop(child);
}
