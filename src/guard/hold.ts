import { type Instance, instancePlace, type RegistryService } from '#model/service.js';
import type { Answer } from '#probe/prober.js';

/** A fall that is held: of a whole registry, or of one service. */
export interface Hold {
  readonly scope: 'registry' | 'service';
  /** The id of the service, of a hold of one service. */
  readonly service: string | undefined;
  /** ms since 1970, for people. */
  readonly since: number;
  /** What is lost until then is held, too: monotonic ms. */
  until: number;
  /** Whether that time is over, and the fall counts no more. */
  isOver: boolean;
  readonly reason: string;
  readonly instances: Set<Held>;
  /** What went before the limit was passed, and is asked whether it lives. */
  readonly waiting: Set<Held>;
  /** How many have turned out dead. */
  dead: number;
}

/** An instance that was usable, and that its registry does not list as usable any more. */
export interface Held {
  /** The id of its service. */
  readonly service: string;
  /** Of the instance, within its service. */
  readonly place: string;
  /** As it was when it was last usable, and its service then. */
  readonly instance: Instance;
  readonly from: RegistryService;
  /** `gone`, or the status that its registry gives it. */
  why: string;
  /** What holds it in the mesh, or would if it accepts a connection; undefined while nothing does. */
  hold: Hold | undefined;
  /** How long it is held at most: monotonic ms; 0 while it is not. */
  until: number;
  /** What it said when it was last asked, and when: ms since 1970. */
  answer?: Answer;
  askedAt?: number;
}

/** ms until the last instance of a hold leaves by time; 0 if it goes on past that. */
export function leftOf({ instances }: Hold, now: number): number {
  let last = now;
  for (const { until } of instances) last = Math.max(last, until);
  return Math.round(last - now);
}

/** Instances by service and place. */
export class InstanceMap {
  readonly #byService = new Map<string, Map<string, Held>>();
  #size = 0;

  get size(): number {
    return this.#size;
  }

  /** By place; empty if there is none of the service. */
  of(service: string): ReadonlyMap<string, Held> {
    return this.#byService.get(service) ?? new Map();
  }

  has(held: Held): boolean {
    return this.of(held.service).get(held.place) === held;
  }

  services(): string[] {
    return [...this.#byService.keys()];
  }

  all(): Held[] {
    return [...this.#byService.values()].flatMap((places) => [...places.values()]);
  }

  set(held: Held): void {
    const places = this.#byService.get(held.service) ?? new Map<string, Held>();
    if (!places.has(held.place)) this.#size++;
    this.#byService.set(held.service, places.set(held.place, held));
  }

  /** @returns whether it was there */
  delete({ service, place }: Pick<Held, 'service' | 'place'>): boolean {
    const places = this.#byService.get(service);
    if (places?.delete(place) !== true) return false;
    if (places.size === 0) this.#byService.delete(service);
    this.#size--;
    return true;
  }
}

/** A service as its registry says it, with what is held of it. @param known as it was, for one that its registry has no more */
export function withHeld(
  said: RegistryService | undefined,
  known: RegistryService | undefined,
  held: ReadonlyMap<string, Held>,
): RegistryService | undefined {
  const [first] = held.values();
  const base = said ?? known ?? first?.from;
  if (base === undefined || held.size === 0) return said;
  const isHeld = (instance: Instance): boolean => held.get(instancePlace(instance))?.instance === instance;
  if (said === undefined && base.instances.length === held.size && base.instances.every(isHeld)) return base;
  const listed = (said?.instances ?? []).filter((instance) => !held.has(instancePlace(instance)));
  return { ...base, instances: [...listed, ...[...held.values()].map(({ instance }) => instance)] };
}
