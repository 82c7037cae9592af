import { short } from '#model/address.js';
import { isLocality } from '#model/locality.js';
import { compareText, type Endpoint, endpointKey } from '#model/mesh.js';
import { type Protocol, parseProtocol } from '#model/protocol.js';
import type { Instance, RegistryService, Rejection, ServiceKey } from '#model/service.js';
import type { ServiceKind } from '#sources/contract.js';
import {
  type InstanceScope,
  instanceTemplate,
  type ServiceScope,
  serviceTemplate,
  type Template,
} from './expression.js';
import { health } from './health.js';
import { endpointLabels } from './labels.js';
import { hostName } from './naming.js';
import { endpointPort, type PortClaim, portClaims } from './ports.js';
import { warmth } from './warmup.js';
import { meshWeight } from './weight.js';

/** What the configuration says about all services of one registry. Templates are text with CEL between `{{ }}`. */
export interface RegistrySettings {
  readonly name: string;
  readonly type: string;
  readonly kinds: Readonly<Record<string, ServiceKind>>;
  readonly host?: string | undefined;
  /** Istio namespace. */
  readonly namespace?: string | undefined;
  readonly locality?: string | undefined;
  readonly network?: string | undefined;
}

/** What one registry's service adds to a mesh service. */
export interface Contribution {
  readonly key: ServiceKey;
  readonly host: string;
  /** Istio namespace; undefined takes the configured default. */
  readonly namespace: string | undefined;
  readonly ports: readonly PortClaim[];
  /** What it speaks if no registry that holds the host knows a port of it. */
  readonly protocol: Protocol;
  /** Those that get traffic, sorted by {@link endpointKey}. */
  readonly endpoints: readonly Endpoint[];
  /** Instances that are known and get no traffic, with the reason. */
  readonly leftOut: readonly Rejection[];
  /** What usable instances say that could not be used: metadata that can be no label, a malformed locality. */
  readonly unused: readonly Rejection[];
  /** When it changes by itself, since instances warm up: ms since 1970. */
  readonly until: number | undefined;
}

interface CompiledKind extends ServiceKind {
  readonly hostTemplate: Template<ServiceScope>;
}

/** The policy steps of one registry, compiled once. */
export class RegistryPolicy {
  readonly settings: RegistrySettings;
  readonly #kinds = new Map<string, CompiledKind>();
  readonly #namespace: Template<ServiceScope> | undefined;
  readonly #locality: Template<InstanceScope> | undefined;
  readonly #network: Template<InstanceScope> | undefined;

  /** @throws ExpressionError if a template cannot be compiled */
  constructor(settings: RegistrySettings) {
    this.settings = settings;
    for (const [name, kind] of Object.entries(settings.kinds))
      this.#kinds.set(name, { ...kind, hostTemplate: serviceTemplate(settings.host ?? kind.host) });
    this.#namespace = optional(settings.namespace, serviceTemplate);
    this.#locality = optional(settings.locality, instanceTemplate);
    this.#network = optional(settings.network, instanceTemplate);
  }

  /**
   * What a service adds to the mesh.
   * @param now ms since 1970, in coarse ticks
   * @throws Error with the reason if it can have no host
   */
  contribution(service: RegistryService, now: number): Contribution {
    const { key } = service;
    const kind = this.#kinds.get(service.kind);
    if (kind === undefined)
      throw new Error(`adapter ${this.settings.type} does not declare the kind "${service.kind}"`);
    const scope: ServiceScope = { registry: this.settings, service: { ...key, metadata: service.metadata } };
    const host = kind.hostTemplate(scope);
    if (host === undefined) throw new Error('the host template names a key that this service does not have');

    const endpoints: Endpoint[] = [];
    const leftOut: Rejection[] = [];
    const unused: Rejection[] = [];
    const places = new Set<string>();
    let until: number | undefined;
    for (const instance of newestFirst(service.instances)) {
      const leave = (reason: string): void => void leftOut.push({ record: instance.id, reason });
      const place = `${instance.address} ${instance.ports.map((port) => port.number).join(' ')}`;
      const warm = warmth(instance.warmup, now);
      const weight = meshWeight(instance.weight * warm.share, kind.nominalWeight);
      const verdict = health(instance.status);
      if (places.has(place)) leave('another record for this address and port is newer');
      else if (verdict === 'drop') leave(`status ${instance.status}`);
      else if (weight === undefined) leave('weight 0');
      else {
        const { labels, unfit } = endpointLabels(instance.metadata);
        const endpoint = this.#endpoint(instance, scope);
        const { protocol } = instance.metadata;
        if (protocol !== undefined && parseProtocol(protocol) === undefined)
          unfit.push(`metadata protocol "${short(protocol)}" is none that a mesh knows`);
        if (endpoint.locality !== undefined && !isLocality(endpoint.locality)) {
          unfit.push(`locality "${short(endpoint.locality)}" is not region/zone/subzone: it has none`);
          endpoint.locality = undefined;
        }
        if (warm.until !== undefined) until = Math.min(warm.until, until ?? warm.until);
        endpoints.push({ ...endpoint, weight, draining: verdict === 'drain', labels });
        unused.push(...unfit.map((reason) => ({ record: instance.id, reason })));
      }
      places.add(place);
    }
    return {
      key,
      host: hostName(host),
      namespace: this.#namespace?.(scope),
      ports: portClaims(service),
      protocol: kind.protocol,
      endpoints: endpoints.sort((a, b) => compareText(endpointKey(a), endpointKey(b))),
      leftOut,
      unused,
      until,
    };
  }

  #endpoint(instance: Instance, service: ServiceScope) {
    const { registry } = service;
    const scope: InstanceScope = {
      ...service,
      instance: { ...instance, port: BigInt(instance.ports[0]?.number ?? 0) },
    };
    return {
      address: instance.address,
      ports: Object.fromEntries(
        instance.ports
          .map((port) => endpointPort(port, instance.metadata))
          .sort((a, b) => compareText(a.name, b.name))
          .map((port) => [port.name, port.number]),
      ),
      locality: instance.locality ?? (this.#locality?.(scope) || undefined),
      network: instance.network ?? (this.#network?.(scope) || undefined),
      origins: [{ registry: registry.name, instance: instance.id }],
    };
  }
}

/** Of two records for one endpoint the newer one counts; where they are of one age, the one that sorts last. */
function newestFirst(instances: readonly Instance[]): Instance[] {
  return [...instances].sort((a, b) => b.changedAt - a.changedAt || compareText(b.id, a.id));
}

function optional<T>(text: string | undefined, compile: (text: string) => T): T | undefined {
  return text === undefined ? undefined : compile(text);
}
