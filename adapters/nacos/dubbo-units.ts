import { compareText } from '#model/mesh.js';
import { serviceId } from '#model/service.js';
import { type Part, unitOf, unitsOf } from './dubbo-parts.js';
import type { PlacedService } from './dubbo-rules.js';

/** The parts of each interface, by namespace and name: a unit is what is evaluated at once. */
export class Units {
  readonly #parts = new Map<string, Set<Part>>();

  /** All that ever had a part. */
  get ids(): string[] {
    return [...this.#parts.keys()];
  }

  /** The parts of a unit, in the order of their ids. */
  of(unit: string): Part[] {
    const id = ({ service }: Part) => serviceId(service.key);
    return [...(this.#parts.get(unit) ?? [])].sort((a, b) => compareText(id(a), id(b)));
  }

  /** @param dirty gets the units that this changes */
  join(part: Part, dirty: Set<string>): void {
    for (const unit of unitsOf(part)) {
      const parts = this.#parts.get(unit);
      if (parts === undefined) this.#parts.set(unit, new Set([part]));
      else parts.add(part);
      dirty.add(unit);
    }
  }

  /** @param dirty gets the units that this changes */
  leave(part: Part | undefined, dirty: Set<string>): void {
    for (const unit of unitsOf(part)) {
      if (part !== undefined) this.#parts.get(unit)?.delete(part);
      dirty.add(unit);
    }
  }

  /** The services of a unit that its parts provide, or provided before they lost their instances. */
  offered(unit: string): PlacedService[] {
    const found = new Map<string, PlacedService>();
    for (const { namespace, offers } of this.of(unit))
      for (const service of offers)
        if (unitOf({ namespace, service }) === unit) found.set(JSON.stringify(service), { namespace, service });
    return [...found.values()];
  }
}
