import { createHash } from 'node:crypto';
import type { Logger } from 'pino';
import { adapters } from '#adapters/index.js';
import type { Catalog, CatalogSettings } from '#catalog/catalog.js';
import { isServed } from '#catalog/shards.js';
import type { RegistryView } from '#catalog/view.js';
import { isSame, nameFilter } from '#config/fields.js';
import type { Config, RegistryConfig } from '#config/schema.js';
import { RegistryPolicy } from '#policy/contribution.js';
import { Foresight } from '#policy/foresight.js';
import { PolicyList } from '#policy/rules.js';
import type { IsOwn } from '#publish/desired.js';
import type { Known } from '#snapshot/known.js';
import type { Adapter, SourceState } from '#sources/contract.js';
import { Supervisor } from '#sources/supervisor.js';

interface Running {
  readonly config: RegistryConfig;
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
  readonly #told: (registry: string, state: SourceState) => void;
  readonly #isOwn: IsOwn | undefined;
  readonly #running = new Map<string, Running>();
  #config: SourcesConfig = { registries: [], policies: [], istio: {} };
  /** When what is known from before the start was saved: ms since 1970. */
  #rememberedAt: number | undefined;

  /** @param told hears of each new state of a source @param isOwn tells what this Pontoon wrote into a registry */
  constructor(
    catalog: Catalog,
    log: Logger,
    told: (registry: string, state: SourceState) => void = () => undefined,
    isOwn?: IsOwn,
  ) {
    this.#catalog = catalog;
    this.#log = log;
    this.#told = told;
    this.#isOwn = isOwn;
  }

