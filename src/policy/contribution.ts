import { isDeepStrictEqual } from 'node:util';
import { compareText, type Endpoint, endpointKey } from '#model/mesh.js';
import type { Protocol } from '#model/protocol.js';
import { reasonOf } from '#model/reason.js';
import { type Instance, instancePlace, type RegistryService, type Rejection, type ServiceKey } from '#model/service.js';
import { type Workload, workloadOf } from '#model/workload.js';
import type { IsOwn } from '#publish/desired.js';
import type { ServiceKind } from '#sources/contract.js';
import { type EndpointSettings, EndpointSteps, type MadeEndpoint } from './endpoint.js';
import type { InstanceScope, ServiceScope } from './expression.js';
import { hostName } from './naming.js';
import type { Preference } from './policy.js';
import { type PortClaim, portClaims, type Spoken } from './ports.js';
import { templateOf } from './presets.js';
import { PolicyList, type ServiceVerdict, Templates } from './rules.js';
import type { Step, Trace } from './trace.js';
import type { WorkloadsAt } from './workload.js';

/** What the configuration says about all services of one registry. Templates are text with CEL between `{{ }}`. */
export interface RegistrySettings extends EndpointSettings {
  readonly name: string;
  readonly type: string;
  readonly kinds: Readonly<Record<string, ServiceKind>>;
  readonly host?: string | undefined;
  /** Istio namespace. */
  readonly namespace?: string | undefined;
  /** Istio namespace of what Pontoon itself sends, unless a policy says another. */
  readonly ownNamespace?: string | undefined;
  /** Whether what it loses at once may be held; it may, unless given. */
  readonly guarded?: boolean | undefined;
  /** Tells what this Pontoon wrote into the registry: that is no endpoint of the mesh. Nothing, unless given. */
  readonly isOwn?: IsOwn | undefined;
}

/** What one registry's service adds to a mesh service. */
export interface Contribution {
  readonly key: ServiceKey;
  readonly host: string;
  /** Whether a policy that names the service gave the host: services that it gives one host were meant to be one. */
  readonly hostByName: boolean;
  /** Whether the mesh knows it by itself under this host. */
  readonly native: boolean;
  /** Whether it may be one of ours that came back: it gives way to any other with its host. */
  readonly echo: boolean;
  /** The mesh's own addresses of it. */
  readonly vips: readonly string[];
  /** Further hosts, which give way to a host of another service. */
  readonly aliases: readonly string[];
  /** Istio namespace; undefined takes the configured default. */
  readonly namespace: string | undefined;
  readonly exportTo: readonly string[] | undefined;
  readonly location: 'internal' | 'external' | undefined;
  /** The one revision of istiod that shall see it; undefined for all. */
  readonly revision: string | undefined;
  readonly prefer: Preference | undefined;
  /** Where edge gateways take this very service. */
  readonly gatewayPort: number | undefined;
  readonly ports: readonly PortClaim[];
  /** What it speaks if no registry that holds the host knows a port of it. */
  readonly protocol: Protocol;
  /** Those that get traffic, sorted by {@link endpointKey}. */
  readonly endpoints: readonly Endpoint[];
  /** The instances behind the endpoints. */
  readonly usable: readonly Instance[];
  /** Instances that are known and get no traffic, with the reason. */
  readonly leftOut: readonly Rejection[];
  /** What could not be used: metadata that can be no label, a malformed locality, a policy that failed. */
  readonly unused: readonly Rejection[];
  /** When it changes by itself, since instances warm up: ms since 1970. */
  readonly until: number | undefined;
}

/** Takes up the steps of a service and of its instances, by their ids. */
export interface ContributionTrace {
  readonly service: Trace;
  readonly instance: (id: string, step: Step) => void;
}

