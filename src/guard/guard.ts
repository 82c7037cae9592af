import { instancePlace, type RegistryService } from '#model/service.js';
import { isFailing } from '#policy/health.js';
import type { Answer } from '#probe/prober.js';
import type { KnownHold } from '#snapshot/known.js';
import { Counts, type GuardSettings } from './counts.js';
import { fallOf, type GuardedChange, statusesOf } from './fall.js';
import { type Held, type Hold, leftOf } from './hold.js';
import { Holds } from './holds.js';

/** Where a guard tells what it does by itself. */
export interface GuardOutput {
  /** A hold began or ended. */
  told(hold: Hold, event: 'begun' | 'ended', text: string): void;
  /** Something else of these services is held, by time or by what instances answered. @param why for people */
  changed(services: readonly string[], why: string): void;
  /** These are to be asked whether they live, as long as {@link Guard.isWanted} says so. */
  ask(held: readonly Held[]): void;
}

/** ms between two looks at what time changes. */
const look = 1_000;
/** ms in which instances that are held after a restart are asked, whatever time they still have. */
const askingTime = 15_000;

/**
 * Guards one registry: a fall that is too deep is held for a while, since a registry that is sick looks like one whose instances have gone. What the registry
 * says in so many words is never held.
 */
export class Guard {
  readonly #output: GuardOutput;
  #settings: GuardSettings;
  readonly #counts: Counts;
  readonly #holds = new Holds();
  /** Service id → usable instances that it had before the fall. */
  readonly #former = new Map<string, number>();
  #isOn: boolean;
  #isExcused = false;
  #timer: NodeJS.Timeout | undefined;

  /** @param isOn whether anything is held at all */
  constructor(settings: GuardSettings, isOn: boolean, output: GuardOutput) {
    this.#settings = settings;
    this.#isOn = isOn;
    this.#output = output;
    this.#counts = new Counts(settings);
  }

  /** How many instances are held. */
  get held(): number {
    return this.#holds.held.size;
  }

  heldOf(service: string): ReadonlyMap<string, Held> {
    return this.#holds.held.of(service);
  }

  /** Services of which something is held. */
  services(): string[] {
    return this.#holds.held.services();
  }

  holds(): Hold[] {
    return this.#holds.all();
  }

