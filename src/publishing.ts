import { randomUUID } from 'node:crypto';
import { EventEmitter } from 'eventemitter3';
import type { Logger } from 'pino';
import type { Catalog, CatalogChange } from '#catalog/catalog.js';
import { isServed } from '#catalog/shards.js';
import { isSame } from '#config/fields.js';
import { ownGateways } from '#config/gateways.js';
import type { Config, RegistryConfig } from '#config/schema.js';
import type { Coordination } from '#coordination/contract.js';
import type { Journal } from '#journal/journal.js';
import { type Instance, type ServiceKey, serviceId } from '#model/service.js';
import type { PublishingGateways } from '#publish/addresses.js';
import { Claims } from '#publish/claims.js';
import type { TargetKind } from '#publish/contract.js';
import { type IsOwn, placeOfInstance } from '#publish/desired.js';
import { Elections } from '#publish/election.js';
import { type EngineContext, TargetEngine } from '#publish/engine.js';
import type { GatewayPorts } from '#publish/gatewayports.js';
import { Ledger } from '#publish/ledger.js';
import { markOf } from '#publish/mark.js';
import { OrderBook, type OrderScope, type Orders } from '#publish/orders.js';
import { Publication } from '#publish/publication.js';
import type { WriteEvent } from '#publish/status.js';
import { cause as causeNow } from '#sources/contract.js';
import { adapterOf } from './registries.js';

/** The parts of the configuration that say what is published. */
export type PublishingConfig = Pick<Config, 'registries' | 'publications' | 'networks' | 'state' | 'coordination'> & {
  readonly istio: Pick<Config['istio'], 'serve' | 'network'>;
};

export interface PublishingOptions {
  readonly catalog: Catalog;
  readonly coordination: Coordination;
  readonly journal: Journal;
  /** Whether a registry has been read since the start; one that is not waited for counts as read. */
  readonly isListed: (registry: string) => boolean;
  readonly gatewayPorts: GatewayPorts;
  /** Why a registry's view is not complete and current; undefined if it is. */
  readonly unreadable: (registry: string) => string | undefined;
  readonly log: Logger;
  /** How a registry is written to; by its adapter, unless given. */
  readonly kindOf?: (registry: RegistryConfig) => TargetKind | undefined;
}

/** The way back at work: what publications want of the catalog stands in their registries. */
export class Publishing extends EventEmitter<{ written: [WriteEvent] }> {
  readonly run = randomUUID();
  readonly claims: Claims;
  readonly ledger: Ledger;
  readonly #options: PublishingOptions;
  readonly #elections: Elections;
  readonly #book: OrderBook;
  readonly #engines = new Map<string, TargetEngine>();
  /** Registries that lose the marks. */
  readonly #lossy = new Set<string>();
  #config: PublishingConfig;
  #isStarted = false;
  /** What was known the last time about what may be written, by registry. */
  readonly #readiness = new Map<string, string>();

