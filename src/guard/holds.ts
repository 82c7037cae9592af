import { type Held, type Hold, InstanceMap } from './hold.js';

/** The holds of one registry, what each keeps, and what went lately without being held. */
export class Holds {
  readonly held = new InstanceMap();
  /** What went while no limit was passed: held only if it accepts a connection once one is. */
  readonly gone = new InstanceMap();
  readonly #goneAt = new WeakMap<Held, number>();
  #registry: Hold | undefined;
  readonly #services = new Map<string, Hold>();

  /** The hold of the whole registry first. */
  all(): Hold[] {
    return [...(this.#registry === undefined ? [] : [this.#registry]), ...this.#services.values()];
  }

  /** @param service the registry unless given */
  of(service?: string): Hold | undefined {
    return service === undefined ? this.#registry : this.#services.get(service);
  }

  /** Takes a hold in. One of the same registry or service that is there goes on in it. */
  add(hold: Hold): void {
    const known = this.of(hold.service);
    if (known !== undefined) move(known, hold);
    if (hold.service === undefined) this.#registry = hold;
    else this.#services.set(hold.service, hold);
  }

  /** A sick registry explains the falls of its services. @returns the holds that are part of its own now */
  absorb(registry: Hold): Hold[] {
    const parts = [...this.#services.values()];
    for (const part of parts) move(part, registry);
    this.#services.clear();
    return parts;
  }

  /** It went, and is not held. @param now monotonic ms */
  forgo(held: Held, now: number): void {
    this.gone.set(held);
    this.#goneAt.set(held, now);
  }

  /** What went since a time and nothing waits for. @param service of all services unless given. @param since monotonic ms */
  lately(service: string | undefined, since: number): Held[] {
    const gone = service === undefined ? this.gone.all() : [...this.gone.of(service).values()];
    return gone.filter((held) => held.hold === undefined && (this.#goneAt.get(held) ?? 0) >= since);
  }

  /** It is held if it accepts a connection. */
  await(held: Held, hold: Hold): void {
    held.hold = hold;
    hold.waiting.add(held);
  }

  /** It is held from now on. @param until monotonic ms */
  keep(held: Held, hold: Hold, until: number): void {
    this.gone.delete(held);
    hold.waiting.delete(held);
    held.hold = hold;
    held.until = until;
    hold.instances.add(held);
    this.held.set(held);
  }

  /** It is neither held nor remembered any more. */
  drop(held: Held): void {
    this.gone.delete(held);
    this.held.delete(held);
    held.hold?.instances.delete(held);
    held.hold?.waiting.delete(held);
  }

  /** Forgets what went before a time. @param since monotonic ms */
  prune(since: number): void {
    for (const held of this.gone.all())
      if (held.hold === undefined && (this.#goneAt.get(held) ?? 0) < since) this.gone.delete(held);
  }

  /** Takes out the holds of nothing. */
  takeEmpty(): Hold[] {
    const empty = this.all().filter(({ instances, waiting }) => instances.size + waiting.size === 0);
    for (const hold of empty)
      if (hold.service === undefined) this.#registry = undefined;
      else this.#services.delete(hold.service);
    return empty;
  }

  clear(): void {
    for (const held of [...this.held.all(), ...this.gone.all()]) this.drop(held);
    this.takeEmpty();
  }
}

function move(from: Hold, to: Hold): void {
  for (const held of [...from.instances, ...from.waiting]) held.hold = to;
  for (const held of from.instances) to.instances.add(held);
  for (const held of from.waiting) to.waiting.add(held);
}
