import type { Logger } from 'pino';
import { adapters } from '#adapters/index.js';
import type { Catalog } from '#catalog/catalog.js';
import type { RegistryView } from '#catalog/view.js';
import { isSame, nameFilter } from '#config/fields.js';
import type { Config, RegistryConfig } from '#config/schema.js';
import { RegistryPolicy } from '#policy/contribution.js';
import { PolicyList } from '#policy/rules.js';
import type { Adapter } from '#sources/contract.js';
import { Supervisor } from '#sources/supervisor.js';

interface Running {
  readonly config: RegistryConfig;
  readonly view: RegistryView;
  readonly supervisor: Supervisor;
}

/** What a new configuration did to the sources, by their registries' names. */
export interface SourceChanges {
  readonly added: readonly string[];
  readonly removed: readonly string[];
  /** Their own keys changed: they read anew, and what is known stays meanwhile. */
  readonly restarted: readonly string[];
}

/** The registries of the configuration at work: for each a view in the catalog, and a source that fills it. */
export class Registries {
  readonly #catalog: Catalog;
  readonly #log: Logger;
  readonly #running = new Map<string, Running>();

  constructor(catalog: Catalog, log: Logger) {
    this.#catalog = catalog;
    this.#log = log;
  }

  /** In the order of the configuration. */
  supervisors(): Supervisor[] {
    return [...this.#running.values()].map(({ supervisor }) => supervisor);
  }

  /** Brings what runs in line with a configuration. Sources whose own keys are the same go on, with their connections. */
  async apply(config: Pick<Config, 'registries' | 'policies' | 'networks' | 'istio'>): Promise<SourceChanges> {
    const views = this.#catalog.configure(config.istio, registryPolicies(config));
    const before = new Map(this.#running);
    this.#running.clear();
    const added: Supervisor[] = [];
    const changes = { added: [] as string[], removed: [] as string[], restarted: [] as string[] };
    for (const [index, registry] of config.registries.entries()) {
      const view = views[index] as RegistryView;
      const known = before.get(registry.name);
      if (known?.view === view && isSame(sourceKeys(known.config), sourceKeys(registry))) {
        this.#running.set(registry.name, { ...known, config: registry });
        before.delete(registry.name);
      } else {
        const supervisor = this.#supervisor(registry, view);
        this.#running.set(registry.name, { config: registry, view, supervisor });
        added.push(supervisor);
        changes[known === undefined ? 'added' : 'restarted'].push(registry.name);
      }
    }
    changes.removed.push(...[...before.keys()].filter((name) => !this.#running.has(name)));
    // Two sources must not write one view.
    await Promise.all([...before.values()].map(({ supervisor }) => supervisor.stop()));
    for (const supervisor of added) supervisor.start();
    return changes;
  }

  /** Ends all sources. */
  async stop(): Promise<void> {
    await Promise.all(this.supervisors().map((supervisor) => supervisor.stop()));
  }

  #supervisor(registry: RegistryConfig, view: RegistryView): Supervisor {
    const adapter = adapterOf(registry);
    const log = this.#log.child({ registry: registry.name });
    const includes = nameFilter(registry.include, registry.exclude);
    const source = adapter.source(registry, { registry: registry.name, log, includes });
    return new Supervisor(source, { view, staleAfter: registry.staleAfter ?? adapter.staleAfter, log });
  }
}

/** What the configuration makes of each registry's services. */
export function registryPolicies({
  registries,
  policies,
  networks,
}: Pick<Config, 'registries' | 'policies' | 'networks'>): RegistryPolicy[] {
  const list = new PolicyList(policies);
  return registries.map(
    (registry) => new RegistryPolicy({ ...registry, networks, kinds: adapterOf(registry).kinds }, list),
  );
}

function adapterOf(registry: RegistryConfig): Adapter {
  const adapter = adapters.find(({ type }) => type === registry.type);
  if (adapter === undefined) throw new Error(`no adapter for type ${registry.type}`);
  return adapter;
}

/** What a source sees of its configuration: not what only policies look at. */
function sourceKeys({ host, namespace, locality, network, required, ...keys }: RegistryConfig): object {
  return keys;
}
