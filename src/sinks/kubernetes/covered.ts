import type { EncodedResource } from '#istio/resource.js';
import type { Ledger } from './ledger.js';
import { isHeldBy } from './manifest.js';

/** ms from an object's first sight until it counts: until then istiod has heard of it, too. */
const SETTLE_MS = 3_000;

/** Which hosts have their objects in the cluster, long enough that everybody knows of them; so that they need be shown nowhere else. */
export class Covered {
  readonly #ledger: Ledger;
  readonly #changed: (host: string) => void;
  /** Host → ids of its objects that count. */
  readonly #ids = new Map<string, readonly string[]>();
  readonly #settling = new Map<string, NodeJS.Timeout>();
  #isKnown = false;

  /** @param changed is called when what is covered of a host is something else now */
  constructor(ledger: Ledger, changed: (host: string) => void) {
    this.#ledger = ledger;
    this.#changed = changed;
  }

  /** Before it is known what there is, all counts as covered: what is in the cluster already must not be there twice. */
  has({ host, name }: Pick<EncodedResource, 'host' | 'name'>): boolean {
    return !this.#isKnown || isHeldBy(name, this.#ids.get(host) ?? []);
  }

  /** The ledger is complete for the first time. @param hosts that were asked for */
  known(hosts: Iterable<string>): void {
    if (this.#isKnown) return;
    this.#isKnown = true;
    for (const host of this.#ledger.hosts()) this.#ids.set(host, this.#there(host));
    for (const host of hosts) this.#changed(host);
  }

  /** The objects of a host may be others now. The first of a host has to settle; what follows on others counts at once. */
  look(host: string): void {
    if (!this.#isKnown) return;
    const there = this.#there(host);
    const before = this.#ids.get(host) ?? [];
    if (there.length === before.length && there.every((id) => before.includes(id))) return;
    if (before.length > 0) this.#take(host);
    else if (!this.#settling.has(host)) this.#settling.set(host, setTimeout(() => this.#take(host), SETTLE_MS).unref());
  }

  close(): void {
    for (const timer of this.#settling.values()) clearTimeout(timer);
    this.#settling.clear();
  }

  #take(host: string): void {
    clearTimeout(this.#settling.get(host));
    this.#settling.delete(host);
    const there = this.#there(host);
    if (there.length === 0) this.#ids.delete(host);
    else this.#ids.set(host, there);
    this.#changed(host);
  }

  #there(host: string): string[] {
    return this.#ledger.ofHost(host).map(({ id }) => id);
  }
}
