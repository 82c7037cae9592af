/** A registry of the proof. */
export type RegistryName = 'nacos' | 'zookeeper';

/** A service of the proof: instances on loopback addresses of their own, all on one port, as pods have it. */
export interface Service {
  readonly name: string;
  readonly registry: RegistryName;
  /** `ip:port` of its instances. */
  readonly addresses: readonly string[];
  /** Its clients register again only {@link slowMs} after a registry that has forgotten them is back; others do at once. */
  readonly slow: boolean;
}

/** How long slow clients take to register again, in ms. */
export const slowMs = 60_000;

export const instancesEach = 10;

/** Half of its instances crash while Pontoon holds them. */
export const halved = 'users';

/** It is removed for good: deregistered, and its processes end. */
export const removed = 'legacy';

/** One of its instances is deregistered. */
export const shrunk = 'orders';

const names: readonly (readonly [RegistryName, string, boolean])[] = [
  ['nacos', shrunk, false],
  ['nacos', 'carts', false],
  ['nacos', removed, false],
  ['nacos', 'stock', true],
  ['nacos', halved, true],
  ['zookeeper', 'pay', false],
  ['zookeeper', 'mail', false],
  ['zookeeper', 'search', true],
  ['zookeeper', 'audit', true],
];

/** @param port free on all loopback addresses */
export function servicesOn(port: number): Service[] {
  return names.map(([registry, name, slow], number) => ({
    name,
    registry,
    addresses: Array.from({ length: instancesEach }, (_, instance) => `127.10.${number + 1}.${instance + 1}:${port}`),
    slow,
  }));
}
