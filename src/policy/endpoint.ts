import { short } from '#model/address.js';
import { isLocality } from '#model/locality.js';
import { compareText, type Endpoint } from '#model/mesh.js';
import { parseProtocol } from '#model/protocol.js';
import type { Instance, InstancePort, Metadata } from '#model/service.js';
import { Shared } from '#model/shared.js';
import { strictText, type Workload } from '#model/workload.js';
import type { ServiceKind } from '#sources/contract.js';
import type { InstanceScope } from './expression.js';
import { type Health, health, isKnownStatus } from './health.js';
import { endpointLabels } from './labels.js';
import { type Networks, networkOf } from './network.js';
import { endpointPort, type Spoken } from './ports.js';
import { relabel } from './relabel.js';
import type { Chosen, EndpointVerdict, Templates } from './rules.js';
import type { Trace } from './trace.js';
import { warmth } from './warmup.js';
import { boundedWeight, meshWeight } from './weight.js';
import { joinedWorkload, nameOf, type WorkloadsAt } from './workload.js';

/** What the configuration says about all endpoints of one registry, beside policies. */
export interface EndpointSettings {
  readonly locality?: string | undefined;
  readonly network?: string | undefined;
  readonly networks?: Networks | undefined;
  /** Whether the registry says itself what runs at its instances' addresses. */
  readonly hasWorkloads?: boolean | undefined;
}

/** What the steps have to know beside the instance. */
export interface EndpointContext {
  readonly kind: ServiceKind;
  readonly scope: InstanceScope;
  readonly verdict: EndpointVerdict;
  readonly spoken: Spoken;
  /** ms since 1970, in coarse ticks. */
  readonly now: number;
  readonly workloads?: WorkloadsAt | undefined;
  readonly trace?: Trace | undefined;
}

/** An endpoint, or why the instance is none; what of it could not be used; and rules that name a key which it does not have. */
export type MadeEndpoint = { readonly unused: readonly string[]; readonly failed: readonly string[] } & (
  | { readonly endpoint: Endpoint; readonly until: number | undefined }
  | { readonly reason: string }
);

const nothing: readonly string[] = [];

/** One list for all endpoints of which there is nothing to say. */
function orNothing(texts: readonly string[]): readonly string[] {
  return texts.length === 0 ? nothing : texts;
}

const numbers = new Shared<Endpoint['ports']>();

/** Port name → number. */
function numbersOf(ports: readonly Pick<InstancePort, 'name' | 'number'>[]): Endpoint['ports'] {
  const key = ports.map(({ name, number }) => `${name}=${number}`).join(' ');
  return numbers.of(key, () => Object.fromEntries(ports.map(({ name, number }) => [name, number])));
}

/** The steps from an instance to an endpoint. */
export class EndpointSteps {
  readonly #settings: EndpointSettings;
  readonly #templates: Templates;

  /** @throws ExpressionError if a template of the settings cannot be compiled */
  constructor(settings: EndpointSettings, templates: Templates) {
    this.#settings = settings;
    this.#templates = templates;
    for (const template of [settings.locality, settings.network])
      if (template !== undefined) templates.ofInstance(template);
  }