interface EndpointsContext {
  readonly kind: ServiceKind;
  readonly scope: ServiceScope;
  readonly verdict: ServiceVerdict;
  readonly spoken: Spoken;
  readonly now: number;
  readonly workloads: WorkloadsAt | undefined;
  readonly trace: ContributionTrace | undefined;
}

/** What of a service has a say in its endpoints. */
type ServiceTraits = Pick<RegistryService, 'key' | 'kind' | 'metadata'>;

/** What an instance of a service became. */
interface Remembered {
  readonly of: ServiceTraits;
  readonly made: MadeEndpoint;
  /** By {@link endpointKey}; empty if it is no endpoint. */
  readonly key: string;
}

/** A service that the configuration leaves out. */
export interface LeftOut {
  readonly dropped: string;
}

/** What a registry says of pods: no service, but what joins instances of others. */
export interface Described {
  readonly workloads: readonly Workload[];
}

/** The policy steps of one registry, compiled once. */
export class RegistryPolicy {
  readonly settings: RegistrySettings;
  readonly #policies: PolicyList;
  readonly #templates = new Templates();
  readonly #steps: EndpointSteps;
  /** What was made of instances, as long as a registry says them in the same objects. */
  readonly #remembered = new WeakMap<Instance, Remembered>();
  /** Whether it describes workloads. */
  readonly hasWorkloads: boolean;

  /** @throws ExpressionError if a template cannot be compiled */
  constructor(settings: RegistrySettings, policies = new PolicyList([])) {
    this.settings = settings;
    this.#policies = policies;
    this.hasWorkloads = Object.values(settings.kinds).some(({ workloads }) => workloads === true);
    this.#steps = new EndpointSteps({ ...settings, hasWorkloads: this.hasWorkloads }, this.#templates);
    for (const { host } of Object.values(settings.kinds)) this.#templates.ofService(templateOf(settings.host ?? host));
    if (settings.namespace !== undefined) this.#templates.ofService(settings.namespace);
  }

