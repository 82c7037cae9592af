import { type RegistryName, registryNames } from './loads/load.js';

/** How much a run measures. */
export interface Scale {
  readonly name: 'full' | 'quick';
  readonly services: number;
  readonly instances: number;
  /** How often each figure is taken. */
  readonly repeats: number;
  /** Sizes of the catalog at which one change is timed. */
  readonly sizes: readonly number[];
  /** Those that are measured one by one. */
  readonly registries: readonly RegistryName[];
  /** Services that the real server of a registry bears on this machine. */
  readonly most: Readonly<Record<RegistryName, number>>;
  /** Changes per second. */
  readonly rates: readonly number[];
  readonly shards: readonly number[];
  /** How long each rate lasts: s. */
  readonly rateSeconds: number;
  readonly istiods: readonly number[];
  readonly idleSeconds: number;
  readonly churnSeconds: number;
  /** Instances of the large service. */
  readonly large: number;
  /** Services of which every instance is replaced at once. */
  readonly replaced: number;
  /** Services and instances beside a peer. */
  readonly peer: readonly [number, number];
}

export const full: Scale = {
  name: 'full',
  services: 10_000,
  instances: 10,
  repeats: 5,
  sizes: [100, 1_000, 10_000],
  registries: registryNames,
  most: { zookeeper: 10_000, nacos: 10_000, eureka: 1_000, consul: 1_000 },
  rates: [10, 100, 1_000],
  shards: [1, 16, 64],
  rateSeconds: 60,
  istiods: [1, 3, 10],
  idleSeconds: 60,
  churnSeconds: 240,
  large: 5_000,
  replaced: 500,
  peer: [1_000, 5],
};

/** Everything once, small: shows that nothing is lost, and no speed. */
export const quick: Scale = {
  name: 'quick',
  services: 200,
  instances: 3,
  repeats: 1,
  sizes: [200],
  registries: registryNames,
  most: { zookeeper: 200, nacos: 200, eureka: 200, consul: 200 },
  rates: [100],
  shards: [1, 16],
  rateSeconds: 4,
  istiods: [1, 3],
  idleSeconds: 2,
  churnSeconds: 6,
  large: 300,
  replaced: 50,
  peer: [50, 3],
};
