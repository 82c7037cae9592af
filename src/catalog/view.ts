import { isDeepStrictEqual } from 'node:util';
import { type RegistryService, type ServiceKey, type ServiceName, serviceId } from '#model/service.js';
import type { Cause, Listing } from '#sources/contract.js';

/** Of the first listing, so many are taken over before others have a turn. */
const instancesAtOnce = 500;

/** Some services of one registry changed, appeared or vanished. */
export interface ViewChange {
  readonly registry: string;
  readonly ids: readonly string[];
  /** Whether it comes of a complete listing. */
  readonly isListing: boolean;
  readonly cause: Cause;
}

/**
 * What one registry says, as last known, and what of it counts. Its source writes what is said, the catalog decides what counts. Reading it never waits.
 */
export class RegistryView {
  readonly registry: string;
  /** As the registry says them. */
  readonly said = new Map<string, RegistryService>();
  /** As they are in the mesh: what a guard holds is among them. */
  readonly services = new Map<string, RegistryService>();
  /** Services, or names of services, that exist and cannot be read now; their last known content is in `services`, if there was any. */
  readonly unreadable = new Map<string, Error>();
  /** Whether anything is known of it from before the start. */
  isRestored = false;
  readonly #changed: (change: ViewChange) => void;
  #isListed = false;
  /** What is left to be told of the first listing. */
  #settling: Generator<void> | undefined;
  /** What was touched since the open listing was begun, if one is open. A new listing replaces one that was dropped. */
  #touched: Set<string> | undefined;

  constructor(registry: string, changed: (change: ViewChange) => void) {
    this.registry = registry;
    this.#changed = changed;
  }

  /** Whether a complete listing was committed since the start, and all that it says is taken over. */
  get complete(): boolean {
    return this.#isListed && !this.isSettling;
  }

  /** Whether the first listing is being taken over. */
  get isSettling(): boolean {
    return this.#settling !== undefined;
  }

  /** Takes up services as they were before the start. */
  restore(services: readonly RegistryService[]): void {
    this.isRestored = true;
    for (const service of services) {
      const id = serviceId(service.key);
      this.said.set(id, service);
      this.services.set(id, service);
    }
  }

  /** What of a service counts from now on. */
  settle(id: string, service: RegistryService | undefined): void {
    if (service === undefined) this.services.delete(id);
    else this.services.set(id, service);
  }

  listing(): Listing {
    const listed = new Map<string, RegistryService>();
    const touched = new Set<string>();
    this.#touched = touched;
    return {
      add: (services) => {
        for (const service of services) listed.set(serviceId(service.key), service);
      },
      commit: (cause) => {
        this.#touched = undefined;
        this.settleAll();
        const isFirst = !this.#isListed && !this.isRestored;
        const ids: string[] = [];
        for (const [id, service] of listed) {
          if (touched.has(id) || touched.has(nameId(service.key))) continue;
          this.#readable(service.key);
          if (isDeepStrictEqual(this.said.get(id), service)) continue;
          this.said.set(id, service);
          ids.push(id);
        }
        for (const [id, { key }] of this.said) {
          if (touched.has(id) || touched.has(nameId(key)) || listed.has(id)) continue;
          this.said.delete(id);
          ids.push(id);
        }
        for (const id of this.unreadable.keys()) if (!touched.has(id)) this.unreadable.delete(id);
        this.#isListed = true;
        if (isFirst) this.#settleFirst(ids, cause);
        else this.#changed({ registry: this.registry, ids, isListing: true, cause });
      },
    };
  }

  update(changed: readonly RegistryService[], removed: readonly ServiceKey[], cause: Cause): void {
    const keys = [...changed.map(({ key }) => key), ...removed];
    const ids = [...new Set(keys.map(serviceId))];
    for (const service of changed) this.said.set(serviceId(service.key), service);
    for (const key of removed) this.said.delete(serviceId(key));
    for (const key of keys) this.#readable(key);
    for (const id of ids) this.#touched?.add(id);
    this.#changed({ registry: this.registry, ids, isListing: false, cause });
  }

  setUnreadable(key: ServiceKey | ServiceName, error: Error): void {
    const id = serviceId(key);
    this.unreadable.set(id, error);
    this.#touched?.add(id);
  }

  /** Takes over at once what is left of the first listing. */
  settleAll(): void {
    while (this.#settling?.next().done === false);
  }

  /** Before anything is shown there is nothing that could be lost: the first listing is told in pieces, so that a large one holds nothing else up. */
  #settleFirst(ids: readonly string[], cause: Cause): void {
    const settling = this.#pieces(ids, cause);
    const goOn = (): void => {
      if (this.#settling !== settling) return;
      if (!settling.next().done) setImmediate(goOn);
    };
    this.#settling = settling;
    goOn();
  }

  *#pieces(ids: readonly string[], cause: Cause): Generator<void> {
    let piece: string[] = [];
    let instances = 0;
    for (const id of ids) {
      piece.push(id);
      instances += this.said.get(id)?.instances.length ?? 0;
      if (instances < instancesAtOnce && piece.length < instancesAtOnce) continue;
      this.#changed({ registry: this.registry, ids: piece, isListing: false, cause });
      piece = [];
      instances = 0;
      yield;
    }
    this.#settling = undefined;
    this.#changed({ registry: this.registry, ids: piece, isListing: true, cause });
  }

  #readable(key: ServiceKey): void {
    this.unreadable.delete(serviceId(key));
    this.unreadable.delete(nameId(key));
  }
}

/** What stands for every service of a name. */
function nameId({ registry, namespace, name }: ServiceName): string {
  return serviceId({ registry, namespace, name });
}
