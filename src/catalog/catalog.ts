import { EventEmitter } from 'eventemitter3';
import type { GuardSettings } from '#guard/counts.js';
import type { Guard } from '#guard/guard.js';
import type { Held, Hold } from '#guard/hold.js';
import { compareText, type MeshService, registriesOf } from '#model/mesh.js';
import { serviceId } from '#model/service.js';
import type { Contribution, ContributionTrace, RegistryPolicy } from '#policy/contribution.js';
import type { Known, KnownEmpty, KnownRegistry } from '#snapshot/known.js';
import { type Cause, cause as causeNow } from '#sources/contract.js';
import { Claims, hostsOf } from './claims.js';
import { Contributions, type RejectedService } from './contributions.js';
import { Graces } from './graces.js';
import { type MeshDefaults, merge } from './merge.js';
import { CatalogRegistry, type Made } from './registry.js';
import { elsewhereText, isServed, type ServedShards } from './shards.js';
import type { RegistryView, ViewChange } from './view.js';
import type { VipAllocator } from './vip.js';
import { Workloads } from './workloads.js';

/** Which hosts changed, and why: once per registry change, however many services it touched. */
export interface CatalogChange {
  readonly hosts: ReadonlySet<string>;
  /** The hosts' services as they were; undefined for those that were not there. */
  readonly before: ReadonlyMap<string, MeshService | undefined>;
  readonly registry: string;
  readonly cause: Cause;
}

/** What the configuration says about mesh services. */
export interface CatalogSettings extends MeshDefaults {
  /** How long a gone service stays, without endpoints, before it is deleted: ms. */
  readonly grace: number;
  /** Nothing is held, unless given. */
  readonly guards?: GuardSettings | undefined;
  /** The shards whose hosts are served here; all, unless given. What falls into others is in no mesh service here. */
  readonly serve?: ServedShards | undefined;
}

/** A hold of a registry began or ended. */
export interface HoldEvent {
  readonly registry: string;
  readonly hold: Hold;
  readonly event: 'begun' | 'ended';
  /** For people. */
  readonly text: string;
}

/** Instances that may live although their registry has lost them. */
export interface Doubt {
  readonly registry: string;
  readonly guard: Guard;
  readonly held: readonly Held[];
}

const unknown: Pick<Known, 'registries' | 'empty'> = { registries: [], empty: [] };

/** ms. What time changes, changes in ticks of the wall clock, so that replicas agree and many changes are one. */
const tick = 5_000;

/**
 * Joins the registries' views into mesh services, one per host. The work of a change is proportional to the services that it touches.
 * The result depends on the views and their order in the configuration alone, never on the order of arrival.
 */
