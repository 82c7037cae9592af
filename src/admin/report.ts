import type { Catalog } from '#catalog/catalog.js';
import type { RejectedService } from '#catalog/contributions.js';
import type { RegistryView } from '#catalog/view.js';
import type { Config } from '#config/schema.js';
import type { Coordination } from '#coordination/contract.js';
import type { Projection } from '#istio/projection.js';
import type { MeshScope } from '#istio/scope.js';
import type { Journal } from '#journal/journal.js';
import { compareText, type MeshPort, type MeshService } from '#model/mesh.js';
import { reasonOf } from '#model/reason.js';
import { type Note, type Rejection, type ServiceKey, serviceId } from '#model/service.js';
import type { FilesStatus } from '#sinks/files/sink.js';
import type { KubernetesStatus } from '#sinks/kubernetes/sink.js';
import type { ListenerStatus } from '#sinks/xds/server.js';
import type { ClientState } from '#sinks/xds/stream.js';
import type { SnapshotStatus } from '#snapshot/file.js';
import type { SourceStatus, Supervisor } from '#sources/supervisor.js';
import type { Doors } from '../doors.js';
import type { Guarding } from '../guarding.js';
import type { Keeping } from '../keeping.js';
import type { Publishing } from '../publishing.js';
import type { SourceChanges } from '../registries.js';

/** The running parts that the API, the page and the metrics look at. They only look. */
export interface Parts extends Doors {
  readonly config: Config;
  readonly catalog: Catalog;
  readonly guarding: Guarding;
  readonly keeping: Keeping;
  readonly publishing: Publishing;
  readonly coordination: Coordination;
  readonly projection: Projection;
  readonly journal: Journal;
  readonly supervisors: readonly Supervisor[];
  /** Registries that the first complete set still waits for. */
  readonly awaited: () => readonly string[];
  /** Reads the configuration anew and takes it over. Throws if it cannot be; then everything is as before. */
  readonly reload: () => Promise<SourceChanges>;
}

/** How what outlives this process is doing. */
export interface StateReport {
  /** Registries that the first complete set still waits for. */
  readonly waitingFor: readonly string[];
  /** Where what was known at the start came from; undefined if nothing was. */
  readonly rememberedFrom: 'disk' | 'peer' | undefined;
  /** Undefined without `state.directory`. */
  readonly snapshot: SnapshotStatus | undefined;
  readonly coordination: { readonly type: string; readonly error: string | undefined };
}

export function stateReport({ awaited, keeping, config, coordination }: Parts): StateReport {
  return {
    waitingFor: awaited(),
    rememberedFrom: keeping.rememberedFrom,
    snapshot: keeping.status(),
    coordination: { type: config.coordination?.type ?? 'none', error: coordination.error },
  };
}

/** How a registry is doing, and how much it holds. */
export interface RegistryReport extends SourceStatus {
  readonly type: string;
  readonly required: boolean;
  /** Whether it was read completely since the start. */
  readonly complete: boolean;
  /** Whether all that is known of it is from before the start: from the snapshot, or from another replica. */
  readonly restored: boolean;
  /** As the registry says: what is held is not among them. */
  readonly services: number;
  /** Pods that it describes, which are no services. */
  readonly pods: number;
  readonly instances: number;
  /** Records that could not be used. */
  readonly rejected: number;
  /** Instances that are known and get no traffic. */
  readonly leftOut: number;
  /** Instances that are in the mesh although the registry lists them as usable no longer. */
  readonly held: number;
  /** Services that the configuration leaves out. */
  readonly dropped: number;
  /** Services of which no host falls into a shard that is served here: other Pontoons have them. What need not be read is not among them. */
  readonly elsewhere: number;
  /** What people should know of records that are in use, and rules. */
  readonly notes: number;
}