  /**
   * What a service adds to the mesh. The steps, in this order: selection, naming, ports and protocol; then for each instance metadata, health, weight,
   * locality and network, labels and identity.
   * @param now ms since 1970, in coarse ticks
   * @param workloads the pods that its instances may be
   * @param trace takes up each step, of the service and of its instances
   * @throws Error with the reason if it can have no host
   */
  contribution(
    service: RegistryService,
    now: number,
    workloads?: WorkloadsAt,
    trace?: ContributionTrace,
  ): Contribution | LeftOut | Described {
    const { key } = service;
    const kind = this.settings.kinds[service.kind];
    if (kind === undefined)
      throw new Error(`adapter ${this.settings.type} does not declare the kind "${service.kind}"`);
    if (kind.workloads) return this.#described(service, kind, now);
    const scope: ServiceScope = { registry: this.settings, service: { ...key, metadata: service.metadata } };
    const verdict = this.#policies.service(scope);
    const { drop, host, aliases, namespace, exportTo, ports, protocol, location, revision, prefer, gatewayPort } =
      verdict.chosen;
    if (verdict.applied.length > 0)
      trace?.service({ step: 'policies', result: verdict.applied.join(', '), rule: 'their conditions hold' });
    trace?.service({
      step: 'selection',
      result: drop?.value ? 'left out' : 'kept',
      rule: drop?.rule ?? 'no policy drops it',
    });
    if (drop?.value) return { dropped: drop.rule };
    if (kind.echoes && key.namespace === this.settings.ownNamespace)
      return { dropped: `istio.namespace: it is in ${key.namespace}, where Pontoon's own entries are` };
    const { isOwn } = this.settings;
    const written = isOwn === undefined ? [] : service.instances.filter((instance) => isOwn(key, instance));
    if (written.length > 0) return this.#withoutOwn(service, written, now, workloads, trace);

    const unused: Rejection[] = verdict.failed.map((rule) => failure('the service', rule));
    const fill = (template: string | undefined, rule: string): string | undefined => {
      const text = template === undefined ? undefined : this.#templates.ofService(templateOf(template))(scope);
      if (template !== undefined && text === undefined) unused.push(failure('the service', rule));
      return text;
    };
    const ownHost = fill(host?.value, host?.rule ?? '');
    const hostText = ownHost ?? this.#templates.ofService(templateOf(this.settings.host ?? kind.host))(scope);
    if (hostText === undefined) throw new Error('the host template names a key that this service does not have');

    trace?.service({
      step: 'host',
      result: hostText,
      rule: ownHost === undefined ? this.#hostRule(service.kind) : (host?.rule ?? ''),
    });
    const spoken = { protocol: protocol?.value, rules: ports?.value ?? [] };
    const made = this.#endpoints(service, { kind, scope, verdict, spoken, now, workloads, trace });
    const native = kind.native === true && ownHost === undefined && this.settings.host === undefined;
    // What the mesh knows by itself is in a namespace of its own.
    const ownNamespace = native && key.namespace !== '' ? key.namespace : undefined;
    unused.push(...made.unused);
    return {
      key,
      host: hostName(hostText, native),
      native,
      echo: native && kind.echoes === true,
      vips: service.vips ?? [],
      hostByName: ownHost !== undefined && verdict.hostByName,
      aliases: (aliases?.value ?? []).flatMap((alias) => {
        const text = fill(alias, aliases?.rule ?? '');
        try {
          return text === undefined ? [] : [hostName(text)];
        } catch (error) {
          unused.push({ record: 'the service', reason: `${aliases?.rule}: ${reasonOf(error)}` });
          return [];
        }
      }),
      namespace:
        fill(namespace?.value, namespace?.rule ?? '') ?? fill(this.settings.namespace, 'namespace') ?? ownNamespace,
      exportTo: exportTo?.value,
      location: location?.value,
      revision: revision?.value,
      prefer: prefer?.value,
      gatewayPort: gatewayPort?.value,
      ports: portClaims(service, spoken),
      protocol: protocol?.value ?? kind.protocol,
      endpoints: made.endpoints,
      usable: made.usable,
      leftOut: made.leftOut,
      unused,
      until: made.until,
    };
  }

