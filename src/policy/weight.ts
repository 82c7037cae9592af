import type { WeightRule } from './policy.js';

/** Weights in the mesh are relative to this nominal value. */
export const nominalWeight = 100;

/** Envoy adds the weights of a locality in 32 bits; with this limit 40,000 endpoints still fit. */
const greatestWeight = 100_000;

/**
 * Brings a registry's weight to the mesh's scale. Undefined takes the instance out: Istio would read 0 as 1.
 * @param nominal the registry's value for "as any other"
 */
export function meshWeight(weight: number, nominal: number): number | undefined {
  if (weight === 0) return undefined;
  return Math.min(greatestWeight, Math.max(1, Math.round((weight / nominal) * nominalWeight)));
}

/** Keeps a weight of the mesh's scale within a rule's bounds. */
export function boundedWeight(weight: number, { min = 1, max = greatestWeight }: WeightRule = {}): number {
  return Math.min(max, Math.max(min, weight));
}