/** All registries, in the order of the configuration. */
export function registryReports(parts: Parts): RegistryReport[] {
  const { config, catalog, supervisors } = parts;
  return supervisors.map((supervisor, index) => {
    const status = supervisor.status();
    const registry = config.registries[index];
    const view = catalog.view(status.registry);
    const services = [...(view?.services.values() ?? [])];
    const all = [...(view?.said.values() ?? [])];
    const said = all.filter(({ key }) => !catalog.isWorkload(serviceId(key)));
    return {
      ...status,
      type: registry?.type ?? '',
      required: registry?.required ?? true,
      complete: view?.complete ?? false,
      restored: (view?.isRestored ?? false) && !view?.complete,
      services: said.length,
      pods: all.length - said.length,
      instances: said.reduce((sum, { instances }) => sum + instances.length, 0),
      rejected: view === undefined ? 0 : rejectedRecords(parts, view).length,
      leftOut: services.reduce((sum, { key }) => sum + (catalog.contribution(serviceId(key))?.leftOut.length ?? 0), 0),
      held: catalog.guard(status.registry)?.held ?? 0,
      dropped: catalog.dropped().filter(({ registry }) => registry === status.registry).length,
      elsewhere: catalog.elsewhere().filter(({ registry }) => registry === status.registry).length,
      notes: services.reduce((sum, { notes = [] }) => sum + notes.length, 0),
    };
  });
}

/** A record of a registry that is not in the mesh, with the reason. */
export interface RejectedRecord extends Rejection {
  readonly service: ServiceKey | undefined;
}

/**
 * Everything of a registry that could not be used: records, unreadable services, services without a host of their own, and what Istio would refuse of the
 * hosts that it is the first to hold.
 */
export function rejectedRecords({ catalog, projection }: Parts, view: RegistryView): RejectedRecord[] {
  const records: RejectedRecord[] = [];
  for (const service of view.services.values())
    for (const rejection of service.rejected) records.push({ service: service.key, ...rejection });
  for (const [id, error] of view.unreadable)
    records.push({ service: view.services.get(id)?.key, record: id, reason: `cannot be read: ${reasonOf(error)}` });
  for (const { id, reason } of rejectedServices(catalog, view.registry))
    records.push({ service: view.services.get(id)?.key, record: id, reason });
  for (const [host, rejections] of projection.rejected()) {
    const [service] = catalog.services.get(host)?.origins ?? [];
    if (service?.registry === view.registry)
      records.push(...rejections.map(({ record, reason }) => ({ service, record: `${host}: ${record}`, reason })));
  }
  return records;
}

/** A note on a service of a registry. */
export interface ServiceNote extends Note {
  readonly service: ServiceKey;
}

/** What people should know of the records and rules of a registry. */
export function notesOf(view: RegistryView): ServiceNote[] {
  return [...view.services.values()].flatMap(({ key, notes = [] }) => notes.map((note) => ({ service: key, ...note })));
}

function rejectedServices(catalog: Catalog, registry: string): RejectedService[] {
  return catalog.rejected().filter((service) => service.registry === registry);
}

/** One service of a registry, as the registry names it, and what becomes of it. */
export interface RegistryServiceSummary {
  readonly key: ServiceKey;
  /** Undefined if it is in no mesh service: among the rejected records is why. */
  readonly host: string | undefined;
  /** Whether the host is in the mesh by another Pontoon: it falls into a shard that is not served here. */
  readonly elsewhere: boolean;
  /** The ports of the host. */
  readonly ports: readonly MeshPort[];
  readonly instances: number;
  /** Instances that get traffic. */
  readonly serving: number;
  /** Why the others get none, and how many for each reason. */
  readonly leftOut: Readonly<Record<string, number>>;
}

/** The services of a registry, in the order of their names. */
export function registryServices({ catalog }: Parts, view: RegistryView): RegistryServiceSummary[] {
  const homeless = new Set(rejectedServices(catalog, view.registry).map(({ id }) => id));
  return [...view.services]
    .filter(([id]) => !catalog.isWorkload(id))
    .sort(([a], [b]) => compareText(a, b))
    .map(([id, { key, instances }]) => {
      const contribution = homeless.has(id) ? undefined : catalog.contribution(id);
      const leftOut: Record<string, number> = {};
      for (const { reason } of contribution?.leftOut ?? []) leftOut[reason] = (leftOut[reason] ?? 0) + 1;
      return {
        key,
        host: contribution?.host,
        elsewhere: contribution !== undefined && catalog.elsewhereText(contribution.host) !== undefined,
        ports: catalog.services.get(contribution?.host ?? '')?.ports ?? [],
        instances: instances.length,
        serving: contribution?.endpoints.length ?? 0,
        leftOut,
      };
    });
}