  /** In the order of the configuration. */
  supervisors(): Supervisor[] {
    return [...this.#running.values()].map(({ supervisor }) => supervisor);
  }

  /** Whether a registry was listed completely by its source as it is configured now. */
  isListed(registry: string): boolean {
    return this.#running.get(registry)?.supervisor.isListed ?? false;
  }

  /** Why a registry's view is not complete and current; undefined if it is. */
  unreadable(registry: string): string | undefined {
    const supervisor = this.#running.get(registry)?.supervisor;
    if (supervisor === undefined) return `no registry is named "${registry}"`;
    if (!supervisor.isListed) return 'it has not been read yet';
    const { state, error } = supervisor.status();
    return state === 'live' ? undefined : `its source is ${state}${error === undefined ? '' : `: ${error}`}`;
  }

  /** Brings what runs in line with a configuration. Sources whose own keys are the same go on, with their connections. @param known from before the start */
  async apply(
    config: Pick<Config, 'registries' | 'policies' | 'networks' | 'istio' | 'guards'> & SourcesConfig,
    known?: Known,
  ): Promise<SourceChanges> {
    const views = this.#catalog.configure(catalogSettings(config), registryPolicies(config, this.#isOwn));
    const before = new Map(this.#running);
    this.#running.clear();
    const changes = sourceChanges(this.#config, config);
    this.#config = config;
    const fresh: Supervisor[] = [];
    for (const [index, registry] of config.registries.entries()) {
      const view = views[index] as RegistryView;
      const known = before.get(registry.name);
      if (known !== undefined && !changes.restarted.includes(registry.name)) {
        this.#running.set(registry.name, { ...known, config: registry });
        before.delete(registry.name);
      } else {
        const supervisor = this.#supervisor(registry, view, config);
        this.#running.set(registry.name, { config: registry, supervisor });
        fresh.push(supervisor);
      }
    }
    // Two sources must not write one view.
    await Promise.all([...before.values()].map(({ supervisor }) => supervisor.stop()));
    // What another configuration of its source does not read is no loss.
    this.#rememberedAt ??= known?.savedAt;
    const sources = new Map(known?.registries.map(({ name, source }) => [name, source]));
    for (const registry of config.registries) {
      const { name } = registry;
      const isOther = sources.has(name) && sources.get(name) !== fingerprint(registry, config);
      if (isOther || changes.restarted.includes(name)) this.#catalog.guard(name)?.excuse(true);
    }
    for (const supervisor of fresh) supervisor.start();
    return changes;
  }

  /** All that has to outlive this process. */
  known(): Known {
    const { registries, empty } = this.#catalog.known();
    const source = (name: string): string => {
      const config = this.#running.get(name)?.config;
      return config === undefined ? '' : fingerprint(config, this.#config);
    };
    // What nobody has confirmed since the start is as old as it was.
    const isConfirmed = this.#catalog.views().some(({ complete }) => complete);
    const { serve } = this.#config.istio;
    return {
      ...(serve === undefined ? {} : { serve }),
      savedAt: isConfirmed ? Date.now() : (this.#rememberedAt ?? Date.now()),
      registries: registries.map((registry) => ({ ...registry, source: source(registry.name) })),
      empty,
    };
  }

  /** Ends all sources. */
  async stop(): Promise<void> {
    await Promise.all(this.supervisors().map((supervisor) => supervisor.stop()));
  }

  #supervisor(registry: RegistryConfig, view: RegistryView, config: SourcesConfig): Supervisor {
    const { policies } = config;
    const serve = servedOf(registry, config);
    const adapter = adapterOf(registry);
    const log = this.#log.child({ registry: registry.name });
    const includes = nameFilter(registry.include, registry.exclude);
    const foresight =
      serve && new Foresight({ ...registry, kinds: adapter.kinds }, policies, (host) => isServed(host, serve));
    const source = adapter.source(registry, {
      registry: registry.name,
      log,
      includes,
      ...(foresight === undefined ? {} : { mayServe: (service) => foresight.mayServe(service) }),
    });
    return new Supervisor(source, {
      view,
      staleAfter: registry.staleAfter ?? adapter.staleAfter,
      log,
      told: (state) => this.#told(registry.name, state),
    });
  }
}

/** What the configuration says about mesh services. */
export function catalogSettings({
  istio,
  networks,
  guards,
}: Pick<Config, 'istio' | 'networks' | 'guards'>): CatalogSettings {
  const { namespace, exportTo, grace, serve, network } = istio;
  return { namespace, exportTo, grace, networks: otherNetworks(networks, network), guards, serve };
}

/** Those that are entered by their gateways. @param own the network that the mesh is in */
function otherNetworks(networks: Config['networks'], own: string | undefined): Config['networks'] {
  return Object.fromEntries(Object.entries(networks).filter(([name]) => name !== own));
}

/** What of the configuration decides what sources read. */
export type SourcesConfig = Pick<Config, 'registries' | 'policies'> & {
  readonly istio: Pick<Config['istio'], 'serve'>;
  readonly publications?: readonly { readonly to: string }[];
};

/** What another configuration would do to the sources. */
export function sourceChanges(now: SourcesConfig, next: SourcesConfig): SourceChanges {
  const before = new Map(now.registries.map((registry) => [registry.name, registry]));
  const after = new Set(next.registries.map(({ name }) => name));
  return {
    added: [...after].filter((name) => !before.has(name)),
    removed: [...before.keys()].filter((name) => !after.has(name)),
    restarted: next.registries
      .filter((registry) => {
        const known = before.get(registry.name);
        return known !== undefined && !isSame(sourceKeys(known, now), sourceKeys(registry, next));
      })
      .map(({ name }) => name),
  };
}

/** What the configuration makes of each registry's services. */
export function registryPolicies(
  { registries, policies, networks, istio }: Pick<Config, 'registries' | 'policies' | 'networks' | 'istio'>,
  isOwn?: IsOwn,
): RegistryPolicy[] {
  const list = new PolicyList(policies);
  return registries.map((registry) => {
    const { kinds, guarded } = adapterOf(registry);
    const ours = { networks, kinds, isOwn, ownNamespace: istio.namespace };
    return new RegistryPolicy({ ...registry, ...ours, guarded: registry.guarded ?? guarded }, list);
  });
}

/** The adapter of a registry's type. */
export function adapterOf(registry: RegistryConfig): Adapter {
  const adapter = adapters.find(({ type }) => type === registry.type);
  if (adapter === undefined) throw new Error(`no adapter for type ${registry.type}`);
  return adapter;
}

/** Tells whether a source reads the same. Secrets are not part of it. */
function fingerprint(registry: RegistryConfig, config: SourcesConfig): string {
  return createHash('sha256')
    .update(JSON.stringify(sourceKeys(registry, config)))
    .digest('hex')
    .slice(0, 16);
}

/** What a source sees of its configuration: not what only policies look at. */
function sourceKeys(registry: RegistryConfig, config: SourcesConfig): object {
  const { policies } = config;
  const serve = servedOf(registry, config);
  const { host, namespace, locality, network, required, guarded, writes, ...keys } = registry;
  if (serve === undefined || adapterOf(registry).selective !== true) return keys;
  const naming = policies.map(({ when, host, aliases }) => ({ when, host, aliases }));
  return { ...keys, reads: { serve, host, naming: naming.filter(({ host, aliases }) => host ?? aliases) } };
}

/** The shards that a source reads. What is published into a registry stands there under other names: all of it is read. */
function servedOf({ name }: RegistryConfig, { istio: { serve }, publications = [] }: SourcesConfig) {
  return publications.some(({ to }) => to === name) ? undefined : serve;
}
