import { isDeepStrictEqual } from 'node:util';
import { compareText, type MeshService } from '#model/mesh.js';
import { type DesiredContext, type Refusal, type Want, wanted } from './desired.js';
import type { Publication } from './publication.js';

/** Two that want to be one service in one registry: the first publication in the configuration has it, then the host that sorts first. */
export interface Contest {
  readonly winner: Want;
  readonly loser: Want;
}

/** What all publications want, kept current host by host. */
export class Claims {
  readonly #context: DesiredContext;
  #publications: readonly Publication[] = [];
  readonly #ofHost = new Map<string, readonly (Want | Refusal)[]>();
  /** By the service's id in its registry, the one that has it first. */
  readonly #ofService = new Map<string, readonly Want[]>();

  constructor(context: DesiredContext) {
    this.#context = context;
  }

  get publications(): readonly Publication[] {
    return this.#publications;
  }

  /** Other publications, for all hosts. @returns the ids of services of which something else is wanted now */
  configure(publications: readonly Publication[], services: ReadonlyMap<string, MeshService>): Set<string> {
    this.#publications = publications;
    return this.update(new Set([...this.#ofHost.keys(), ...services.keys()]), services);
  }

  /** Some mesh services may be others now. @returns the ids of services of which something else is wanted now */
  update(hosts: Iterable<string>, services: ReadonlyMap<string, MeshService>): Set<string> {
    const changed = new Set<string>();
    for (const host of hosts) {
      const before = this.#ofHost.get(host) ?? [];
      const after = this.#of(services.get(host));
      if (isDeepStrictEqual(before, after)) continue;
      if (after.length > 0) this.#ofHost.set(host, after);
      else this.#ofHost.delete(host);
      for (const one of before) if ('id' in one) this.#drop(one, changed);
      for (const one of after) if ('id' in one) this.#put(one, changed);
    }
    return changed;
  }

  /** Who wants this service, the one that has it first. */
  of(id: string): readonly Want[] {
    return this.#ofService.get(id) ?? [];
  }

  /** All that is wanted of a publication. */
  all(): (Want | Refusal)[] {
    return [...this.#ofHost.values()].flat();
  }

  ofHost(host: string): readonly (Want | Refusal)[] {
    return this.#ofHost.get(host) ?? [];
  }

  /** Those of which something is wanted. */
  hosts(): Iterable<string> {
    return this.#ofHost.keys();
  }

  ids(): Iterable<string> {
    return this.#ofService.keys();
  }

  /** Why a publication leaves a service out that says so itself. */
  out(service: MeshService): { readonly publication: string; readonly reason: string }[] {
    return this.#publications.flatMap((publication) => {
      const made = wanted(service, publication, this.#context);
      return made !== undefined && 'out' in made ? [{ publication: publication.config.name, reason: made.out }] : [];
    });
  }

  #of(service: MeshService | undefined): (Want | Refusal)[] {
    if (service === undefined) return [];
    return this.#publications.flatMap((publication) => {
      const made = wanted(service, publication, this.#context);
      return made === undefined || 'out' in made ? [] : [made];
    });
  }

  #put(want: Want, changed: Set<string>): void {
    const others = this.#ofService.get(want.id) ?? [];
    const all = [...others, want].sort((a, b) => a.order - b.order || compareText(a.host, b.host));
    this.#ofService.set(want.id, all);
    changed.add(want.id);
  }

  #drop(want: Want, changed: Set<string>): void {
    const others = (this.#ofService.get(want.id) ?? []).filter((one) => one !== want);
    if (others.length > 0) this.#ofService.set(want.id, others);
    else this.#ofService.delete(want.id);
    changed.add(want.id);
  }
}