/** One mesh service in a list. */
export interface ServiceSummary {
  readonly host: string;
  readonly namespace: string;
  readonly ports: readonly MeshPort[];
  readonly endpoints: number;
  readonly registries: readonly string[];
  readonly vips: readonly string[];
  /** Whether no registry holds it any more: it is deleted when its grace has run out. */
  readonly gone: boolean;
}

/** The mesh services whose host contains a text, in the order of their hosts. */
export function serviceSummaries({ catalog }: Parts, search = ''): ServiceSummary[] {
  return [...catalog.services.values()]
    .filter(({ host }) => host.includes(search.toLowerCase()))
    .sort((a, b) => compareText(a.host, b.host))
    .map(({ host, namespace, ports, endpoints, origins, vips }) => ({
      host,
      namespace,
      ports,
      endpoints: endpoints.length,
      registries: origins.map(({ registry }) => registry),
      vips,
      gone: origins.length === 0,
    }));
}

/** One mesh service, and what is absent of it. */
export interface ServiceReport extends MeshService {
  /** Whether no registry holds it any more: it is deleted when its grace has run out. */
  readonly gone: boolean;
  /** Instances that get no traffic, records that could not be used, and endpoints that Istio would refuse. */
  readonly absent: readonly (Rejection & { readonly registry: string })[];
  /** What its endpoints say that could not be used: metadata that can be no label, a malformed locality. */
  readonly unused: readonly Rejection[];
  /** What people should know of its records, and of rules for it. */
  readonly notes: readonly (Note & { readonly registry: string })[];
}

/** The service of a host; undefined if there is none. */
export function serviceReport({ catalog, projection }: Parts, host: string): ServiceReport | undefined {
  const service = catalog.services.get(host);
  if (service === undefined) return undefined;
  const absent = service.origins.flatMap((key) => {
    const id = serviceId(key);
    const rejected = catalog.view(key.registry)?.services.get(id)?.rejected ?? [];
    const leftOut = catalog.contribution(id)?.leftOut ?? [];
    return [...rejected, ...leftOut].map((rejection) => ({ registry: key.registry, ...rejection }));
  });
  const refused = [...service.unreachable, ...(projection.rejected().get(host) ?? [])].map((rejection) => ({
    registry: '',
    ...rejection,
  }));
  return {
    ...service,
    gone: service.origins.length === 0,
    absent: [...absent, ...refused],
    unused: service.origins.flatMap((key) => catalog.contribution(serviceId(key))?.unused ?? []),
    notes: service.origins.flatMap(({ registry, ...key }) => {
      const notes = catalog.view(registry)?.services.get(serviceId({ registry, ...key }))?.notes ?? [];
      return notes.map((note) => ({ registry, ...note }));
    }),
  };
}

/** How the ways into Istio are doing. */
export interface DoorsReport {
  readonly listeners: readonly ListenerStatus[];
  /** Undefined if there is none, as for the next. */
  readonly kubernetes: KubernetesStatus | undefined;
  readonly files: FilesStatus | undefined;
}

export function doorsReport({ listeners, kubernetes, files }: Parts): DoorsReport {
  return {
    listeners: listeners.map((listener) => listener.status()),
    kubernetes: kubernetes?.status(),
    files: files?.status(),
  };
}

/** The xDS clients of all listeners. */
export function clients({ listeners }: Parts): ClientState[] {
  return listeners.flatMap((listener) => listener.clients());
}

/** One Istio resource as sinks show it, without its content. */
export interface ResourceReport {
  readonly type: string;
  /** `namespace/name`. */
  readonly name: string;
  readonly version: string;
  /** Chooses the shard: modulo the number of shards. */
  readonly bucket: number;
  /** For the conditions of sinks. */
  readonly mesh: MeshScope;
  /** Addresses of the endpoints of its host. */
  readonly addresses: readonly string[];
}

/** Every Istio resource that the registries yield; which sink shows which is the configuration's. */
export function resourceReports({ catalog, projection }: Parts): ResourceReport[] {
  return projection.encoded().map(({ type, name, version, bucket, mesh }) => {
    const endpoints = catalog.services.get(mesh.host)?.endpoints ?? [];
    return { type, name, version, bucket, mesh, addresses: endpoints.map(({ address }) => address) };
  });
}
