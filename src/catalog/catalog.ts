import { EventEmitter } from 'eventemitter3';
import { compareText, type MeshService } from '#model/mesh.js';
import { reasonOf } from '#model/reason.js';
import { serviceId } from '#model/service.js';
import type { Contribution, ContributionTrace, RegistryPolicy } from '#policy/contribution.js';
import { type Cause, cause as causeNow } from '#sources/contract.js';
import { Claims, hostsOf } from './claims.js';
import { type MeshDefaults, merge } from './merge.js';
import { RegistryView, type ViewChange } from './view.js';
import type { VipAllocator } from './vip.js';

/** Which hosts changed, and why: once per registry change, however many services it touched. */
export interface CatalogChange {
  readonly hosts: ReadonlySet<string>;
  /** The hosts' services as they were; undefined for those that were not there. */
  readonly before: ReadonlyMap<string, MeshService | undefined>;
  readonly registry: string;
  readonly cause: Cause;
}

/** A registry's service that is not in the mesh, with the reason. */
export interface RejectedService {
  readonly id: string;
  readonly registry: string;
  readonly reason: string;
}

/** What the configuration says about mesh services. */
export interface CatalogSettings extends MeshDefaults {
  /** How long a gone service stays, without endpoints, before it is deleted: ms. */
  readonly grace: number;
}

/** ms. What time changes, changes in ticks of the wall clock, so that replicas agree and many changes are one. */
const tick = 5_000;

/**
 * Joins the registries' views into mesh services, one per host. The work of a change is proportional to the services that it touches.
 * The result depends on the views and their order in the configuration alone, never on the order of arrival.
 */
export class Catalog extends EventEmitter<{ change: [CatalogChange]; complete: [string] }> {
  readonly services: ReadonlyMap<string, MeshService>;
  readonly #services = new Map<string, MeshService>();
  #settings: CatalogSettings;
  readonly #remembered: ReadonlyMap<string, MeshService>;
  readonly #vips: VipAllocator;
  readonly #registries = new Map<string, { readonly view: RegistryView; readonly policy: RegistryPolicy }>();
  /** Service id → what it adds. */
  readonly #contributions = new Map<string, Contribution>();
  readonly #claims = new Claims((id) => this.#contributions.get(id));
  readonly #failed = new Map<string, RejectedService>();
  /** Host → services that do not get it. */
  readonly #collided = new Map<string, readonly RejectedService[]>();
  /** Services that the configuration leaves out. */
  readonly #dropped = new Map<string, RejectedService>();
  /** Hosts that nobody claims any more, until their grace has run out. */
  readonly #gone = new Map<string, NodeJS.Timeout>();
  /** Services that change by themselves: registry and when, in ms since 1970. */
  readonly #due = new Map<string, { readonly registry: string; readonly at: number }>();
  #ticking: NodeJS.Timeout | undefined;