export class Catalog extends EventEmitter<{
  change: [CatalogChange];
  /** A source has read something, be it in the mesh or not. */
  read: [ViewChange];
  complete: [string];
  hold: [HoldEvent];
  doubt: [Doubt];
}> {
  readonly services: ReadonlyMap<string, MeshService>;
  readonly #services = new Map<string, MeshService>();
  #settings: CatalogSettings;
  /** What is known from before the start, by name; taken up when the registry is configured first. */
  readonly #known: Map<string, KnownRegistry>;
  /** Services as they once were: an emptied one keeps their ports. */
  readonly #remembered: ReadonlyMap<string, MeshService>;
  readonly #vips: VipAllocator;
  readonly #registries = new Map<string, CatalogRegistry>();
  readonly #contributions = new Contributions();
  readonly #claims = new Claims((id) => this.#contributions.get(id));
  /** Host → services that do not get it. */
  readonly #collided = new Map<string, readonly RejectedService[]>();
  /** Undefined while no registry describes any. */
  #workloads: Workloads | undefined;
  /** Hosts that nobody claims any more, until their grace has run out. */
  readonly #graces = new Graces((host) => this.#forget(host));
  #ticking: NodeJS.Timeout | undefined;
  /** From before the start: those that had no endpoints. */
  #leaving: readonly KnownEmpty[];
  /** How long before the start that was saved: ms. */
  readonly #age: number;

  /** @param known what is known from before the start */
  constructor(settings: CatalogSettings, vips: VipAllocator, known: Omit<Known, 'savedAt'> & Partial<Known> = unknown) {
    super();
    this.#known = new Map(known.registries.map((registry) => [registry.name, registry]));
    this.#remembered = new Map(known.empty.map(({ service }) => [service.host, service]));
    this.#leaving = known.empty;
    // By the wall clock, which may have been set: never negative.
    this.#age = Math.max(0, Date.now() - (known.savedAt ?? Date.now()));
    this.services = this.#services;
    this.#settings = settings;
    this.#vips = vips;
  }

  /** Takes a registry in, after those that are there. @returns its view, for its source to write */
  add(policy: RegistryPolicy): RegistryView {
    const policies = [...this.#registries.values()].map((registry) => registry.policy);
    return this.configure(this.#settings, [...policies, policy]).at(-1) as RegistryView;
  }

  /**
   * Takes over settings and registries, in the order of the configuration. A registry that stays keeps what is known of it. However much it touches, it is one
   * change.
   * @returns the registries' views
   */
  configure(settings: CatalogSettings, policies: readonly RegistryPolicy[]): RegistryView[] {
    this.#settings = settings;
    const isFirst = this.#registries.size === 0;
    const known = new Map(this.#registries);
    this.#registries.clear();
    for (const policy of policies) {
      const { name, type } = policy.settings;
      const before = known.get(name);
      const isSame = before?.policy.settings.type === type;
      const registry = isSame ? before : this.#newRegistry(policy);
      registry.policy = policy;
      this.#registries.set(name, registry);
      if (isSame) known.delete(name);
    }
    for (const { guard } of known.values()) guard?.close();
    this.#workloads = policies.some(({ hasWorkloads }) => hasWorkloads) ? new Workloads() : undefined;
    for (const registry of this.#registries.values()) this.#describe(registry, registry.view.services.keys());
    // Those, too, that nobody claims any more.
    const touched = new Set([...this.#services.keys()].filter((host) => !this.#isServed(host)));
    for (const registry of new Set([...known.keys(), ...this.#registries.keys()]))
      this.#recompute(registry, this.#idsOf(registry), touched);
    for (const [name, registry] of this.#registries) {
      const changed = registry.rebase(settings.guards, this.#contributions.of(name), lastTick());
      this.#recompute(name, changed, touched);
    }
    const isStart = isFirst && this.views().some(({ isRestored }) => isRestored);
    this.#rebuild(touched, '', causeNow(isStart ? 'snapshot' : 'configuration'));
    this.#restoreLeaving();
    this.#awaitTick();
    return this.views();
  }

  /** The view of a registry; undefined if there is none of that name. */
  view(registry: string): RegistryView | undefined {
    return this.#registries.get(registry)?.view;
  }

  /** The registries' views, in the order of the configuration. */
  views(): RegistryView[] {
    return [...this.#registries.values()].map(({ view }) => view);
  }

  /** The guard of a registry; undefined if nothing guards it. */
  guard(registry: string): Guard | undefined {
    return this.#registries.get(registry)?.guard;
  }

  /** All that has to outlive this process. Registries of which not all is known are left out. */
  known(): { readonly registries: readonly Omit<KnownRegistry, 'source'>[]; readonly empty: readonly KnownEmpty[] } {
    const registries = [...this.#registries.values()].filter(({ view }) => view.complete || view.isRestored);
    const services = [...this.#services.values()].filter(({ endpoints }) => endpoints.length === 0);
    const empty = services.map((service) => ({ service, left: this.#graces.left(service.host) }));
    return { registries: registries.map((registry) => registry.known()), empty };
  }

  /** All contributions, in no order. */
  contributions(): Iterable<Contribution> {
    return this.#contributions.all();
  }

  /** What a registry's service adds to its host; undefined if it is rejected as a whole. */
  contribution(id: string): Contribution | undefined {
    return this.#contributions.get(id);
  }

  /** The steps that a service goes through on its way into the mesh, as they are now. */
  trace(id: string, trace: ContributionTrace): void {
    for (const { view, policy } of this.#registries.values()) {
      const service = view.services.get(id);
      if (service !== undefined) policy.contribution(service, lastTick(), this.#workloadsAt, trace);
    }
  }

  /** Whether what a registry says under this id is no service, but pods. */
  isWorkload(id: string): boolean {
    return this.#workloads?.has(id) ?? false;
  }

  /** The ids of the services that have endpoints at an address; only while a registry describes what runs at addresses. */
  servicesAt(address: string): readonly string[] {
    return this.#workloads?.servicesAt(address) ?? [];
  }

  /** Services that are in no mesh service: no valid host, or a host that another service of the registry holds. */
  rejected(): RejectedService[] {
    const collided = [...this.#collided.values()].flat();
    return [...this.#contributions.absent('failed'), ...collided].sort((a, b) => compareText(a.id, b.id));
  }

  /** Services that the configuration leaves out, with the policy that does. */
  dropped(): RejectedService[] {
    return this.#contributions.absent('dropped');
  }

  /** Services that are in no mesh service here, since none of their hosts falls into a shard that is served here. */
  elsewhere(): RejectedService[] {
    return this.#contributions.absent('elsewhere');
  }

  /** Why a host is in no mesh service here although a service claims it; undefined if it is served here. */
  elsewhereText(host: string): string | undefined {
    return elsewhereText(host, this.#settings.serve);
  }

  /** Ends all timers. */
  close(): void {
    this.#graces.close();
    for (const { guard } of this.#registries.values()) guard?.close();
    clearTimeout(this.#ticking);
  }

  /** Takes over what a registry says. */
  #apply(change: ViewChange): void {
    const { registry, cause } = change;
    const before = (id: string) => this.#contributions.get(id);
    const found = this.#registries.get(registry);
    if (found === undefined) return;
    // Pods first: what is said of services in the same breath is joined with them.
    const addresses = this.#describe(found, change.ids);
    const made = found.settle(change, before, lastTick());
    this.#rejoin(registry, [...made.keys()], cause, made, addresses);
  }

  readonly #workloadsAt = (address: string) => this.#workloads?.at(address) ?? [];

  /** Takes over what a registry says of pods, among whatever has these ids. @returns the addresses at which something is another now */
  #describe(registry: CatalogRegistry, ids: Iterable<string>): string[] {
    const { view, policy } = registry;
    const workloads = this.#workloads;
    if (workloads === undefined || !policy.hasWorkloads) return [];
    return [...ids].flatMap((id) => {
      const service = view.said.get(id);
      const isDescribed = service !== undefined && policy.settings.kinds[service.kind]?.workloads === true;
      const made = isDescribed ? registry.make(service, lastTick()) : undefined;
      return workloads.set(id, made !== undefined && 'workloads' in made ? made.workloads : []);
    });
  }

  /** @param addresses where other pods are: services that have endpoints there change with them */
  #rejoin(
    registry: string,
    ids: readonly string[],
    cause: Cause,
    made?: ReadonlyMap<string, Made | undefined>,
    addresses: readonly string[] = [],
  ): void {
    const touched = new Set<string>();
    this.#recompute(registry, ids, touched, made);
    const joined = new Set(addresses.flatMap((address) => this.servicesAt(address)));
    for (const name of this.#registries.keys()) {
      const isAnother = (id: string) => this.#contributions.get(id)?.key.registry === name && !made?.has(id);
      const others = [...joined].filter(isAnother);
      if (others.length > 0) this.#recompute(name, others, touched);
    }
    this.#rebuild(touched, registry, cause);
    this.#awaitTick();
  }

  #awaitTick(): void {
    if (this.#contributions.hasDue)
      this.#ticking ??= setTimeout(() => this.#tick(), tick - (Date.now() % tick)).unref();
  }

  #tick(): void {
    this.#ticking = undefined;
    const now = lastTick();
    for (const registry of this.#registries.keys()) {
      this.#rejoin(registry, this.#contributions.due(registry, now), causeNow('warm-up'));
    }
  }

  /** A registry whose changes are taken in while it is in the catalog, and that tells of each complete listing. */
  #newRegistry(policy: RegistryPolicy): CatalogRegistry {
    const { name, type } = policy.settings;
    const known = this.#known.get(name);
    this.#known.delete(name);
    const isCurrent = (): boolean => this.#registries.get(name) === registry;
    const registry: CatalogRegistry = new CatalogRegistry(policy, this.#settings.guards, {
      listed: (change) => {
        if (!isCurrent()) return;
        this.#apply(change);
        this.emit('read', change);
        if (change.isListing) this.emit('complete', name);
      },
      workloads: this.#workloadsAt,
      told: (hold, event, text) => this.emit('hold', { registry: name, hold, event, text }),
      changed: (ids, why) => {
        if (!isCurrent()) return;
        const changed = registry.reguard(ids, lastTick());
        this.#rejoin(name, changed, causeNow(`guard: ${why}`));
      },
      ask: (held) => {
        if (registry.guard !== undefined) this.emit('doubt', { registry: name, guard: registry.guard, held });
      },
    });
    if (known?.type === type) registry.restore(known, this.#age);
    return registry;
  }

  /** All that is or was known of a registry. */
  #idsOf(registry: string): string[] {
    const listed = this.#registries.get(registry)?.view.services.keys() ?? [];
    return [...new Set([...listed, ...this.#contributions.idsOf(registry)])];
  }

  /** @param touched takes up the hosts that may change */
  #recompute(
    registry: string,
    ids: readonly string[],
    touched: Set<string>,
    made?: ReadonlyMap<string, Made | undefined>,
  ): void {
    for (const id of ids) {
      const before = hostsOf(this.#contributions.get(id));
      const after = hostsOf(this.#contribute(registry, id, made?.get(id)));
      this.#claims.move(id, before, after);
      for (const host of [...before, ...after]) touched.add(host);
    }
    // Who holds a host decides about aliases, too.
    for (const host of [...touched]) for (const other of this.#claims.related(host)) touched.add(other);
  }

  /** What a service adds, if anything. @param made what the policies make of it, where that is known already */
  #contribute(name: string, id: string, made?: Made): Contribution | undefined {
    const before = this.#contributions.get(id);
    const registry = this.#registries.get(name);
    const service = registry?.view.services.get(id);
    const result = service === undefined ? undefined : (made ?? registry?.make(service, lastTick()));
    const contribution = this.#contributions.set(name, id, result, (one) => this.#elsewhere(one));
    this.#workloads?.move(id, before?.usable ?? [], contribution?.usable ?? []);
    return contribution;
  }

  #elsewhere(contribution: Contribution): string | undefined {
    const isHere = [...hostsOf(contribution)].some((host) => this.#isServed(host));
    return isHere ? undefined : this.elsewhereText(contribution.host);
  }

  #rebuild(touched: ReadonlySet<string>, registry: string, cause: Cause): void {
    if (touched.size === 0) return;
    const served = [...touched].filter((host) => this.#isServed(host));
    const added = served.filter((host) => {
      const known = this.#services.get(host);
      const isNew = known === undefined || known.native;
      // The mesh has addresses of its own for what it knows by itself.
      return isNew && this.#claims.has(host) && !this.#claims.isNative(host);
    });
    const left = [...touched].filter((host) => this.#services.has(host) && !this.#isServed(host));
    const hosts = new Set([...served, ...left, ...this.#vips.change(added, left)]);
    if (hosts.size > 0) this.#change(hosts, registry, cause);
  }

  /** @param forgotten is not to be built anew */
  #change(hosts: ReadonlySet<string>, registry: string, cause: Cause, forgotten?: string): void {
    const before = new Map([...hosts].map((host) => [host, this.#services.get(host)]));
    for (const host of hosts)
      if (host === forgotten || !this.#isServed(host)) this.#drop(host);
      else this.#rebuildHost(host);
    this.emit('change', { hosts, before, registry, cause });
  }

  #rebuildHost(host: string): void {
    const known = this.#services.get(host);
    const holders = this.#holders(host);
    // What istiod still has of a service of ours that is gone is no service of its own.
    const isEcho = known?.native === false && holders.every(({ echo }) => echo);
    const [first, ...others] = isEcho ? [] : holders;
    if (first !== undefined) {
      this.#graces.cancel(host);
      const vips = this.#vips.addresses(host);
      const before = known ?? this.#remembered.get(host);
      this.#services.set(host, merge(host, [first, ...others], vips, this.#settings, before));
    } else if (known !== undefined) {
      // Emptied now, deleted later: proxies drain, and a service that comes back just fills again.
      this.#services.set(host, {
        ...known,
        vips: known.native ? known.vips : this.#vips.addresses(host),
        endpoints: [],
        unreachable: [],
        origins: [],
        heldBy: registriesOf(known),
      });
      this.#graces.begin(host, this.#settings.grace);
    }
  }

  #isServed(host: string): boolean {
    return isServed(host, this.#settings.serve);
  }

  /** At once: its grace is over, or it is another Pontoon's. */
  #drop(host: string): void {
    this.#graces.cancel(host);
    this.#collided.delete(host);
    this.#services.delete(host);
  }

  #holders(host: string): readonly Contribution[] {
    const { holders, losers } = this.#claims.settle(host, this.#registries.keys());
    if (losers.length === 0) this.#collided.delete(host);
    else
      this.#collided.set(
        host,
        losers.map((loser) => collision(host, loser, holders[0])),
      );
    return holders;
  }

  /** Services that were gone before the start, and whose grace goes on. */
  #restoreLeaving(): void {
    const leaving = this.#leaving.filter(
      ({ service: { host }, left }) => left !== undefined && !this.#services.has(host) && this.#isServed(host),
    );
    this.#leaving = [];
    for (const { service, left = 0 } of leaving) {
      this.#services.set(service.host, service);
      this.#graces.begin(service.host, Math.min(Math.max(0, left - this.#age), this.#settings.grace));
    }
    const hosts = leaving.map(({ service }) => service.host);
    if (hosts.length > 0) this.#change(new Set([...hosts, ...this.#vips.change(hosts, [])]), '', causeNow('snapshot'));
  }

  #forget(host: string): void {
    const hosts = new Set([host, ...this.#vips.change([], [host])]);
    this.#change(hosts, '', causeNow('grace ended'), host);
  }
}

/** ms since 1970. */
function lastTick(): number {
  const now = Date.now();
  return now - (now % tick);
}

function collision(host: string, { key, host: own }: Contribution, holder: Contribution | undefined): RejectedService {
  const what = host === own ? 'host' : 'alias';
  const by = holder === undefined ? '' : serviceId(holder.key);
  return {
    id: serviceId(key),
    registry: key.registry,
    reason: `${what} ${host} is held by ${by}: give one of them another host`,
  };
}
