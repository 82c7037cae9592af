import type { Protocol } from '#model/protocol.js';
import type { Health } from './health.js';

/** Whose endpoints of a host count: all registries', or those of the first that has some. */
export type Preference = 'merge' | { readonly first: { readonly least: number } };

/** A port of a service by rule. */
export interface PortRule {
  readonly name: string;
  readonly number: number;
  readonly protocol?: Protocol | undefined;
  /** What is dialled instead of the instances' own number. */
  readonly target?: number | undefined;
}

/** What a policy may say of a service as a whole. */
export interface ServiceRules {
  readonly drop?: boolean | undefined;
  readonly host?: string | undefined;
  readonly aliases?: readonly string[] | undefined;
  readonly namespace?: string | undefined;
  readonly exportTo?: readonly string[] | undefined;
  readonly ports?: readonly PortRule[] | undefined;
  readonly protocol?: Protocol | undefined;
  readonly location?: 'internal' | 'external' | undefined;
  readonly revision?: string | undefined;
  readonly prefer?: Preference | undefined;
  readonly gatewayPort?: number | undefined;
}

/** Bounds of a weight, and how it grows after a change. */
export interface WeightRule {
  /** Relative to 100, like all weights in the mesh. */
  readonly min?: number | undefined;
  readonly max?: number | undefined;
  /** A share of the weight: 0.5 halves it. */
  readonly share?: number | undefined;
  /** ms. */
  readonly slowStart?: number | undefined;
}

/** Which metadata becomes labels, by globs, and labels beside it, by template. */
export interface LabelRule {
  readonly copy?: readonly string[] | undefined;
  readonly drop?: readonly string[] | undefined;
  readonly set?: Readonly<Record<string, string>> | undefined;
}

/** How metadata is changed before it becomes labels, in this order. */
export interface MetadataRule {
  readonly rename?: Readonly<Record<string, string>> | undefined;
  /** Key → value → the value to have instead. */
  readonly map?: Readonly<Record<string, Readonly<Record<string, string>>>> | undefined;
  readonly set?: Readonly<Record<string, string>> | undefined;
  readonly drop?: readonly string[] | undefined;
}

/** What a policy may say of endpoints. */
export interface EndpointRules {
  readonly metadata?: MetadataRule | undefined;
  readonly health?: Health | undefined;
  readonly weight?: WeightRule | undefined;
  readonly locality?: string | undefined;
  readonly network?: string | undefined;
  readonly labels?: LabelRule | undefined;
  readonly serviceAccount?: string | undefined;
}

/** A policy of the configuration. */
export interface Policy extends ServiceRules, EndpointRules {
  readonly when?: string | undefined;
}