  /** Takes over what the registry says of some services: decides what of them is held from now on. */
  change(changes: readonly GuardedChange[]): void {
    const now = performance.now();
    const lost: Held[] = [];
    for (const change of changes) {
      const fall = fallOf(change);
      this.#counts.note(change, fall.excused, now);
      this.#letGo(change);
      lost.push(...fall.lost);
    }
    if (lost.length > 0 && this.#isOn && !this.#isExcused) this.#lose(lost, now);
    for (const { id, after } of changes)
      if (after.length >= (this.#former.get(id) ?? Number.POSITIVE_INFINITY))
        for (const held of [...this.#holds.held.of(id).values()]) this.#drop(held);
    this.#endEmpty('all of it is back, replaced, or taken out by the registry');
    this.#keepLooking();
  }

  /**
   * Another configuration: what falls by that is no fall.
   * @param count usable instances of the registry now
   * @param countOf the same of a service; undefined for one that is not in the mesh any more
   */
  rebase(
    settings: GuardSettings,
    isOn: boolean,
    count: number,
    countOf: (service: string) => number | undefined,
  ): void {
    const { probe } = this.#settings;
    this.#settings = settings;
    this.#isOn = isOn;
    this.#counts.rebase(settings, count, (service) => countOf(service) ?? 0);
    for (const service of this.#holds.held.services()) {
      const usable = countOf(service);
      const held = [...this.#holds.held.of(service).values()];
      if (usable === undefined) for (const one of held) this.#drop(one);
      else if (!this.#former.has(service)) this.#former.set(service, usable + held.length);
    }
    this.#endEmpty('the configuration leaves it out');
    if (probe !== settings.probe) this.#ask(this.#holds.held.all());
    if (settings.probe === 'off')
      for (const held of this.#holds.gone.all()) if (held.hold !== undefined) this.#drop(held);
    if (!isOn && this.#holds.held.size > 0) this.#end(this.#holds.held.all(), 'it is not guarded any more');
  }

  /** Whether nothing is a fall now, since the source itself was configured anew and has not listed all yet. */
  excuse(isExcused: boolean): void {
    if (this.#isExcused && !isExcused) {
      this.#counts.settleAll();
      for (const held of this.#holds.gone.all()) this.#drop(held);
    }
    this.#isExcused = isExcused;
  }

  /** Ends holds before their time. @param isChosen by the service's id. @param before only holds that began by then: ms since 1970. @returns how many instances that were */
  release(isChosen: (service: string) => boolean, before = Number.POSITIVE_INFINITY): number {
    const chosen = [...this.#holds.held.all(), ...this.#holds.gone.all()].filter(
      ({ service, hold }) => hold !== undefined && hold.since <= before && isChosen(service),
    );
    if (chosen.length > 0) this.#end(chosen, 'released by an operator');
    return chosen.length;
  }

  /** Whether an instance is still worth asking. */
  isWanted(held: Held): boolean {
    if (this.#settings.probe === 'off') return false;
    return this.#holds.held.has(held) || (this.#holds.gone.has(held) && held.hold !== undefined);
  }

  /** What an instance said when it was asked. @param isDead whether that is a verdict */
  answered(held: Held, answer: Answer, isDead: boolean): void {
    if (!this.isWanted(held)) return;
    held.answer = answer;
    held.askedAt = Date.now();
    const { hold, service } = held;
    if (this.#holds.gone.has(held)) {
      const isMissed = answer === 'accepted' && hold !== undefined && this.#isMissed(service, hold);
      if (isMissed) {
        this.#keep(held, hold);
        this.#output.changed([service], 'it accepts connections, so its registry is sick');
      } else this.#drop(held);
      this.#endEmpty('nothing that went accepts connections');
    } else if (isDead) {
      if (hold !== undefined) hold.dead++;
      this.#drop(held);
      this.#endEmpty('what was held is dead');
      this.#output.changed([service], 'it refused connections while it was held');
    }
  }

  /** For the snapshot. */
  known(): KnownHold[] {
    const now = performance.now();
    return this.holds().map((hold) => ({
      scope: hold.scope,
      service: hold.service,
      since: hold.since,
      left: leftOf(hold, now),
      reason: hold.reason,
      dead: hold.dead,
      instances: [...hold.instances].map(({ service, place, why, answer }) => ({
        service,
        place,
        why,
        ...(answer === undefined ? {} : { answer }),
      })),
    }));
  }

  /**
   * Takes up the holds of a snapshot, for the time that they still have; for long enough to ask the instances anew.
   * @param services as they are in the mesh, with what is held
   * @param age of the snapshot: ms
   */
  restore(holds: readonly KnownHold[], services: ReadonlyMap<string, RegistryService>, age: number): void {
    const places = new Map<string, ReadonlyMap<string, RegistryService['instances'][number]>>();
    const instancesOf = (id: string) => {
      const known = places.get(id) ?? new Map(services.get(id)?.instances.map((one) => [instancePlace(one), one]));
      places.set(id, known);
      return known;
    };
    for (const { scope, service, since, left, reason, dead, instances } of holds) {
      const rest = Math.max(askingTime, left - age);
      const until = performance.now() + Math.min(rest, this.#settings[scope].hold);
      const isOver = left === 0;
      const hold: Hold = {
        scope,
        service,
        since,
        until,
        isOver,
        reason,
        dead,
        instances: new Set(),
        waiting: new Set(),
      };
      for (const { service: id, place, why, answer } of instances) {
        const from = services.get(id);
        const instance = instancesOf(id).get(place);
        if (from === undefined || instance === undefined) continue;
        const said = answer === undefined ? {} : { answer };
        this.#holds.keep({ service: id, place, instance, from, why, hold, until, ...said }, hold, until);
      }
      if (hold.instances.size === 0) continue;
      this.#holds.add(hold);
      this.#output.told(hold, 'begun', `${reason}: ${hold.instances.size} instances are held, as before the start`);
      this.#ask([...hold.instances]);
    }
    this.#keepLooking();
  }

  /** Nothing is held any more, and nobody is told. */
  close(): void {
    clearInterval(this.#timer);
    this.#holds.clear();
  }

  /** What is usable again, and what the registry takes out in so many words, is held no longer. */
  #letGo({ id, said, after }: GuardedChange): void {
    const held = [...this.#holds.held.of(id).values()];
    const gone = [...this.#holds.gone.of(id).values()];
    if (held.length + gone.length === 0) return;
    const usable = new Set(after.map(instancePlace));
    const statuses = statusesOf(said);
    for (const one of [...held, ...gone]) {
      const status = statuses.get(one.place);
      if (usable.has(one.place) || (status !== undefined && !isFailing(status))) this.#drop(one);
      else one.why = status ?? 'gone';
    }
  }

  #lose(lost: readonly Held[], now: number): void {
    const begun = new Set<Hold>();
    const registry = this.#open('registry', undefined, now, begun);
    if (registry !== undefined && begun.has(registry))
      for (const part of this.#holds.absorb(registry))
        this.#output.told(part, 'ended', 'it is part of the hold of the whole registry');
    for (const held of lost) {
      const hold = registry ?? this.#open('service', held.service, now, begun);
      if (hold === undefined) this.#holds.forgo(held, now);
      else this.#keep(held, hold);
    }
    for (const hold of begun)
      this.#output.told(hold, 'begun', `${hold.reason}: ${hold.instances.size} instances are held`);
    const kept = lost.filter((held) => this.#holds.held.has(held));
    this.#ask([...kept, ...[...begun].flatMap((hold) => this.#candidates(hold, now))]);
  }

  /** The hold that takes up what is lost now: the one that is there within its time, and a new one if the limit is passed. */
  #open(scope: Hold['scope'], service: string | undefined, now: number, begun: Set<Hold>): Hold | undefined {
    const known = this.#holds.of(service);
    if (known !== undefined && !known.isOver) return known;
    if (!this.#counts.isDeep(scope, service, now)) return undefined;
    const { hold: length, maxLoss, window } = this.#settings[scope];
    const { peak = 0, count = 0 } = this.#counts.fall(scope, service, now) ?? {};
    const limit = `at most ${Math.round(maxLoss * 100)} % may within ${window / 1000} s`;
    const reason = `${peak - count} of ${peak} usable instances have gone, ${limit}`;
    const hold: Hold = {
      scope,
      service,
      since: known?.since ?? Date.now(),
      until: now + length,
      isOver: false,
      reason,
      instances: new Set(),
      waiting: new Set(),
      dead: 0,
    };
    this.#holds.add(hold);
    begun.add(hold);
    return hold;
  }

  /** What went before the limit was passed comes back if it accepts a connection, where its service misses it. */
  #candidates(hold: Hold, now: number): Held[] {
    if (this.#settings.probe === 'off') return [];
    const { window } = this.#settings[hold.scope];
    const lately = this.#holds.lately(hold.service, now - window);
    const found = lately.filter(({ service }) => this.#isMissed(service, hold));
    for (const held of found) this.#holds.await(held, hold);
    return found;
  }

  /** Whether a service has fewer instances than it had, those included that are held. */
  #isMissed(service: string, { scope }: Hold): boolean {
    const fall = this.#counts.fall(scope, service, performance.now());
    return fall !== undefined && fall.count + this.#holds.held.of(service).size < fall.peak;
  }

  #ask(held: readonly Held[]): void {
    if (this.#settings.probe === 'tcp' && held.length > 0) this.#output.ask(held);
  }

  #keep(held: Held, hold: Hold): void {
    this.#holds.keep(held, hold, performance.now() + this.#settings[hold.scope].hold);
    const { service } = held;
    const { peak = 0 } = this.#counts.fall('service', service, performance.now()) ?? {};
    const least = Math.max(peak, this.#holds.held.of(service).size);
    this.#former.set(service, Math.max(this.#former.get(service) ?? 0, least));
  }

  #drop(held: Held): void {
    this.#holds.drop(held);
    if (this.#holds.held.of(held.service).size === 0) this.#former.delete(held.service);
  }

  #end(instances: readonly Held[], why: string): void {
    for (const held of instances) this.#drop(held);
    const services = [...new Set(instances.map(({ service }) => service))];
    for (const service of services) this.#counts.settle(service);
    this.#endEmpty(why);
    this.#output.changed(services, `the hold ended: ${why}`);
  }

  /** Holds of nothing end. The fall is settled then: it counts no more. */
  #endEmpty(why: string): void {
    for (const hold of this.#holds.takeEmpty()) {
      this.#counts.settle(hold.service);
      this.#output.told(hold, 'ended', why);
    }
  }

  get #isIdle(): boolean {
    return this.holds().length === 0 && this.#counts.isQuiet && this.#holds.gone.size === 0;
  }

  #keepLooking(): void {
    if (!this.#isIdle) this.#timer ??= setInterval(() => this.#look(), look).unref();
  }

  #look(): void {
    const now = performance.now();
    for (const hold of this.holds()) {
      if (!hold.isOver && now >= hold.until) {
        hold.isOver = true;
        this.#counts.settle(hold.service);
        for (const held of hold.waiting) this.#drop(held);
      }
      if (this.#isProvenWrong(hold)) continue;
      const over = [...hold.instances].filter(({ until }) => until <= now);
      if (over.length > 0) this.#end(over, 'its time is over');
    }
    this.#endEmpty('its time is over');
    this.#counts.prune(now);
    this.#holds.prune(now - this.#settings.registry.window);
    if (!this.#isIdle) return;
    clearInterval(this.#timer);
    this.#timer = undefined;
  }

  /** Where most of what a registry has lost lives, it is evidently sick: only an operator ends that. */
  #isProvenWrong({ scope, instances, dead }: Hold): boolean {
    if (scope !== 'registry' || this.#settings.probe === 'off') return false;
    let accepting = 0;
    for (const { answer } of instances) if (answer === 'accepted') accepting++;
    return accepting * 2 > instances.size + dead;
  }
}