  endpoint(instance: Instance, context: EndpointContext): MadeEndpoint {
    const { scope, verdict, spoken } = context;
    const { chosen } = verdict;
    const unused = protocolError(instance.metadata);
    const failed = [...verdict.failed];
    const state = healthOf(instance, context);
    if (state === 'drop') return { reason: dropReason(instance, chosen.health), unused, failed };
    const { weight, until } = weightOf(instance, context);
    if (weight === undefined) return { reason: 'weight 0', unused, failed };

    const fill: Fill = (template, rule) => {
      const text = this.#templates.ofInstance(template)(scope);
      if (text === undefined) failed.push(rule);
      return text || undefined;
    };
    const ports = instance.ports.map((port) => endpointPort(port, instance.metadata, spoken));
    ports.sort((a, b) => compareText(a.name, b.name));
    const account = chosen.serviceAccount && fill(chosen.serviceAccount.value, chosen.serviceAccount.rule);
    const network = this.#network(instance, context, fill);
    const pod = this.#workload(instance, context, network, unused);
    const endpoint: Endpoint = {
      address: instance.address,
      ports: numbersOf(ports),
      weight,
      draining: state === 'drain',
      locality: this.#locality(instance, context, fill, unused, pod),
      network: this.#networkOf(instance, context, network, pod),
      labels: { ...pod?.labels, ...labelsOf(instance, context, fill, unused) },
      serviceAccount: account,
      ...strictOf(
        pod,
        ports.map(({ number }) => number),
      ),
      ...(pod?.identity === undefined || account !== undefined ? {} : { identity: pod.identity }),
      origins: [{ registry: scope.registry.name, instance: instance.id }],
    };
    return { until, unused: orNothing(unused), failed: orNothing(failed), endpoint };
  }

  /** Where a workload is: by the same rules as any instance. */
  place(instance: Instance, context: EndpointContext): Pick<Workload, 'locality' | 'network'> {
    const fill: Fill = (template) => this.#templates.ofInstance(template)(context.scope) || undefined;
    const network = this.#network(instance, context, fill);
    return {
      locality: this.#locality(instance, context, fill, [], undefined),
      network: this.#networkOf(instance, context, network, undefined),
    };
  }

  /** The pod that the instance is, if it is one. */
  #workload(
    { address }: Instance,
    { scope, workloads, trace }: EndpointContext,
    network: Chosen<string> | undefined,
    unused: string[],
  ): Workload | undefined {
    const candidates = workloads?.(address) ?? [];
    if (candidates.length === 0) return undefined;
    const { name } = scope.registry;
    const found = joinedWorkload(candidates, name, this.#settings.hasWorkloads ?? false, network?.value);
    if (found === undefined) return undefined;
    if ('reason' in found) {
      unused.push(`pod: ${found.reason}`);
      trace?.({ step: 'pod', result: found.reason, rule: 'its address' });
      return undefined;
    }
    trace?.({ step: 'pod', result: podText(found.workload), rule: 'its address' });
    return found.workload;
  }

  #locality(
    { locality }: Instance,
    { scope, verdict, trace }: EndpointContext,
    fill: Fill,
    unused: string[],
    pod: Workload | undefined,
  ): string | undefined {
    const rule = verdict.chosen.locality;
    const found = first([
      [rule && fill(rule.value, rule.rule), rule?.rule ?? ''],
      [pod?.locality, 'the pod'],
      [locality, 'the registry'],
      [this.#own(this.#settings.locality, scope), `registries.${scope.registry.name}.locality`],
    ]);
    if (found === undefined) return undefined;
    if (!isLocality(found.value)) {
      unused.push(`locality "${short(found.value)}" is not region/zone/subzone: it has none`);
      return undefined;
    }
    trace?.({ step: 'locality', result: found.value, rule: found.rule });
    return found.value;
  }

  /** The network that somebody says. */
  #network({ network }: Instance, { scope, verdict }: EndpointContext, fill: Fill): Chosen<string> | undefined {
    const rule = verdict.chosen.network;
    return first([
      [rule && fill(rule.value, rule.rule), rule?.rule ?? ''],
      [network, 'the registry'],
      [this.#own(this.#settings.network, scope), `registries.${scope.registry.name}.network`],
    ]);
  }

  /** @param said by somebody; else the pod's, or that of the range in which the address lies */
  #networkOf(
    { address }: Instance,
    { trace }: EndpointContext,
    said: Chosen<string> | undefined,
    pod: Workload | undefined,
  ): string | undefined {
    const found =
      said ??
      first([
        [pod?.network, 'the pod'],
        [networkOf(address, this.#settings.networks), 'networks'],
      ]);
    if (found !== undefined) trace?.({ step: 'network', result: found.value, rule: found.rule });
    return found?.value;
  }

  #own(template: string | undefined, scope: InstanceScope): string | undefined {
    return template === undefined ? undefined : this.#templates.ofInstance(template)(scope) || undefined;
  }
}

