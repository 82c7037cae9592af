import type { Coordination, Json } from '#coordination/contract.js';

const document = 'publications';

/** What operators order about what is published. `withdrawn` takes back, and `paused` leaves all as it stands; both until it is resumed. */
export interface Orders {
  /** Names of publications. */
  readonly publications: Readonly<Record<string, 'paused' | 'withdrawn'>>;
  /** Hosts of mesh services. */
  readonly services: Readonly<Record<string, 'paused'>>;
  /** Registries out of which everything was taken back, be its publication configured or not. */
  readonly registries: Readonly<Record<string, 'withdrawn'>>;
}

export const noOrders: Orders = { publications: {}, services: {}, registries: {} };

/** What an order is about: all that is given has to hold; nothing given: everything. */
export interface OrderScope {
  readonly registry?: string | undefined;
  readonly publication?: string | undefined;
  readonly service?: string | undefined;
}

/** The orders, shared by all replicas. */
export class OrderBook {
  readonly #coordination: Coordination;
  readonly #heard: () => void;
  #orders = noOrders;
  #isKnown = false;

  /** @param heard hears of each change */
  constructor(coordination: Coordination, heard: () => void) {
    this.#coordination = coordination;
    this.#heard = heard;
  }

  get orders(): Orders {
    return this.#orders;
  }

  /** Whether the store has said what is ordered. */
  get isKnown(): boolean {
    return this.#isKnown;
  }

  /** Hears from now on what is ordered, also in other replicas. */
  start(): void {
    this.#coordination.watch(document, (content) => {
      this.#orders = readOrders(content);
      this.#isKnown = true;
      this.#heard();
    });
  }

  /** Resolves when the store has it. */
  pause({ publication, service }: OrderScope): Promise<void> {
    return this.#change((orders) => ({
      ...orders,
      ...(publication === undefined ? {} : { publications: { ...orders.publications, [publication]: 'paused' } }),
      ...(service === undefined ? {} : { services: { ...orders.services, [service]: 'paused' } }),
    }));
  }

  /** @param registries out of which everything is to go @param publications that are to go */
  withdraw(registries: readonly string[], publications: readonly string[]): Promise<void> {
    return this.#change((orders) => ({
      ...orders,
      registries: { ...orders.registries, ...all(registries) },
      publications: { ...orders.publications, ...all(publications) },
    }));
  }

  /** Ends orders. @param publicationsOf the publications that go into a registry */
  resume(
    { registry, publication, service }: OrderScope,
    publicationsOf: (registry: string) => string[],
  ): Promise<void> {
    if (registry === undefined && publication === undefined && service === undefined)
      return this.#change(() => noOrders);
    const ofRegistry = registry === undefined ? [] : publicationsOf(registry);
    const publications = publication === undefined ? ofRegistry : [publication];
    return this.#change((orders) => ({
      publications: without(orders.publications, publications),
      services: without(orders.services, service === undefined ? [] : [service]),
      registries: without(orders.registries, registry === undefined ? [] : [registry]),
    }));
  }

  async #change(change: (orders: Orders) => Orders): Promise<void> {
    let orders = noOrders;
    await this.#coordination.update(document, (content) => {
      orders = change(readOrders(content));
      return orders as unknown as Json;
    });
    // Here at once, before the store tells of it.
    this.#orders = orders;
    this.#heard();
  }
}

function all(names: readonly string[]): Record<string, 'withdrawn'> {
  return Object.fromEntries(names.map((name) => [name, 'withdrawn']));
}

function without<T>(record: Readonly<Record<string, T>>, names: readonly string[]): Record<string, T> {
  return Object.fromEntries(Object.entries(record).filter(([name]) => !names.includes(name)));
}

/** What another version wrote there is left out. */
function readOrders(content: Json | undefined): Orders {
  const part = (name: keyof Orders, words: readonly string[]): Record<string, never> => {
    const said = isRecord(content) ? content[name] : undefined;
    const entries = isRecord(said) ? Object.entries(said) : [];
    return Object.fromEntries(entries.filter(([, word]) => words.includes(word as string))) as Record<string, never>;
  };
  return {
    publications: part('publications', ['paused', 'withdrawn']),
    services: part('services', ['paused']),
    registries: part('registries', ['withdrawn']),
  };
}

function isRecord(value: Json | undefined): value is { readonly [key: string]: Json } {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}
