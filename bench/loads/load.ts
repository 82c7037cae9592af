/** The registries under load. */
export const registryNames = ['zookeeper', 'nacos', 'eureka', 'consul'] as const;
export type RegistryName = (typeof registryNames)[number];

export interface Place {
  readonly address: string;
  readonly port: number;
}

/** Tells that a service has so many instances, as the registry's own protocol says it. */
export type Told = (service: number, instances: number, at: number) => void;

/** Where an instance of a service is; one of another generation has another port, as after a restart. */
export function place(service: number, instance: number, generation = 0): Place {
  return {
    address: `${10 + (instance >> 8)}.${service >> 8}.${service & 255}.${instance & 255}`,
    port: 20_880 + generation,
  };
}

/** Where all instances of a service are that has so many. */
export function placesOf(service: number, instances: number, generation = 0): Place[] {
  return Array.from({ length: instances }, (_, instance) => place(service, instance, generation));
}

export function placeText({ address, port }: Place): string {
  return `${address}:${port}`;
}

/** One real registry and what stands in it: everything that is written there goes through here. */
export abstract class Load {
  abstract readonly name: RegistryName;
  /** Pontoon's configuration of it. */
  abstract readonly config: object;
  /** `address:port` of what stands, by the host that Pontoon makes of the service. */
  readonly expected = new Map<string, Set<string>>();
  readonly #places = new Map<number, readonly Place[]>();

  /** The host of a service. */
  abstract host(service: number): string;

  /** What stands of a service. */
  places(service: number): readonly Place[] {
    return this.#places.get(service) ?? [];
  }

  /** Makes exactly these stand. */
  async put(service: number, places: readonly Place[]): Promise<void> {
    const before = this.places(service);
    // Before it is written: it may be read before the answer is here.
    this.#places.set(service, places);
    this.expected.set(this.host(service), new Set(places.map(placeText)));
    await this.write(service, before, places);
  }

  /** Fills it with so many services. Many at a time, as the registry bears it. */
  async fill(services: number, instances: number): Promise<void> {
    const pending = Array.from({ length: services }, (_, service) => service).filter(
      (service) => this.places(service).length !== instances,
    );
    const worker = async (): Promise<void> => {
      for (let next = pending.pop(); next !== undefined; next = pending.pop())
        await this.put(next, placesOf(next, instances));
    };
    await Promise.all(Array.from({ length: this.parallel }, worker));
  }

  /** One that reads all once, with the registry's own protocol and nothing else: the floor of a cold start. */
  abstract readAll(): Promise<void>;

  /** One that watches these services, with the registry's own protocol and nothing else: the floor of a change. @returns what ends it */
  abstract watch(services: readonly number[], told: Told): Promise<() => void>;

  abstract start(): Promise<void>;
  abstract stop(): Promise<void>;
  /** Ends the server as a crash does. */
  abstract kill(): Promise<void>;

  protected readonly parallel: number = 32;

  protected abstract write(service: number, before: readonly Place[], after: readonly Place[]): Promise<void>;
}

/** What is not in the other list. */
export function without(places: readonly Place[], others: readonly Place[]): Place[] {
  const known = new Set(others.map(placeText));
  return places.filter((one) => !known.has(placeText(one)));
}
