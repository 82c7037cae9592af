import type { Config } from '#config/schema.js';
import type { GuardedChange } from './fall.js';
import type { Hold } from './hold.js';
import { PeakWindow } from './window.js';

export type GuardSettings = Config['guards'];

/** How many usable instances a registry has and had lately, and each of its services that fell. */
export class Counts {
  #settings: GuardSettings;
  #registry: PeakWindow;
  readonly #services = new Map<string, PeakWindow>();

  constructor(settings: GuardSettings) {
    this.#settings = settings;
    this.#registry = new PeakWindow(settings.registry.window);
  }

  /** Whether any service fell lately. */
  get isQuiet(): boolean {
    return this.#services.size === 0;
  }

  /** @param excused how many of those that are missing are no fall */
  note({ id, before, after }: GuardedChange, excused: number, now: number): void {
    this.#registry.set(this.#registry.count + after.length - before.length, now);
    this.#registry.excuse(excused);
    let window = this.#services.get(id);
    if (window === undefined) {
      if (after.length >= before.length) return;
      const { registry, service } = this.#settings;
      window = new PeakWindow(Math.max(registry.window, service.window), before.length);
      this.#services.set(id, window);
    }
    window.set(after.length, now);
    window.excuse(excused);
  }

  /** The highest count within the window of guards of this scope, and the count now; undefined of a service that did not fall lately. */
  fall(scope: Hold['scope'], service: string | undefined, now: number) {
    const window = service === undefined ? this.#registry : this.#services.get(service);
    return window && { peak: window.peak(now, this.#settings[scope].window), count: window.count };
  }

  /** Whether the limit of this scope is passed. */
  isDeep(scope: Hold['scope'], service: string | undefined, now: number): boolean {
    const { maxLoss, minInstances } = this.#settings[scope];
    const { peak, count } = this.fall(scope, service, now) ?? { peak: 0, count: 0 };
    return peak >= minInstances && peak - count > maxLoss * peak;
  }

  /** Another configuration: what falls by that is no fall. @param count usable instances, of the registry and of each of its services */
  rebase(settings: GuardSettings, count: number, countOf: (service: string) => number): void {
    const { registry, service } = this.#settings;
    const isSame = registry.window === settings.registry.window && service.window === settings.service.window;
    this.#settings = settings;
    if (!isSame) {
      this.#registry = new PeakWindow(settings.registry.window, count);
      this.#services.clear();
      return;
    }
    this.#registry.shift(count - this.#registry.count);
    for (const [id, window] of this.#services) window.shift(countOf(id) - window.count);
  }

  /** What has fallen until now counts no more. @param service the registry unless given */
  settle(service?: string): void {
    if (service === undefined) this.#registry.settle();
    else this.#services.delete(service);
  }

  settleAll(): void {
    this.#registry.settle();
    this.#services.clear();
  }

  /** Forgets services whose fall was long ago. */
  prune(now: number): void {
    for (const [id, window] of this.#services) if (window.peak(now) === window.count) this.#services.delete(id);
  }
}
