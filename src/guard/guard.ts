import type { Config } from '#config/schema.js';
import { instancePlace, type RegistryService } from '#model/service.js';
import { isFailing } from '#policy/health.js';
import type { Answer } from '#probe/prober.js';
import type { KnownHold } from '#snapshot/known.js';
import { fallOf, type GuardedChange, statusesOf } from './fall.js';
import { type Held, type Hold, InstanceMap } from './hold.js';
import { PeakWindow } from './window.js';

export type GuardSettings = Config['guards'];

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

/**
 * Guards one registry: a fall that is too deep is held for a while, since a registry that is sick looks like one whose instances have gone. What the registry
 * says in so many words is never held.
 */
export class Guard {
  readonly #output: GuardOutput;
  #settings: GuardSettings;
  /** Usable instances of the registry; and of services that fell within their window. */
  #window: PeakWindow;
  readonly #windows = new Map<string, PeakWindow>();
  readonly #held = new InstanceMap();
  /** What went while no limit was passed, with when: held only if it accepts a connection once one is. */
  readonly #gone = new InstanceMap();
  readonly #goneAt = new WeakMap<Held, number>();
  #registryHold: Hold | undefined;
  readonly #serviceHolds = new Map<string, Hold>();
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
    this.#window = new PeakWindow(settings.registry.window);
  }

  /** How many instances are held. */
  get held(): number {
    return this.#held.size;
  }

  heldOf(service: string): ReadonlyMap<string, Held> {
    return this.#held.of(service);
  }

  /** Whether something of a service has gone that is held, or that comes back if it accepts a connection. */
  remembers(service: string): boolean {
    return this.#held.of(service).size + this.#gone.of(service).size > 0;
  }

  holds(): Hold[] {
    return [...(this.#registryHold === undefined ? [] : [this.#registryHold]), ...this.#serviceHolds.values()];
  }

  /** Takes over what the registry says of some services: decides what of them is held from now on. */
  change(changes: readonly GuardedChange[]): void {
    const now = performance.now();
    const lost: Held[] = [];
    let count = this.#window.count;
    let excused = 0;
    for (const change of changes) {
      const fall = fallOf(change);
      count += change.after.length - change.before.length;
      excused += fall.excused;
      this.#countService(change, fall.excused, now);
      this.#letGo(change);
      lost.push(...fall.lost);
    }
    this.#window.set(count, now);
    this.#window.excuse(excused);
    if (lost.length > 0 && this.#isOn && !this.#isExcused) this.#lose(lost, now);
    for (const { id, after } of changes)
      if (after.length >= (this.#former.get(id) ?? Number.POSITIVE_INFINITY))
        for (const held of [...this.#held.of(id).values()]) this.#drop(held);
    this.#endEmpty('all of it is back, replaced, or taken out by the registry');
    this.#keepLooking();
  }

  /** Another configuration: what falls by that is no fall. @param count usable instances now */
  rebase(settings: GuardSettings, isOn: boolean, count: number): void {
    this.#isOn = isOn;
    const { probe } = this.#settings;
    this.#settings = settings;
    if (probe !== settings.probe) this.#ask(this.#held.all());
    this.#window = new PeakWindow(settings.registry.window, count);
    this.#windows.clear();
    for (const held of this.#gone.all()) this.#gone.delete(held);
    if (!isOn && this.#held.size > 0) this.#end(this.#held.all(), 'it is not guarded any more');
  }

  /** Whether nothing is a fall now, since the source itself was configured anew and has not listed all yet. */
  excuse(isExcused: boolean): void {
    if (this.#isExcused && !isExcused) this.rebase(this.#settings, this.#isOn, this.#window.count);
    this.#isExcused = isExcused;
  }

  /** Ends holds before their time. @param isChosen by the service's id. @param before only holds that began by then: ms since 1970 */
  release(isChosen: (service: string) => boolean, before = Number.POSITIVE_INFINITY): void {
    const chosen = this.#held.all().filter(({ service, hold }) => isChosen(service) && (hold?.since ?? 0) <= before);
    if (chosen.length > 0) this.#end(chosen, 'released by an operator');
  }

  /** Whether an instance is still worth asking. */
  isWanted(held: Held): boolean {
    if (this.#settings.probe === 'off') return false;
    return (
      this.#held.has(held) || (this.#gone.has(held) && held.hold !== undefined && this.holds().includes(held.hold))
    );
  }

  /** What an instance said when it was asked. @param isDead whether that is a verdict */
  answered(held: Held, answer: Answer, isDead: boolean): void {
    if (!this.isWanted(held)) return;
    held.answer = answer;
    held.askedAt = Date.now();
    if (this.#gone.has(held)) {
      this.#gone.delete(held);
      if (answer !== 'accepted') return;
      this.#hold(held);
      this.#output.changed([held.service], 'it accepts connections, so its registry is sick');
    } else if (isDead) {
      this.#drop(held);
      this.#endEmpty('what was held is dead');
      this.#output.changed([held.service], 'it refused connections while it was held');
    }
  }

  /** For the snapshot. */
  known(): KnownHold[] {
    const now = performance.now();
    return this.holds().map(({ scope, service, since, until, reason, instances }) => ({
      scope,
      service,
      since,
      left: Math.max(0, Math.round(until - now)),
      reason,
      instances: [...instances].map(({ service: id, place, why, answer }) => ({
        service: id,
        place,
        why,
        ...(answer === undefined ? {} : { answer }),
      })),
    }));
  }

  /** Takes up the holds of a snapshot. @param services as they are in the mesh, with what is held */
  restore(holds: readonly KnownHold[], services: ReadonlyMap<string, RegistryService>): void {
    for (const { scope, service, since, left, reason, instances } of holds) {
      const until = performance.now() + Math.min(left, this.#settings[scope].hold);
      const hold: Hold = { scope, service, since, until, reason, instances: new Set() };
      for (const { service: id, place, why, answer } of instances) {
        const known = services.get(id)?.instances;
        const instance = known?.find((one) => instancePlace(one) === place);
        if (instance === undefined) continue;
        this.#former.set(id, known?.length ?? 0);
        this.#hold({ service: id, place, instance, why, hold, ...(answer === undefined ? {} : { answer }) });
      }
      if (hold.instances.size === 0) continue;
      if (scope === 'registry') this.#registryHold = hold;
      else if (service !== undefined) this.#serviceHolds.set(service, hold);
      this.#ask([...hold.instances]);
    }
    this.#keepLooking();
  }

  /** Nothing is held any more, and nobody is told. */
  close(): void {
    clearInterval(this.#timer);
    for (const held of [...this.#held.all(), ...this.#gone.all()]) this.#drop(held);
    this.#registryHold = undefined;
    this.#serviceHolds.clear();
  }

  #countService({ id, before, after }: GuardedChange, excused: number, now: number): void {
    let window = this.#windows.get(id);
    if (window === undefined) {
      if (after.length >= before.length) return;
      window = new PeakWindow(this.#settings.service.window, before.length);
      this.#windows.set(id, window);
    }
    window.set(after.length, now);
    window.excuse(excused);
  }

  /** What is usable again, and what the registry takes out in so many words, is held no longer. */
  #letGo({ id, said, after }: GuardedChange): void {
    const held = [...this.#held.of(id).values()];
    const gone = [...this.#gone.of(id).values()];
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
    const begun: Hold[] = [];
    if (this.#registryHold === undefined && this.#isDeep('registry', this.#window, now)) {
      this.#registryHold = this.#begin('registry', undefined, this.#window, now);
      begun.push(this.#registryHold);
      this.#absorb(this.#registryHold);
    }
    for (const held of lost) {
      const { service } = held;
      const window = this.#windows.get(service);
      let hold = this.#registryHold ?? this.#serviceHolds.get(service);
      if (hold === undefined && window !== undefined && this.#isDeep('service', window, now)) {
        hold = this.#begin('service', service, window, now);
        this.#serviceHolds.set(service, hold);
        begun.push(hold);
      }
      if (hold === undefined) {
        this.#gone.set(held);
        this.#goneAt.set(held, now);
        continue;
      }
      this.#former.set(service, Math.max(this.#former.get(service) ?? 0, window?.peak(now) ?? 0));
      this.#hold({ ...held, hold });
    }
    for (const hold of begun)
      this.#output.told(hold, 'begun', `${hold.reason}: ${hold.instances.size} instances are held`);
    const kept = lost.flatMap(({ service, place }) => this.#held.of(service).get(place) ?? []);
    this.#ask([...kept, ...begun.flatMap((hold) => this.#candidates(hold, now))]);
  }

  #isDeep(scope: Hold['scope'], window: PeakWindow, now: number): boolean {
    const { maxLoss, minInstances } = this.#settings[scope];
    const peak = window.peak(now);
    return peak >= minInstances && peak - window.count > maxLoss * peak;
  }

  #begin(scope: Hold['scope'], service: string | undefined, window: PeakWindow, now: number): Hold {
    const { hold, maxLoss, window: length } = this.#settings[scope];
    const peak = window.peak(now);
    const limit = `at most ${Math.round(maxLoss * 100)} % may within ${length / 1000} s`;
    const reason = `${peak - window.count} of ${peak} usable instances have gone, ${limit}`;
    return { scope, service, since: Date.now(), until: now + hold, reason, instances: new Set() };
  }

  /** A sick registry explains the falls of its services. */
  #absorb(hold: Hold): void {
    for (const { instances } of this.#serviceHolds.values())
      for (const held of instances) {
        held.hold = hold;
        hold.instances.add(held);
      }
    this.#serviceHolds.clear();
  }

  /** What went before the limit was passed comes back if it accepts a connection. */
  #candidates(hold: Hold, now: number): Held[] {
    const gone = hold.service === undefined ? this.#gone.all() : [...this.#gone.of(hold.service).values()];
    const { window } = this.#settings[hold.scope];
    const found = gone.filter((held) => (this.#goneAt.get(held) ?? 0) >= now - window && held.hold === undefined);
    for (const held of found) held.hold = hold;
    return found;
  }

  #ask(held: readonly Held[]): void {
    if (this.#settings.probe === 'tcp' && held.length > 0) this.#output.ask(held);
  }

  #hold(held: Held): void {
    this.#held.set(held);
    held.hold?.instances.add(held);
  }

  #drop(held: Held): void {
    this.#gone.delete(held);
    this.#held.delete(held);
    held.hold?.instances.delete(held);
    if (this.#held.of(held.service).size === 0) this.#former.delete(held.service);
  }

  #end(instances: readonly Held[], why: string): void {
    for (const held of instances) this.#drop(held);
    const services = [...new Set(instances.map(({ service }) => service))];
    this.#endEmpty(why);
    for (const service of services) this.#windows.delete(service);
    this.#output.changed(services, `the hold ended: ${why}`);
  }

  #endEmpty(why: string): void {
    for (const hold of this.holds()) {
      if (hold.instances.size > 0) continue;
      // The fall is settled: it counts no more.
      if (hold === this.#registryHold) {
        this.#registryHold = undefined;
        this.#window.reset();
      } else if (hold.service !== undefined) {
        this.#serviceHolds.delete(hold.service);
        this.#windows.delete(hold.service);
      }
      this.#output.told(hold, 'ended', why);
    }
  }

  #keepLooking(): void {
    if (this.holds().length + this.#windows.size + this.#gone.size > 0)
      this.#timer ??= setInterval(() => this.#look(), look).unref();
  }

  #look(): void {
    const now = performance.now();
    for (const hold of this.holds())
      if (now >= hold.until && !this.#isProvenWrong(hold)) this.#end([...hold.instances], 'its time is over');
    for (const [id, window] of this.#windows) if (window.peak(now) === window.count) this.#windows.delete(id);
    for (const held of this.#gone.all())
      if ((this.#goneAt.get(held) ?? 0) < now - this.#settings.registry.window) this.#gone.delete(held);
    if (this.holds().length + this.#windows.size + this.#gone.size > 0) return;
    clearInterval(this.#timer);
    this.#timer = undefined;
  }

  /** Where most instances live that a registry has lost, it is evidently sick: only an operator ends that. */
  #isProvenWrong({ scope, instances }: Hold): boolean {
    if (scope !== 'registry' || this.#settings.probe === 'off') return false;
    const accepting = [...instances].filter(({ answer }) => answer === 'accepted').length;
    return accepting * 2 > instances.size;
  }
}