  constructor(config: PublishingConfig, options: PublishingOptions) {
    super();
    const { catalog, coordination, log } = options;
    const { owner, directory } = config.state;
    this.#config = config;
    this.#options = options;
    this.ledger = new Ledger(owner, directory, log);
    this.#elections = new Elections(coordination);
    const { gatewayPorts } = options;
    this.claims = new Claims({
      gateways: this.gatewaysOf(() => this.#config),
      owner,
      run: this.run,
      isOwn: this.isOwn,
      serviceOf: (key) => catalog.view(key.registry)?.services.get(serviceId(key)),
    });
    this.#book = new OrderBook(coordination, () => this.#look());
    this.#setLossy(config);
    catalog.on('change', (change) => this.#changed(change));
    catalog.on('read', (change) => this.#engines.get(change.registry)?.read(change));
    catalog.on('complete', () => this.check());
    gatewayPorts.on('change', (hosts) => this.#changed({ hosts, registry: '', cause: causeNow('gateway ports') }));
    gatewayPorts.on('known', () => this.check());
  }

  /** Where the gateways take services, as a configuration says and as ports are given out now. */
  gatewaysOf(config: () => Pick<PublishingConfig, 'networks' | 'istio'>): PublishingGateways {
    const { gatewayPorts } = this.#options;
    return {
      get gateways() {
        return ownGateways(config());
      },
      get error() {
        return gatewayPorts.error;
      },
      port: (host, number) => gatewayPorts.port(host, number),
    };
  }

  /** Whether this Pontoon wrote an instance: its mark says so, or the ledger, where marks are lost. */
  readonly isOwn: IsOwn = (key: ServiceKey, instance: Instance): boolean => {
    const mark = markOf(instance.metadata);
    if (mark !== undefined) return mark.owner === this.#config.state.owner;
    if (!this.#lossy.has(key.registry)) return false;
    return this.ledger.get(serviceId(key))?.places.includes(placeOfInstance(instance)) ?? false;
  };

  get orders(): Orders {
    return this.#book.orders;
  }

  /** In the order of the configuration: those that can be written to. */
  get engines(): readonly TargetEngine[] {
    return this.#config.registries.flatMap(({ name }) => this.#engines.get(name) ?? []);
  }

  /** Takes a configuration over, once the registries have. @throws ExpressionError, before anything is changed */
  async apply(config: PublishingConfig): Promise<void> {
    const publications = publicationsOf(config, this.#kindOf);
    const isOtherShare = !isSame(config.istio.serve, this.#config.istio.serve);
    this.#config = config;
    this.#setLossy(config);
    const gone = [...this.#engines.values()].filter((engine) => {
      const registry = config.registries.find(({ name }) => name === engine.registry);
      return isOtherShare || registry === undefined || !isSame(writerKeys(registry), writerKeys(engine.config));
    });
    for (const { registry } of gone) this.#engines.delete(registry);
    // Two must not write into one registry.
    await Promise.all(gone.map((engine) => engine.close(false)));
    const { services } = this.#options.catalog;
    const hosts = new Set([...services.keys(), ...this.claims.hosts()]);
    const changed = this.claims.configure(publications, services);
    this.#expose(hosts);
    for (const registry of config.registries) {
      const kind = this.#kindOf(registry);
      if (kind === undefined || this.#engines.has(registry.name)) continue;
      this.#engines.set(registry.name, new TargetEngine(registry, kind, this.#context()));
    }
    if (!this.#isStarted) this.#book.start();
    this.#isStarted = true;
    this.#readiness.clear();
    for (const engine of this.#engines.values()) engine.restart();
    this.check();
    for (const id of changed) this.#engineOf(id)?.want(id, 'configuration', undefined);
  }

  /** A source is doing otherwise than before: what could not be written may be written now. */
  check(): void {
    const { isListed, unreadable, gatewayPorts } = this.#options;
    if (this.#isStarted && this.#isRead) gatewayPorts.settle();
    const listed = this.#config.registries.flatMap(({ name }) => (isListed(name) ? [name] : [])).join(' ');
    for (const [registry, engine] of this.#engines) {
      const now = `${gatewayPorts.isKnown} ${unreadable(registry) === undefined} ${listed}`;
      if (this.#readiness.get(registry) === now) continue;
      this.#readiness.set(registry, now);
      engine.look();
    }
  }

  /** Leaves what is there as it is, but for its leases. */
  pause(scope: OrderScope): Promise<void> {
    return this.#book.pause(scope);
  }

  resume(scope: OrderScope): Promise<void> {
    const publications = this.claims.publications.map(({ config }) => config);
    return this.#book.resume(scope, (registry) =>
      publications.flatMap(({ name, to }) => (to === registry ? [name] : [])),
    );
  }

  /** Takes back what this owner published, and keeps it back until it is resumed. */
  withdraw({ registry, publication }: OrderScope): Promise<void> {
    if (publication !== undefined) return this.#book.withdraw([], [publication]);
    const registries = registry === undefined ? this.engines.map((engine) => engine.registry) : [registry];
    return this.#book.withdraw(registries, []);
  }

  /** Ends all; what was written stays, or goes, as the configuration says. */
  async close(): Promise<void> {
    const engines = this.engines;
    await Promise.all(engines.map((engine) => engine.close(engine.config.writes.whenStopped === 'withdraw')));
    await this.ledger.close();
  }

  readonly #kindOf = (registry: RegistryConfig): TargetKind | undefined => {
    const { kindOf = (one: RegistryConfig) => adapterOf(one).target } = this.#options;
    return kindOf(registry);
  };

  #setLossy({ registries }: PublishingConfig): void {
    this.#lossy.clear();
    for (const registry of registries)
      if (this.#kindOf(registry)?.keepsMetadata === false) this.#lossy.add(registry.name);
  }

  #context(): EngineContext {
    const { catalog, isListed, unreadable, log } = this.#options;
    return {
      owner: this.#config.state.owner,
      run: this.run,
      directory: this.#config.state.directory,
      claims: this.claims,
      ledger: this.ledger,
      orders: () => this.#book.orders,
      isOwn: this.isOwn,
      serves: (host) => isServed(host, this.#config.istio.serve),
      isListed,
      isComplete: () => this.#isComplete,
      unreadable: (registry) =>
        this.#book.isKnown ? unreadable(registry) : 'what operators have ordered is not known yet',
      view: (registry) => catalog.view(registry),
      isElected: this.#config.coordination !== undefined,
      election: (registry, heard) => this.#elections.of(registry, this.#config.istio.serve, heard),
      told: (event) => this.#written(event),
      log,
    };
  }

  #written(event: WriteEvent): void {
    const { registry, service, host, publication, text, cause } = event;
    this.#options.journal.note(registry, cause, `${publication} as ${service.name}: ${text}`, host);
    this.emit('written', event);
  }

  /** Whether every registry has been read since the start. */
  get #isRead(): boolean {
    return this.#config.registries.every(({ name }) => this.#options.isListed(name));
  }

  /** Ports of gateways that are not known yet may be those at which services stand there. */
  get #isComplete(): boolean {
    return this.#isRead && this.#options.gatewayPorts.isKnown;
  }

  /** What gateways are to take of these hosts. */
  #expose(hosts: Iterable<string>): void {
    for (const host of hosts) {
      const numbers = this.claims.ofHost(host).flatMap((one) => ('exposed' in one ? (one.exposed ?? []) : []));
      this.#options.gatewayPorts.want(host, [...new Set(numbers)]);
    }
  }

  #changed({ hosts, registry, cause }: Pick<CatalogChange, 'hosts' | 'registry' | 'cause'>): void {
    const { services } = this.#options.catalog;
    const what = registry === '' ? cause.what : `${registry}, ${cause.what}`;
    const at = registry === '' ? undefined : cause.observedAt;
    const changed = this.claims.update(hosts, services);
    this.#expose(hosts);
    for (const id of changed) this.#engineOf(id)?.want(id, what, at);
  }

  #engineOf(id: string): TargetEngine | undefined {
    return this.#engines.get(decodeURIComponent(id.split('/', 1)[0] ?? ''));
  }

  #look(): void {
    for (const engine of this.#engines.values()) engine.look();
  }
}

/** @throws ExpressionError if one cannot be compiled */
export function publicationsOf(
  { publications, registries }: Pick<PublishingConfig, 'publications' | 'registries'>,
  kindOf: (registry: RegistryConfig) => TargetKind | undefined,
): Publication[] {
  return publications.flatMap((config, order) => {
    const registry = registries.find(({ name }) => name === config.to);
    const kind = registry && kindOf(registry);
    return registry === undefined || kind === undefined ? [] : [new Publication(config, order, { ...registry, kind })];
  });
}

/** What of a registry's keys a target looks at. */
function writerKeys({ host, namespace, locality, network, required, guarded, ...keys }: RegistryConfig): object {
  return keys;
}
