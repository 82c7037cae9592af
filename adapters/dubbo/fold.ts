import { compareText } from '#model/mesh.js';
import type { Instance, RegistryService, Rejection } from '#model/service.js';
import { serviceId } from '#model/service.js';
import type { ApplicationRecord } from './application.js';
import { type ConsumerRecord, calls } from './consumer.js';
import type { ServiceNote } from './documents.js';
import type { DubboService, ProviderRecord } from './provider.js';
import { type OverrideRecord, Rules } from './rules.js';

/** All that one registry says about one interface. */
export interface InterfaceRecords {
  readonly registry: string;
  /** Of the registry, where it has any. */
  readonly namespace?: string;
  readonly interface: string;
  /** Registered under the interface itself. */
  readonly providers: readonly ProviderRecord[];
  /** Given by instances of applications. */
  readonly applications: readonly ApplicationRecord[];
  readonly consumers: readonly ConsumerRecord[];
  /** Services to show empty while no record names any; without one it is the interface without group and version. */
  readonly otherwise: readonly DubboService[];
  /** By which consumers see the providers otherwise. */
  readonly rules?: readonly OverrideRecord[];
  /** What is to be said of other rules. */
  readonly notes?: readonly ServiceNote[];
  /** Records that could not be read as what they are, beside those above. */
  readonly rejected: readonly Rejection[];
}

export interface Folded {
  /** At least one, in the order of their ids. */
  readonly services: RegistryService[];
  /** Whether published definitions would tell more: some endpoint's group and version are not certain, or no record names a service. */
  readonly wantsDefinitions: boolean;
}

/** Two protocols registered for one port within this time, in ms, are one process that speaks both. */
const sameProcess = 60_000;

/**
 * Makes one interface's services out of its records at both levels. Each address and port is one endpoint, and an endpoint that is
 * registered under the interface, or with metadata of its own, is not guessed at a second time.
 */
export function fold(records: InterfaceRecords): Folded {
  const drafts = new Map<string, Draft>();
  const homeless: Rejection[] = [...records.rejected];
  const rules = new Rules((records.rules ?? []).flatMap((record) => (record.kind === 'rule' ? [record.rule] : [])));
  const providers = records.providers.map((record) => rules.apply(record, 'interface'));
  const applications = records.applications.map(({ record, certain }) => ({
    record: rules.apply(record, 'application'),
    certain,
  }));
  const certain = [...providers, ...applications.filter((one) => one.certain).map((one) => one.record)];
  for (const record of certain) place(drafts, homeless, records.interface, record);
  const known = new Set<string>();
  for (const { instances } of drafts.values()) for (const endpoint of instances.keys()) known.add(endpoint);
  let guessed = false;
  for (const { record, certain } of applications) {
    if (certain || (record.kind === 'provider' && known.has(endpointOf(record.instance)))) continue;
    guessed = true;
    place(drafts, homeless, records.interface, record);
  }
  const wantsDefinitions = guessed || drafts.size === 0;
  if (drafts.size === 0) {
    const bare = { interface: records.interface, group: '', version: '' };
    for (const service of records.otherwise.length === 0 ? [bare] : records.otherwise) draft(drafts, service);
  }
  for (const record of [...records.consumers, ...(records.rules ?? [])])
    if (record.kind === 'rejected') homeless.push(record.rejection);
  const services = [...drafts.values()].map((one) => finish(one, records));
  services.sort((a, b) => compareText(serviceId(a.key), serviceId(b.key)));
  const noted = withNotes(services, rules, records.notes ?? []);
  return { services: withRejections(noted, homeless), wantsDefinitions };
}

/** Each rule is told with its service, and with the first one where there is no such service. */
function withNotes(
  services: readonly RegistryService[],
  rules: Rules,
  others: readonly ServiceNote[],
): RegistryService[] {
  const ids = services.map(({ key }) => groupAndVersion(key));
  return services.map((service, i) => {
    const isOurs = ({ service: of }: ServiceNote) => {
      const place = of === undefined ? 0 : ids.indexOf(groupAndVersion(of));
      return Math.max(0, place) === i;
    };
    const { name, group, version } = service.key;
    const notes = [
      ...rules.notes({ interface: name, group, version }, i === 0),
      ...others.filter(isOurs).map(({ note }) => note),
    ];
    return notes.length === 0 ? service : { ...service, notes };
  });
}