  /** @param remembered services as they once were: an emptied one keeps their ports */
  constructor(settings: CatalogSettings, vips: VipAllocator, remembered: ReadonlyMap<string, MeshService> = new Map()) {
    super();
    this.#remembered = remembered;
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
    const known = new Map(this.#registries);
    this.#registries.clear();
    for (const policy of policies) {
      const { name, type } = policy.settings;
      const before = known.get(name);
      const view = before?.policy.settings.type === type ? before.view : this.#newView(name);
      this.#registries.set(name, { view, policy });
    }
    const touched = new Set<string>();
    for (const registry of new Set([...known.keys(), ...this.#registries.keys()]))
      this.#recompute(registry, this.#idsOf(registry), touched);
    this.#rebuild(touched, '', causeNow('configuration'));
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

  /** What a registry's service adds to its host; undefined if it is rejected as a whole. */
  contribution(id: string): Contribution | undefined {
    return this.#contributions.get(id);
  }

  /** The steps that a service goes through on its way into the mesh, as they are now. */
  trace(id: string, trace: ContributionTrace): void {
    for (const { view, policy } of this.#registries.values()) {
      const service = view.services.get(id);
      if (service !== undefined) policy.contribution(service, lastTick(), trace);
    }
  }

  /** Services that are in no mesh service: no valid host, or a host that another service of the registry holds. */
  rejected(): RejectedService[] {
    return [...this.#failed.values(), ...[...this.#collided.values()].flat()].sort((a, b) => compareText(a.id, b.id));
  }

  /** Services that the configuration leaves out, with the policy that does. */
  dropped(): RejectedService[] {
    return [...this.#dropped.values()].sort((a, b) => compareText(a.id, b.id));
  }

  /** Ends all timers. */
  close(): void {
    for (const timer of this.#gone.values()) clearTimeout(timer);
    this.#gone.clear();
    clearTimeout(this.#ticking);
  }

  #apply({ registry, ids, cause }: ViewChange): void {
    const touched = new Set<string>();
    this.#recompute(registry, ids, touched);
    this.#rebuild(touched, registry, cause);
    this.#awaitTick();
  }

  #awaitTick(): void {
    if (this.#due.size > 0) this.#ticking ??= setTimeout(() => this.#tick(), tick - (Date.now() % tick)).unref();
  }

  #tick(): void {
    this.#ticking = undefined;
    const now = lastTick();
    for (const registry of this.#registries.keys()) {
      const ids = [...this.#due].filter(([, due]) => due.registry === registry && due.at <= now).map(([id]) => id);
      this.#apply({ registry, ids, cause: causeNow('warm-up') });
    }
  }

  /** A view that tells when it is complete for the first time. */
  #newView(registry: string): RegistryView {
    let announced = false;
    const view = new RegistryView(registry, (change) => {
      if (this.#registries.get(registry)?.view !== view) return;
      this.#apply(change);
      if (announced || !view.complete) return;
      announced = true;
      this.emit('complete', registry);
    });
    return view;
  }

  /** All that is or was known of a registry. */
  #idsOf(registry: string): string[] {
    const ids = new Set(this.#registries.get(registry)?.view.services.keys());
    for (const [id, { key }] of this.#contributions) if (key.registry === registry) ids.add(id);
    for (const services of [this.#failed, this.#dropped])
      for (const [id, service] of services) if (service.registry === registry) ids.add(id);
    return [...ids];
  }

  /** @param touched takes up the hosts that may change */
  #recompute(registry: string, ids: readonly string[], touched: Set<string>): void {
    for (const id of ids) {
      const before = hostsOf(this.#contributions.get(id));
      const after = hostsOf(this.#contribute(registry, id));
      this.#claims.move(id, before, after);
      for (const host of [...before, ...after]) touched.add(host);
    }
    // Who holds a host decides about aliases, too.
    for (const host of [...touched]) for (const other of this.#claims.related(host)) touched.add(other);
  }

  /** Computes what a service adds, if anything. */
  #contribute(registry: string, id: string): Contribution | undefined {
    this.#contributions.delete(id);
    this.#failed.delete(id);
    this.#dropped.delete(id);
    this.#due.delete(id);
    const { view, policy } = this.#registries.get(registry) ?? {};
    const service = view?.services.get(id);
    if (service === undefined || policy === undefined) return undefined;
    try {
      const contribution = policy.contribution(service, lastTick());
      if ('dropped' in contribution) {
        this.#dropped.set(id, { id, registry, reason: `left out by ${contribution.dropped}` });
        return undefined;
      }
      this.#contributions.set(id, contribution);
      if (contribution.until !== undefined) this.#due.set(id, { registry, at: contribution.until });
      return contribution;
    } catch (error) {
      this.#failed.set(id, { id, registry, reason: reasonOf(error) });
      return undefined;
    }
  }

  #rebuild(touched: ReadonlySet<string>, registry: string, cause: Cause): void {
    if (touched.size === 0) return;
    const added = [...touched].filter((host) => !this.#services.has(host) && this.#claims.has(host));
    const hosts = new Set([...touched, ...this.#vips.change(added, [])]);
    this.#change(hosts, registry, cause);
  }

  /** @param forgotten is not to be built anew */
  #change(hosts: ReadonlySet<string>, registry: string, cause: Cause, forgotten?: string): void {
    const before = new Map([...hosts].map((host) => [host, this.#services.get(host)]));
    for (const host of hosts)
      if (host === forgotten) this.#services.delete(host);
      else this.#rebuildHost(host);
    this.emit('change', { hosts, before, registry, cause });
  }

  #rebuildHost(host: string): void {
    const known = this.#services.get(host);
    const [first, ...others] = this.#holders(host);
    if (first !== undefined) {
      clearTimeout(this.#gone.get(host));
      this.#gone.delete(host);
      const vips = this.#vips.addresses(host);
      const before = known ?? this.#remembered.get(host);
      this.#services.set(host, merge(host, [first, ...others], vips, this.#settings, before));
    } else if (known !== undefined) {
      // Emptied now, deleted later: proxies drain, and a service that comes back just fills again.
      this.#services.set(host, {
        ...known,
        vips: this.#vips.addresses(host),
        endpoints: [],
        unreachable: [],
        origins: [],
      });
      if (!this.#gone.has(host))
        this.#gone.set(host, setTimeout(() => this.#forget(host), this.#settings.grace).unref());
    }
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

  #forget(host: string): void {
    this.#gone.delete(host);
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