  /** What else stands there; a service of which all is our own copy is none. */
  #withoutOwn(
    service: RegistryService,
    own: readonly Instance[],
    now: number,
    workloads: WorkloadsAt | undefined,
    trace: ContributionTrace | undefined,
  ): Contribution | LeftOut | Described {
    if (own.length === service.instances.length)
      return { dropped: 'the marks on all of its instances: they are copies that this Pontoon wrote' };
    const instances = service.instances.filter((instance) => !own.includes(instance));
    const made = this.contribution({ ...service, instances }, now, workloads, trace);
    if (!('leftOut' in made)) return made;
    const reason = 'its mark: it is a copy that this Pontoon wrote';
    return { ...made, leftOut: [...made.leftOut, ...own.map(({ id }) => ({ record: id, reason }))] };
  }

  #described(service: RegistryService, kind: ServiceKind, now: number): Described {
    const scope: ServiceScope = { registry: this.settings, service: { ...service.key, metadata: service.metadata } };
    const verdict = this.#policies.service(scope);
    const spoken = { protocol: undefined, rules: [] };
    return {
      workloads: service.instances.map((instance) => {
        const instanceScope = scopeOf(scope, instance);
        const context = { kind, scope: instanceScope, verdict: verdict.endpoint(instanceScope), spoken, now };
        return workloadOf(this.settings.name, instance, this.#steps.place(instance, context));
      }),
    };
  }

  #endpoints(service: RegistryService, context: EndpointsContext) {
    const endpoints: { readonly key: string; readonly endpoint: Endpoint }[] = [];
    const usable: Instance[] = [];
    const leftOut: Rejection[] = [];
    const unused: Rejection[] = [];
    /** Rules that failed, each with how often: one rule may fail on all instances. */
    const failed = new Map<string, number>();
    const places = new Set<string>();
    const keys = new Set<string>();
    let until: number | undefined;
    const of = this.#traits(service);
    for (const instance of newestFirst(service.instances)) {
      const leave = (reason: string): void => void leftOut.push({ record: instance.id, reason });
      const place = instancePlace(instance);
      if (places.has(place)) {
        leave('another record for this address and port is newer');
        continue;
      }
      places.add(place);
      const { made, key } = this.#endpoint(of, instance, context);
      unused.push(...made.unused.map((reason) => ({ record: instance.id, reason })));
      for (const rule of made.failed) failed.set(rule, (failed.get(rule) ?? 0) + 1);
      if ('reason' in made) {
        leave(made.reason);
        continue;
      }
      if (keys.has(key)) leave('another instance is dialled at this address and port');
      else {
        endpoints.push({ key, endpoint: made.endpoint });
        usable.push(instance);
      }
      keys.add(key);
      if (made.until !== undefined) until = Math.min(made.until, until ?? made.until);
    }
    for (const [rule, count] of failed) unused.push(failure(`${count} of ${service.instances.length} instances`, rule));
    endpoints.sort((a, b) => compareText(a.key, b.key));
    return { endpoints: endpoints.map(({ endpoint }) => endpoint), usable, leftOut, unused, until };
  }

  /** The same object as long as they are the same. */
  #traits({ key, kind, metadata, instances }: RegistryService): ServiceTraits {
    const traits = { key, kind, metadata };
    const first = instances.find((instance) => this.#remembered.has(instance));
    const known = first && this.#remembered.get(first)?.of;
    return known !== undefined && isDeepStrictEqual(known, traits) ? known : traits;
  }

  /** What the steps make of an instance. Of one that was not touched since, it is what it was: a change costs what has changed, however large its service is. */
  #endpoint(of: ServiceTraits, instance: Instance, context: EndpointsContext): Remembered {
    const { kind, scope, verdict, spoken, now, workloads, trace } = context;
    const isAlone = trace === undefined && (workloads === undefined || workloads(instance.address).length === 0);
    const known = isAlone ? this.#remembered.get(instance) : undefined;
    if (known?.of === of) return known;
    const instanceScope = scopeOf(scope, instance);
    const made = this.#steps.endpoint(instance, {
      kind,
      scope: instanceScope,
      verdict: verdict.endpoint(instanceScope),
      spoken,
      now,
      workloads,
      trace: trace === undefined ? undefined : (step) => trace.instance(instance.id, step),
    });
    const remembered = { of, made, key: 'endpoint' in made ? endpointKey(made.endpoint) : '' };
    // A pod, or a warm-up, makes another thing of it by and by.
    const isLasting = isAlone && !('until' in made && made.until !== undefined);
    if (isLasting) this.#remembered.set(instance, remembered);
    return remembered;
  }

  #hostRule(kind: string): string {
    return this.settings.host === undefined ? `default of ${kind}` : `registries.${this.settings.name}.host`;
  }
}

/** A condition or template of the configuration that this record gives no value to. */
function failure(record: string, rule: string): Rejection {
  return { record, reason: `${rule} has no value here, as for a key that is not there: it has no effect` };
}

/** What expressions see of an instance; made when one looks. */
function scopeOf({ registry, service }: ServiceScope, instance: Instance): InstanceScope {
  let seen: InstanceScope['instance'] | undefined;
  return {
    registry,
    service,
    get instance() {
      seen ??= { ...instance, port: BigInt(instance.ports[0]?.number ?? 0) };
      return seen;
    },
  };
}

/** Of two records for one endpoint the newer one counts; where they are of one age, the one that sorts last. */
function newestFirst(instances: readonly Instance[]): Instance[] {
  return [...instances].sort((a, b) => b.changedAt - a.changedAt || compareText(b.id, a.id));
}