/** Where the pod takes mutual TLS only, of the ports that are dialled. */
function strictOf(pod: Workload | undefined, numbers: readonly number[]): Pick<Endpoint, 'strict'> {
  if (pod?.strict === undefined) return {};
  const { standard, except } = pod.strict;
  const strict = [...new Set(numbers)].filter((number) => except.includes(number) !== standard);
  return strict.length === 0 ? {} : { strict };
}

/** Fills in a policy's template. What fails is counted under the rule. */
type Fill = (template: string, rule: string) => string | undefined;

/** The first that has a value. */
function first(
  candidates: readonly (readonly [value: string | undefined, rule: string])[],
): Chosen<string> | undefined {
  for (const [value, rule] of candidates) if (value !== undefined) return { value, rule };
  return undefined;
}

/** What an instance takes from its pod, for people. */
function podText(pod: Workload): string {
  const labels = Object.entries(pod.labels).map(([key, value]) => `${key} ${value}`);
  const strict = pod.strict === undefined ? [] : [`mutual TLS only at ports: ${strictText(pod.strict)}`];
  const parts = [...labels, ...(pod.identity === undefined ? [] : [pod.identity]), ...strict];
  return `${nameOf(pod)}: ${parts.length === 0 ? 'no mutual TLS' : parts.join(', ')}`;
}

function healthOf({ status }: Instance, { verdict, trace }: EndpointContext): Health {
  const rule = verdict.chosen.health;
  const state = rule?.value ?? health(status);
  const table = isKnownStatus(status) ? 'health table' : 'no word of the health table';
  trace?.({ step: 'health', result: `${status} → ${state}`, rule: rule?.rule ?? table });
  return state;
}

function weightOf(
  { weight, warmup, changedAt }: Instance,
  { kind, verdict, now, trace }: EndpointContext,
): { readonly weight: number | undefined; readonly until: number | undefined } {
  const rule = verdict.chosen.weight;
  const { slowStart, share = 1 } = rule?.value ?? {};
  const slow = slowStart === undefined || changedAt === 0 ? undefined : { since: changedAt, length: slowStart };
  const warm = warmth(slow ?? warmup, now);
  const scaled = meshWeight(weight * warm.share * share, kind.nominalWeight);
  const bounded = scaled === undefined ? undefined : boundedWeight(scaled, rule?.value);
  const part = warm.share < 1 ? `, at ${Math.round(warm.share * 100)} % of its warm-up` : '';
  trace?.({
    step: 'weight',
    result: `${weight} → ${bounded ?? 'none'}${part}`,
    rule: rule?.rule ?? `nominal is ${kind.nominalWeight}`,
  });
  return { weight: bounded, until: warm.until };
}

function labelsOf(
  instance: Instance,
  { verdict, trace }: EndpointContext,
  fill: Fill,
  unused: string[],
): Readonly<Record<string, string>> {
  const { metadata, labels: rule } = verdict.chosen;
  const changed = relabel(instance.metadata, metadata?.value, (template) => fill(template, metadata?.rule ?? ''));
  const { labels, unfit } = endpointLabels(changed, rule?.value, (template) => fill(template, rule?.rule ?? ''));
  unused.push(...unfit);
  const by = rule?.rule ?? metadata?.rule;
  if (by !== undefined) trace?.({ step: 'labels', result: JSON.stringify(labels), rule: by });
  return labels;
}

function dropReason({ status }: Instance, rule: Chosen<unknown> | undefined): string {
  return rule === undefined ? `status ${status}` : `status ${status}, by ${rule.rule}`;
}

function protocolError({ protocol }: Metadata): string[] {
  return protocol === undefined || parseProtocol(protocol) !== undefined
    ? []
    : [`metadata protocol "${short(protocol)}" is none that a mesh knows`];
}