function groupAndVersion({ group, version }: { readonly group: string; readonly version: string }): string {
  return JSON.stringify([group, version]);
}

interface Draft {
  readonly service: DubboService;
  readonly instances: Map<string, Instance>;
  readonly rejected: Rejection[];
}

function draft(drafts: Map<string, Draft>, service: DubboService): Draft {
  const id = groupAndVersion(service);
  const found = drafts.get(id) ?? { service, instances: new Map(), rejected: [] };
  drafts.set(id, found);
  return found;
}

function place(drafts: Map<string, Draft>, homeless: Rejection[], interfaceName: string, record: ProviderRecord): void {
  if (record.kind === 'none') return;
  const { service } = record;
  if (service !== undefined && service.interface !== interfaceName) {
    const name = record.kind === 'provider' ? record.instance.id : record.rejection.record;
    homeless.push({ record: name, reason: `it provides ${service.interface || 'nothing'}, not ${interfaceName}` });
  } else if (record.kind === 'rejected') {
    (service === undefined ? homeless : draft(drafts, service).rejected).push(record.rejection);
  } else {
    const { instances } = draft(drafts, record.service);
    const instance = asRegistrySays(record);
    const endpoint = endpointOf(instance);
    const before = instances.get(endpoint);
    if (before === undefined || supersedes(instance, before)) instances.set(endpoint, instance);
  }
}

/** Beside Dubbo's own word and its rules. What Dubbo has taken out stays out for its reason. */
function asRegistrySays({ instance, share = 1, status }: ProviderRecord & { readonly kind: 'provider' }): Instance {
  const isTold = status !== undefined && instance.status === 'UP';
  if (share === 1 && !isTold) return instance;
  return { ...instance, weight: instance.weight * share, ...(isTold ? { status } : {}) };
}

function endpointOf(instance: Instance): string {
  return `${instance.address} ${instance.ports[0]?.number}`;
}

/** The younger of two records for one endpoint counts. A port that speaks both dubbo and tri is served as dubbo, which Istio passes on unread. */
function supersedes(candidate: Instance, before: Instance): boolean {
  const age = candidate.changedAt - before.changedAt;
  const protocols = [candidate.ports[0]?.protocol, before.ports[0]?.protocol];
  if (protocols[0] !== protocols[1] && Math.abs(age) <= sameProcess) {
    const dubbo = protocols.indexOf('dubbo');
    if (dubbo >= 0) return dubbo === 0;
  }
  return age > 0 || (age === 0 && before.id > candidate.id);
}

function finish({ service, instances, rejected }: Draft, records: InterfaceRecords): RegistryService {
  const consumers = new Map<string, { application: string; address: string }>();
  for (const record of records.consumers)
    if (record.kind === 'consumer' && calls(record.service, service))
      consumers.set(`${record.consumer.application} ${record.consumer.address}`, record.consumer);
  return {
    key: {
      registry: records.registry,
      namespace: records.namespace ?? '',
      group: service.group,
      name: service.interface,
      version: service.version,
    },
    kind: 'dubbo',
    ports: [],
    metadata: {},
    instances: byKey(instances),
    rejected: rejected.sort((a, b) => compareText(a.record, b.record)),
    consumers: byKey(consumers),
  };
}

/** Records that do not say whose they are show beside the interface's first service. */
function withRejections(services: RegistryService[], homeless: readonly Rejection[]): RegistryService[] {
  const [first, ...rest] = services;
  if (first === undefined || homeless.length === 0) return services;
  const rejected = [...first.rejected, ...homeless].sort((a, b) => compareText(a.record, b.record));
  return [{ ...first, rejected }, ...rest];
}

function byKey<T>(map: ReadonlyMap<string, T>): T[] {
  return [...map.entries()].sort(([a], [b]) => compareText(a, b)).map(([, value]) => value);
}
