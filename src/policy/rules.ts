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
import type { EndpointRules, Policy, ServiceRules } from './policy.js';

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
