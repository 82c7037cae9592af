import { parseAddress } from '#model/address.js';
import type { Metadata } from '#model/service.js';
import { type Placed, type PublishedInstance, type PublishedService, placeOf } from '#publish/contract.js';
import { markOf } from '#publish/mark.js';
import { groupedName, type ServiceName } from './api.js';
import type { Standing, WrittenInstance } from './target-http.js';
import type { InstanceKind, TargetSettings } from './target-schema.js';

/** Servers take no more in an instance's metadata, keys and values together. */
const mostMetadata = 1_024;
const mostWeight = 10_000;

/** What a service's cluster holds, by place. */
export interface Look {
  readonly kind: InstanceKind | undefined;
  readonly ours: ReadonlyMap<string, Placed>;
  /** Why what stands there is not ours. */
  readonly others: ReadonlyMap<string, string>;
}

/**
 * Sorts what stands in a cluster into ours and what is not.
 * @param idOf the id of one of ours, as a source reads it: not all lists have it
 */
export function lookAt(
  standing: readonly Standing[],
  cluster: string,
  owner: string,
  idOf: (instance: PublishedInstance) => string,
): Look {
  const ours = new Map<string, Placed>();
  const others = new Map<string, string>();
  for (const one of standing) {
    const address = addressOf(one.ip);
    const place = placeOf({ address, port: one.port });
    const metadata = one.metadata ?? {};
    const mark = markOf(metadata);
    if (mark?.owner !== owner) {
      const whose = mark === undefined ? 'it registered itself' : `the Pontoon "${mark.owner}" wrote it`;
      others.set(place, `Nacos has an instance at this address and port already: ${whose}`);
      continue;
    }
    const { port, weight } = one;
    const instance = {
      address,
      port,
      isUp: weight > 0,
      weight,
      locality: undefined,
      metadata: { cluster, ...metadata },
    };
    ours.set(place, { id: idOf(instance), instance });
  }
  const [first] = standing;
  return { kind: first && (first.ephemeral ? 'ephemeral' : 'persistent'), ours, others };
}

/** As a source reads it back. Clients take no instance of weight 0 and still see it, and so do sources; nobody sees a disabled one. */
export function asRead(
  instance: PublishedInstance,
  { settings }: PublishedService<TargetSettings>,
  kind: InstanceKind,
): PublishedInstance {
  const metadata = { cluster: settings.cluster, ...metadataOf(instance, settings, kind) };
  return { ...instance, weight: weightOf(instance), metadata };
}

/** As it is registered. */
export function asWritten(
  instance: PublishedInstance,
  service: PublishedService<TargetSettings>,
  kind: InstanceKind,
): WrittenInstance {
  const metadata = metadataOf(instance, service.settings, kind);
  return { ...nameOfInstance(instance, service, kind), weight: weightOf(instance), metadata };
}

export function nameOfInstance(
  { address, port }: PublishedInstance,
  service: PublishedService<TargetSettings>,
  kind: InstanceKind,
) {
  return { service: nameOf(service), cluster: service.settings.cluster, ip: address, port, kind };
}

export function nameOf({ key: { namespace, group, name } }: Pick<PublishedService, 'key'>): ServiceName {
  return { namespace, group, name };
}

/** The id that servers of 1.x and 2.x make up, and we do over gRPC; and what a source takes for one where there is none. */
export function instanceId(
  { address, port }: PublishedInstance,
  service: PublishedService<TargetSettings>,
  hasIds: boolean,
): string {
  const short = `${address}#${port}#${service.settings.cluster}`;
  return hasIds ? `${short}#${groupedName(nameOf(service))}` : short;
}

/** Why a server would not take an instance, and all others of its batch with it. */
export function faultOf({ weight, metadata }: WrittenInstance): string | undefined {
  const length = Object.entries(metadata).reduce((sum, [key, value]) => sum + key.length + value.length, 0);
  if (length > mostMetadata)
    return `its metadata has ${length} characters, and Nacos takes ${mostMetadata} at most (leave some out with metadata.drop)`;
  if (weight > mostWeight) return `its weight is ${weight}, and Nacos takes ${mostWeight} at most`;
  return undefined;
}

const interval = 'preserved.heart.beat.interval';
const timeout = 'preserved.heart.beat.timeout';
const deleteTimeout = 'preserved.ip.delete.timeout';
const beatKeys = new Set([interval, timeout, deleteTimeout]);

function weightOf({ isUp, weight }: PublishedInstance): number {
  return isUp ? weight : 0;
}

/** Its own, with the times by which servers count. Those of the instance that it stands for say nothing here. */
function metadataOf(instance: PublishedInstance, { api, beatInterval }: TargetSettings, kind: InstanceKind): Metadata {
  const own = Object.fromEntries(Object.entries(instance.metadata).filter(([key]) => !beatKeys.has(key)));
  return kind === 'ephemeral' && api === 'http' ? { ...own, ...beatMetadata(beatInterval) } : own;
}

/** What servers go by. They count from the last beat: ms until an instance is unhealthy, and until it goes. */
function beatMetadata(beatInterval: number): Metadata {
  return { [interval]: `${beatInterval}`, [timeout]: `${3 * beatInterval}`, [deleteTimeout]: `${6 * beatInterval}` };
}

/** What cannot be dialled stands there all the same. */
function addressOf(ip: string): string {
  try {
    return parseAddress(ip).text;
  } catch {
    return ip;
  }
}
