import type { GuardSettings } from '#guard/counts.js';
import { Guard, type GuardOutput } from '#guard/guard.js';
import { withHeld } from '#guard/hold.js';
import { type Instance, instancePlace, type RegistryService } from '#model/service.js';
import type { Contribution, Described, LeftOut, RegistryPolicy } from '#policy/contribution.js';
import type { WorkloadsAt } from '#policy/workload.js';
import type { KnownRegistry } from '#snapshot/known.js';
import { RegistryView, type ViewChange } from './view.js';

/** What the policies make of a service, or why they can't. */
export type Made = Contribution | LeftOut | Described | { readonly error: unknown };

/** What a registry in the catalog needs of it. */
export interface RegistryOutput extends GuardOutput {
  readonly listed: (change: ViewChange) => void;
  /** The pods that instances may be. */
  readonly workloads: WorkloadsAt;
}

/** One registry in the catalog: what it says, what its guard lets through, and the policies that this goes through. */
export class CatalogRegistry {
  readonly view: RegistryView;
  policy: RegistryPolicy;
  readonly guard: Guard | undefined;
  /** Of services of which something is held: the instances that get traffic by what the registry says. */
  readonly #usable = new Map<string, readonly Instance[]>();
  readonly #workloads: WorkloadsAt;

  constructor(policy: RegistryPolicy, guards: GuardSettings | undefined, output: RegistryOutput) {
    const { name } = policy.settings;
    this.policy = policy;
    this.#workloads = output.workloads;
    this.guard = guards && new Guard(guards, policy.settings.guarded ?? true, output);
    this.view = new RegistryView(name, output.listed);
  }

  /** Takes up what is known from before the start: until the registry lists them, the services are as they were. @param age of the snapshot: ms */
  restore({ services, holds }: Pick<KnownRegistry, 'services' | 'holds'>, age: number): void {
    const { view, guard } = this;
    view.restore(services);
    guard?.restore(holds, view.services, age);
    for (const [id, service] of view.services) {
      const held = guard?.heldOf(id);
      if (held === undefined || held.size === 0) continue;
      const instances = service.instances.filter((instance) => !held.has(instancePlace(instance)));
      view.said.set(id, { ...service, instances });
    }
  }

  /** What the policies make of a service as it is in the mesh. @param now ms since 1970, in coarse ticks */
  make(service: RegistryService, now: number): Made {
    try {
      return this.policy.contribution(service, now, this.#workloads);
    } catch (error) {
      return { error };
    }
  }

  /**
   * Takes over what the registry says of some services.
   * @param before what a service adds to the mesh until now
   * @param now ms since 1970, in coarse ticks
   * @returns the services that are other ones now, with what the policies make of them where that is known already
   */
  settle(
    { ids, isListing }: Pick<ViewChange, 'ids' | 'isListing'>,
    before: (id: string) => Contribution | undefined,
    now: number,
  ): ReadonlyMap<string, Made | undefined> {
    const { view, guard } = this;
    const made = new Map<string, Made>();
    if (guard !== undefined) {
      const changes = ids.map((id) => {
        const said = view.said.get(id);
        const result = said && this.make(said, now);
        if (result !== undefined) made.set(id, result);
        const usable = this.#usable.get(id) ?? before(id)?.usable ?? [];
        return { id, said, known: view.services.get(id), before: usable, after: usableOf(result) };
      });
      guard.change(changes);
      if (isListing) guard.excuse(false);
      for (const { id, after } of changes) if (guard.heldOf(id).size > 0) this.#usable.set(id, after);
    }
    const changed = this.reguard(ids, now);
    return new Map(changed.map((id) => [id, view.services.get(id) === view.said.get(id) ? made.get(id) : undefined]));
  }

  /** Takes over what is held of these services now. @returns those that are other ones now */
  reguard(ids: readonly string[], now: number): string[] {
    const { view, guard } = this;
    return ids.filter((id) => {
      const said = view.said.get(id);
      const known = view.services.get(id);
      const held = guard?.heldOf(id);
      const service = held === undefined ? said : withHeld(said, known, held);
      view.settle(id, service);
      if (held === undefined || held.size === 0) this.#usable.delete(id);
      else if (!this.#usable.has(id)) this.#usable.set(id, usableOf(said && this.make(said, now)));
      return service !== known;
    });
  }

  /** Other policies: what falls by them is no fall. @param contributions of all services of the registry, by id. @returns services that are other ones now */
  rebase(guards: GuardSettings | undefined, contributions: ReadonlyMap<string, Contribution>, now: number): string[] {
    const { guard, view } = this;
    if (guard === undefined || guards === undefined) return [];
    this.#usable.clear();
    for (const id of guard.services()) {
      const said = view.said.get(id);
      if (contributions.has(id)) this.#usable.set(id, usableOf(said && this.make(said, now)));
    }
    const countOf = (id: string): number | undefined => (this.#usable.get(id) ?? contributions.get(id)?.usable)?.length;
    let count = 0;
    for (const id of contributions.keys()) count += countOf(id) ?? 0;
    const before = guard.services();
    guard.rebase(guards, this.policy.settings.guarded ?? true, count, countOf);
    return this.reguard(before, now);
  }

  /** The services as they are in the mesh, for what outlives this process. */
  known(): Omit<KnownRegistry, 'source'> {
    const { name, type } = this.policy.settings;
    return { name, type, services: [...this.view.services.values()], holds: this.guard?.known() ?? [] };
  }
}

function usableOf(made: Made | undefined): readonly Instance[] {
  return made !== undefined && 'usable' in made ? made.usable : [];
}
