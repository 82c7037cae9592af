import { compareText } from '#model/mesh.js';
import type { Contribution } from '#policy/contribution.js';

/** Which services want which hosts, as their own or as an alias, and who gets them. */
export class Claims {
  readonly #byHost = new Map<string, Set<string>>();
  readonly #contribution: (id: string) => Contribution | undefined;

  /** @param contribution what a service adds, by its id */
  constructor(contribution: (id: string) => Contribution | undefined) {
    this.#contribution = contribution;
  }

  has(host: string): boolean {
    return this.#byHost.has(host);
  }

  /** Whether the mesh knows the host by itself. */
  isNative(host: string): boolean {
    return this.#wanting(host).some((one) => one.native && one.host === host);
  }

  /** A service wants other hosts than before. */
  move(id: string, before: ReadonlySet<string>, after: ReadonlySet<string>): void {
    for (const host of before) if (!after.has(host)) this.#remove(host, id);
    for (const host of after) this.#add(host, id);
  }

  /** All hosts of the services that want this one. */
  related(host: string): string[] {
    return [...(this.#byHost.get(host) ?? [])].flatMap((id) => [...hostsOf(this.#contribution(id))]);
  }

  /**
   * Who gives a host its endpoints, in the order of the registries, and who wants it in vain. Of several services of one registry the one that sorts first holds the
   * host, unless a policy that names them gave it: then all do. An alias gives way to a host; of services that want one alias, the first host has it, with all its holders.
   */
  settle(
    host: string,
    registries: Iterable<string>,
  ): { readonly holders: readonly Contribution[]; readonly losers: readonly Contribution[] } {
    const names = [...registries];
    const wanting = this.#wanting(host);
    const owners = wanting.filter((one) => one.host === host);
    const holders = owners.length > 0 ? oneEach(owners, names) : this.#aliasHolders(wanting, names);
    return { holders, losers: wanting.filter((one) => !holders.includes(one)) };
  }

  #aliasHolders(wanting: readonly Contribution[], registries: readonly string[]): Contribution[] {
    const [first] = wanting.map(({ host }) => host).sort(compareText);
    if (first === undefined) return [];
    const owners = this.#wanting(first).filter(({ host }) => host === first);
    return oneEach(owners, registries);
  }

  #wanting(host: string): Contribution[] {
    const all = [...(this.#byHost.get(host) ?? [])].sort(compareText).flatMap((id) => this.#contribution(id) ?? []);
    const others = all.filter(({ echo }) => !echo);
    return others.length > 0 ? others : all;
  }

  #add(host: string, id: string): void {
    const ids = this.#byHost.get(host);
    if (ids === undefined) this.#byHost.set(host, new Set([id]));
    else ids.add(id);
  }

  #remove(host: string, id: string): void {
    const ids = this.#byHost.get(host);
    ids?.delete(id);
    if (ids?.size === 0) this.#byHost.delete(host);
  }
}

/** A service's host and its aliases. */
export function hostsOf(contribution: Contribution | undefined): ReadonlySet<string> {
  return new Set(contribution === undefined ? [] : [contribution.host, ...contribution.aliases]);
}

function oneEach(owners: readonly Contribution[], registries: readonly string[]): Contribution[] {
  return registries.flatMap((registry) => {
    const rivals = owners.filter(({ key }) => key.registry === registry);
    const meant = rivals.filter(({ hostByName }) => hostByName);
    return meant.length > 0 ? meant : rivals.slice(0, 1);
  });
}
