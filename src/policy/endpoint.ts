import { short } from '#model/address.js';
import { isLocality } from '#model/locality.js';
import { compareText, type Endpoint } from '#model/mesh.js';
import { parseProtocol } from '#model/protocol.js';
import type { Instance, Metadata } from '#model/service.js';
import type { ServiceKind } from '#sources/contract.js';
import type { InstanceScope } from './expression.js';
import { health, isKnownStatus } from './health.js';
import { endpointLabels } from './labels.js';
import { type Networks, networkOf } from './network.js';
import { endpointPort, type Spoken } from './ports.js';
import { relabel } from './relabel.js';
import type { Chosen, EndpointVerdict, Templates } from './rules.js';
import type { Trace } from './trace.js';
import { warmth } from './warmup.js';
import { boundedWeight, meshWeight } from './weight.js';

/** What the configuration says about all endpoints of one registry, beside policies. */
export interface EndpointSettings {
  readonly locality?: string | undefined;
  readonly network?: string | undefined;
  readonly networks?: Networks | undefined;
}

/** What the steps have to know beside the instance. */
export interface EndpointContext {
  readonly kind: ServiceKind;
  readonly scope: InstanceScope;
  readonly verdict: EndpointVerdict;
  readonly spoken: Spoken;
  /** ms since 1970, in coarse ticks. */
  readonly now: number;
  readonly trace?: Trace | undefined;
}

/** An endpoint, or why the instance is none; what of it could not be used; and rules that name a key which it does not have. */
export type MadeEndpoint = { readonly unused: readonly string[]; readonly failed: readonly string[] } & (
  | { readonly endpoint: Endpoint; readonly until: number | undefined }
  | { readonly reason: string }
);

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

  endpoint(instance: Instance, { kind, scope, verdict, spoken, now, trace }: EndpointContext): MadeEndpoint {
    const { chosen } = verdict;
    const unused: string[] = [];
    const failed = [...verdict.failed];
    const state = chosen.health?.value ?? health(instance.status);
    trace?.({
      step: 'health',
      result: `${instance.status} → ${state}`,
      rule: chosen.health?.rule ?? (isKnownStatus(instance.status) ? 'health table' : 'no word of the health table'),
    });
    if (state === 'drop') return { reason: dropReason(instance, chosen.health), unused, failed };
    const slow = chosen.weight?.value.slowStart;
    const slowStart =
      slow === undefined || instance.changedAt === 0 ? undefined : { since: instance.changedAt, length: slow };
    const warm = warmth(slowStart ?? instance.warmup, now);
    const weight = meshWeight(instance.weight * warm.share * (chosen.weight?.value.share ?? 1), kind.nominalWeight);
    trace?.({
      step: 'weight',
      result: `${instance.weight} → ${weight === undefined ? 'none' : boundedWeight(weight, chosen.weight?.value)}${warm.share < 1 ? `, at ${Math.round(warm.share * 100)} % of its warm-up` : ''}`,
      rule: chosen.weight?.rule ?? `nominal is ${kind.nominalWeight}`,
    });
    if (weight === undefined) return { reason: 'weight 0', unused, failed };

    const fill = (field: Chosen<string> | undefined): string | undefined => {
      if (field === undefined) return undefined;
      const text = this.#templates.ofInstance(field.value)(scope);
      if (text === undefined) failed.push(field.rule);
      return text || undefined;
    };
    const metadata = relabel(instance.metadata, chosen.metadata?.value, (template) =>
      fill({ value: template, rule: chosen.metadata?.rule ?? '' }),
    );
    const { labels, unfit } = endpointLabels(metadata, chosen.labels?.value, (template) =>
      fill({ value: template, rule: chosen.labels?.rule ?? '' }),
    );
    unused.push(...unfit, ...protocolError(instance.metadata));
    const settings = this.#settings;
    const own = (template: string | undefined) =>
      template === undefined ? undefined : this.#templates.ofInstance(template)(scope) || undefined;
    const said = { locality: instance.locality, network: instance.network };
    let locality = fill(chosen.locality) ?? instance.locality ?? own(settings.locality);
    if (locality !== undefined && !isLocality(locality)) {
      unused.push(`locality "${short(locality)}" is not region/zone/subzone: it has none`);
      locality = undefined;
    }
    const byRange = networkOf(instance.address, settings.networks);
    const network = fill(chosen.network) ?? instance.network ?? own(settings.network) ?? byRange;
    if (trace !== undefined) {
      const source = (field: 'locality' | 'network') =>
        chosen[field]?.rule ??
        (said[field] === undefined ? `registries.${scope.registry.name}.${field}` : 'the registry');
      if (locality !== undefined) trace({ step: 'locality', result: locality, rule: source('locality') });
      if (network !== undefined)
        trace({ step: 'network', result: network, rule: network === byRange ? 'networks' : source('network') });
      const changed = chosen.labels?.rule ?? chosen.metadata?.rule;
      if (changed !== undefined) trace({ step: 'labels', result: JSON.stringify(labels), rule: changed });
    }
    return {
      until: warm.until,
      unused,
      failed,
      endpoint: {
        address: instance.address,
        ports: Object.fromEntries(
          instance.ports
            .map((port) => endpointPort(port, instance.metadata, spoken))
            .sort((a, b) => compareText(a.name, b.name))
            .map((port) => [port.name, port.number]),
        ),
        weight: boundedWeight(weight, chosen.weight?.value),
        draining: state === 'drain',
        locality,
        network,
        serviceAccount: fill(chosen.serviceAccount),
        labels,
        origins: [{ registry: scope.registry.name, instance: instance.id }],
      },
    };
  }
}

function dropReason({ status }: Instance, rule: Chosen<unknown> | undefined): string {
  return rule === undefined ? `status ${status}` : `status ${status}, by ${rule.rule}`;
}

function protocolError({ protocol }: Metadata): string[] {
  return protocol === undefined || parseProtocol(protocol) !== undefined
    ? []
    : [`metadata protocol "${short(protocol)}" is none that a mesh knows`];
}
