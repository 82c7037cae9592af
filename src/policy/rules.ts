import type { Protocol } from '#model/protocol.js';
import {
  type Condition,
  type InstanceScope,
  instanceCondition,
  instanceTemplate,
  namesInstance,
  type ServiceScope,
  serviceCondition,
  serviceTemplate,
  type Template,
} from './expression.js';
import type { Health } from './health.js';
import type { Preference } from './preference.js';

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

/** A value and the rule that gave it. */
export interface Chosen<T> {
  readonly value: T;
  readonly rule: string;
}

export type ChosenOf<Rules> = { -readonly [Key in keyof Rules]?: Chosen<NonNullable<Rules[Key]>> };

const serviceFields = [
  'drop',
  'host',
  'aliases',
  'namespace',
  'exportTo',
  'ports',
  'protocol',
  'location',
  'revision',
  'prefer',
  'gatewayPort',
] as const satisfies readonly (keyof ServiceRules)[];

const endpointFields = [
  'metadata',
  'health',
  'weight',
  'locality',
  'network',
  'labels',
  'serviceAccount',
] as const satisfies readonly (keyof EndpointRules)[];

/** The fields of a policy that are about the service as a whole. */
export function serviceFieldsOf(policy: Policy): string[] {
  return serviceFields.filter((field) => policy[field] !== undefined);
}

interface Compiled {
  readonly rule: string;
  readonly policy: Policy;
  readonly ofService: Condition<ServiceScope> | undefined;
  readonly ofInstance: Condition<InstanceScope> | undefined;
  /** Whether it names the service in its condition: then services that it gives one host were meant to be one. */
  readonly byName: boolean;
  readonly hasEndpointFields: boolean;
}

/** What the policies say of one service; and how to ask what they say of its instances. */
export interface ServiceVerdict {
  readonly chosen: ChosenOf<ServiceRules>;
  /** Policies that apply, by their rule names, in order. */
  readonly applied: readonly string[];
  /** Conditions that could not be evaluated. */
  readonly failed: readonly string[];
  /** Whether a policy that names the service gave the host. */
  readonly hostByName: boolean;
  readonly endpoint: (scope: InstanceScope) => EndpointVerdict;
}

export interface EndpointVerdict {
  readonly chosen: ChosenOf<EndpointRules>;
  readonly applied: readonly string[];
  readonly failed: readonly string[];
}

/** The policies of the configuration: top to bottom; of those that match, the last that sets a field wins. */
export class PolicyList {
  readonly #compiled: readonly Compiled[];

  /** @throws ExpressionError if an expression or template cannot be compiled */
  constructor(policies: readonly Policy[]) {
    this.#compiled = policies.map(compile);
  }

  service(scope: ServiceScope): ServiceVerdict {
    const chosen: ChosenOf<ServiceRules> = {};
    const applied: string[] = [];
    const failed: string[] = [];
    const candidates: Compiled[] = [];
    let hostByName = false;
    for (const one of this.#compiled) {
      if (one.ofInstance !== undefined) {
        candidates.push(one);
        continue;
      }
      const matches = one.ofService === undefined ? true : one.ofService(scope);
      if (matches === undefined) failed.push(`${one.rule}.when`);
      if (matches !== true) continue;
      applied.push(one.rule);
      choose(chosen, one, serviceFields);
      if (one.policy.host !== undefined) hostByName = one.byName;
      if (one.hasEndpointFields) candidates.push(one);
    }
    return { chosen, applied, failed, hostByName, endpoint: (instance) => endpointVerdict(candidates, instance) };
  }
}

const nothing: EndpointVerdict = { chosen: {}, applied: [], failed: [] };

function endpointVerdict(candidates: readonly Compiled[], scope: InstanceScope): EndpointVerdict {
  if (candidates.length === 0) return nothing;
  const chosen: ChosenOf<EndpointRules> = {};
  const applied: string[] = [];
  const failed: string[] = [];
  for (const one of candidates) {
    const matches = one.ofInstance === undefined ? true : one.ofInstance(scope);
    if (matches === undefined) failed.push(`${one.rule}.when`);
    if (matches !== true) continue;
    applied.push(one.rule);
    choose(chosen, one, endpointFields);
  }
  return { chosen, applied, failed };
}

function choose<Key extends keyof Policy>(
  chosen: { [field in Key]?: Chosen<unknown> },
  { policy, rule }: Compiled,
  fields: readonly Key[],
): void {
  for (const field of fields) {
    const value = policy[field];
    if (value !== undefined) chosen[field] = { value, rule: `${rule}.${field}` };
  }
}

function compile(policy: Policy, index: number): Compiled {
  const { when } = policy;
  const perInstance = when !== undefined && namesInstance(when);
  return {
    rule: `policies[${index}]`,
    policy,
    ofService: when === undefined || perInstance ? undefined : serviceCondition(when),
    ofInstance: perInstance ? instanceCondition(when) : undefined,
    byName: when !== undefined && /\bservice\s*\.\s*name\b/.test(when),
    hasEndpointFields: endpointFields.some((field) => policy[field] !== undefined),
  };
}

/** Templates of rules, compiled once per text: many services share few. */
export class Templates {
  readonly #ofService = new Map<string, Template<ServiceScope>>();
  readonly #ofInstance = new Map<string, Template<InstanceScope>>();

  ofService(text: string): Template<ServiceScope> {
    return remembered(this.#ofService, text, serviceTemplate);
  }

  ofInstance(text: string): Template<InstanceScope> {
    return remembered(this.#ofInstance, text, instanceTemplate);
  }
}

function remembered<T>(known: Map<string, T>, text: string, compile: (text: string) => T): T {
  let found = known.get(text);
  if (found === undefined) {
    found = compile(text);
    known.set(text, found);
  }
  return found;
}
