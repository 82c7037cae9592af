import { setImmediate as nextTurn } from 'node:timers/promises';
import type { RegistryService, ServiceKey } from '#model/service.js';
import { type Cause, cause, type Listing, type SourceOutput } from '#sources/contract.js';
import type { Following } from './follow.js';
import type { Outcome, Register } from './register.js';

/** For so many ms services are decoded in one go; then others have their turn. */
const slice = 8;

/** One name of one register. */
interface Item {
  readonly register: Register;
  readonly name: string;
}

/** Tells all that the registers of one ensemble read, and goes on telling what changes, until it is stopped. */
export class Reader {
  readonly #registry: string;
  readonly #registers: readonly Register[];
  readonly #following: Following;
  readonly #out: SourceOutput;
  readonly #told: Map<string, readonly ServiceKey[]>;
  readonly #failed: (error: Error) => void;
  readonly #dirty = new Map<string, Item & { readonly why: Cause }>();
  #isListed = false;
  #isBusy = true;
  #isStopped = false;

  /**
   * @param registry its name
   * @param told the services of each name that the registry's view may hold; kept over all readers of one registry
   * @param failed is told when nothing can be read any more
   */
  constructor(
    registry: string,
    registers: readonly Register[],
    following: Following,
    out: SourceOutput,
    told: Map<string, readonly ServiceKey[]>,
    failed: (error: Error) => void,
  ) {
    this.#registry = registry;
    this.#registers = registers;
    this.#following = following;
    this.#out = out;
    this.#told = told;
    this.#failed = failed;
  }

  /** Gives the first complete listing; from then on, changes are told as they come. */
  async start(): Promise<void> {
    await this.#following.loaded();
    await this.#list(cause('first listing'));
    this.#isBusy = false;
    this.#tell();
  }

  stop(): void {
    this.#isStopped = true;
    for (const register of this.#registers) register.stop();
  }

  /** What is known of a name may have changed. */
  changed(register: Register, name: string, why: Cause): void {
    const item = { register, name, why };
    const id = idOf(item);
    if (!this.#dirty.has(id)) this.#dirty.set(id, item);
    this.#tell();
  }

  #tell(): void {
    if (this.#isBusy || this.#isStopped || this.#dirty.size === 0) return;
    this.#isBusy = true;
    this.#tellAll()
      .catch(this.#failed)
      .finally(() => {
        this.#isBusy = false;
        this.#tell();
      });
  }

  async #tellAll(): Promise<void> {
    // Answers that came together are told together.
    for (await nextTurn(); this.#dirty.size > 0 && !this.#isStopped; await nextTurn()) this.#tellSome();
  }

  #tellSome(): void {
    const changed: RegistryService[] = [];
    const removed: ServiceKey[] = [];
    let first: Cause | undefined;
    const until = performance.now() + slice;
    for (const [id, item] of this.#dirty) {
      this.#dirty.delete(id);
      const outcome = this.#evaluate(item, item.why);
      if (outcome.kind === 'services' || outcome.kind === 'gone') {
        const services = outcome.kind === 'services' ? outcome.services : [];
        changed.push(...services);
        removed.push(...missing(this.#told.get(id) ?? [], services));
        this.#remember(id, services);
        if (first === undefined || item.why.observedAt < first.observedAt) first = item.why;
      }
      if (performance.now() > until) break;
    }
    if (first !== undefined && changed.length + removed.length > 0) this.#out.update(changed, removed, first);
  }

  async #list(why: Cause): Promise<void> {
    // What else is wanted of a name shows only when all else of it is known.
    await this.#sliced(this.#items(), ({ register, name }) => this.#ask(register, name, why));
    this.#dirty.clear();
    const listing = this.#out.listing();
    const items = this.#items();
    let waiting = items;
    while (waiting.length > 0 && !this.#isStopped) {
      await this.#following.loaded();
      await nextTurn();
      const unknown: Item[] = [];
      await this.#sliced(waiting, (item) => {
        if (!this.#listOne(listing, item, why)) unknown.push(item);
      });
      waiting = unknown;
    }
    if (this.#isStopped) return;
    const listed = new Set(items.map(idOf));
    for (const id of this.#told.keys()) if (!listed.has(id)) this.#told.delete(id);
    listing.commit(why);
    this.#isListed = true;
  }

  /** @returns false if it is not known yet what to list */
  #listOne(listing: Listing, item: Item, why: Cause): boolean {
    // What is known by now goes into the listing, and need not be told again.
    this.#dirty.delete(idOf(item));
    const outcome = this.#evaluate(item, why);
    if (outcome.kind === 'unknown') return false;
    if (outcome.kind !== 'unreadable') {
      const services = outcome.kind === 'services' ? outcome.services : [];
      listing.add(services);
      this.#remember(idOf(item), services);
    }
    return true;
  }

  #evaluate({ register, name }: Item, why: Cause): Outcome {
    const outcome = this.#ask(register, name, why);
    const key = { registry: this.#registry, namespace: register.namespace, name };
    if (outcome.kind === 'unreadable') this.#out.unreadable(key, outcome.error);
    return outcome;
  }

  #ask(register: Register, name: string, why: Cause): Outcome {
    const keys = this.#told.get(idOf({ register, name }));
    return register.evaluate(name, why, { keys, isListed: this.#isListed });
  }

  #remember(id: string, services: readonly RegistryService[]): void {
    if (services.length === 0) this.#told.delete(id);
    else {
      const keys = services.map(({ key }) => key);
      this.#told.set(id, keys);
    }
  }

  #items(): Item[] {
    return this.#registers.flatMap((register) => [...register.names()].map((name) => ({ register, name })));
  }

  /** Does one thing after the other, with turns for others in between. */
  async #sliced(items: readonly Item[], act: (item: Item) => void): Promise<void> {
    let until = performance.now() + slice;
    for (const item of items) {
      act(item);
      if (performance.now() < until) continue;
      await nextTurn();
      until = performance.now() + slice;
    }
  }
}

function idOf({ register, name }: Item): string {
  return `${register.namespace} ${name}`;
}

function missing(before: readonly ServiceKey[], services: readonly RegistryService[]): ServiceKey[] {
  return before.filter(
    (key) => !services.some((service) => service.key.group === key.group && service.key.version === key.version),
  );
}
