import { compareText } from '#model/mesh.js';
import { reasonOf } from '#model/reason.js';
import type { Contribution } from '#policy/contribution.js';
import type { Made } from './registry.js';

/** A registry's service that is not in the mesh, with the reason. */
export interface RejectedService {
  readonly id: string;
  readonly registry: string;
  readonly reason: string;
}

/** Why a service is in no mesh service: it has no valid host, the configuration leaves it out, or another Pontoon has it. */
export type Absence = 'failed' | 'dropped' | 'elsewhere';

/** What each service of the registries adds to the mesh, or why it adds nothing. */
export class Contributions {
  readonly #made = new Map<string, Contribution>();
  readonly #absent: Readonly<Record<Absence, Map<string, RejectedService>>> = {
    failed: new Map(),
    dropped: new Map(),
    elsewhere: new Map(),
  };
  /** Services that change by themselves: registry and when, in ms since 1970. */
  readonly #due = new Map<string, { readonly registry: string; readonly at: number }>();

  /** By a service's id; undefined if it adds nothing. */
  get(id: string): Contribution | undefined {
    return this.#made.get(id);
  }

  /** In no order. */
  all(): Iterable<Contribution> {
    return this.#made.values();
  }

  /** Of one registry, by the ids of the services. */
  of(registry: string): ReadonlyMap<string, Contribution> {
    return new Map([...this.#made].filter(([, { key }]) => key.registry === registry));
  }

  /** Ids of all services of a registry that are known here. */
  idsOf(registry: string): string[] {
    const absent = Object.values(this.#absent).flatMap((services) => [...services.values()]);
    return [...this.of(registry).keys(), ...absent.flatMap((one) => (one.registry === registry ? [one.id] : []))];
  }

  /** In the order of their ids. */
  absent(why: Absence): RejectedService[] {
    return [...this.#absent[why].values()].sort((a, b) => compareText(a.id, b.id));
  }

  /**
   * Takes over what the policies make of a service; undefined, when it is gone.
   * @param elsewhere says why another Pontoon has it, if one does
   * @returns what it adds
   */
  set(
    registry: string,
    id: string,
    made: Made | undefined,
    elsewhere: (contribution: Contribution) => string | undefined,
  ): Contribution | undefined {
    this.#made.delete(id);
    this.#due.delete(id);
    for (const services of Object.values(this.#absent)) services.delete(id);
    if (made === undefined || 'workloads' in made) return undefined;
    const note = (why: Absence, reason: string) => void this.#absent[why].set(id, { id, registry, reason });
    if ('error' in made) note('failed', reasonOf(made.error));
    else if ('dropped' in made) note('dropped', `left out by ${made.dropped}`);
    if ('error' in made || 'dropped' in made) return undefined;
    this.#made.set(id, made);
    const reason = elsewhere(made);
    if (reason !== undefined) note('elsewhere', reason);
    if (made.until !== undefined) this.#due.set(id, { registry, at: made.until });
    return made;
  }

  /** Whether any service changes by itself. */
  get hasDue(): boolean {
    return this.#due.size > 0;
  }

  /** Services of a registry that have changed by themselves. @param now ms since 1970 */
  due(registry: string, now: number): string[] {
    return [...this.#due].filter(([, due]) => due.registry === registry && due.at <= now).map(([id]) => id);
  }
}
