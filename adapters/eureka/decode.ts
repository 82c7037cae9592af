import { parseAddress, parsePort, short } from '#model/address.js';
import type { Protocol } from '#model/protocol.js';
import { reasonOf } from '#model/reason.js';
import type { Instance, InstancePort, Metadata } from '#model/service.js';
import { isObject, type JsonObject } from '#sources/json.js';

/**
 * What Eureka's JSON means. Servers of different ages write the same things differently: a list of one as an object, numbers and
 * booleans as strings.
 */

/** One lease as an answer says it. */
export interface EurekaLease {
  /** Unique within its application. */
  readonly id: string;
  /** The server's own word, which its hash code counts. See {@link effectiveStatus} for what it means. */
  readonly status: string;
  /** Whether a delta says that the lease is gone. */
  readonly deleted: boolean;
  readonly names: LeaseNames;
  /** When its server took it in as up, by that server's clock: each server has its own, which a registration that only renews leaves as it is. 0 if unknown. */
  readonly upSince: number;
  /** When the instance last changed what it says, by its own clock: the same on all servers, and new with each registration. 0 if unknown. */
  readonly saidAt: number;
  /** What people should know of it although it is used. */
  readonly notes: readonly string[];
  /** What can be used of it, or the reason why nothing can. */
  readonly content: Instance | string;
}

/** The names under which clients look an instance up beside its application's; empty where it has none. */
export interface LeaseNames {
  /** Virtual host names for its plain port, separated by commas. */
  readonly vipAddress: string;
  /** Virtual host names for its secure port, separated by commas. */
  readonly secureVipAddress: string;
  readonly appGroupName: string;
}

/** One application, or a part of it: a big one is read in several parts. */
export interface EurekaApplication {
  /** As Eureka says it: upper case. */
  readonly name: string;
  readonly leases: readonly EurekaLease[];
}

/** The outer shape of an answer to `/apps` and `/apps/delta`; its applications are still as they came. */
export interface EurekaDocument {
  /** The server's count by status, such as `DOWN_1_UP_4_`; of all it holds, also in a delta. */
  readonly hashCode: string;
  readonly applications: readonly unknown[];
}

/** @throws Error if it is not an answer to `/apps` or `/apps/delta` */
export function decodeDocument(json: unknown): EurekaDocument {
  const outer = isObject(json) ? json.applications : undefined;
  if (!isObject(outer) || typeof outer.apps__hashcode !== 'string')
    throw new Error(`not a Eureka answer (no applications with apps__hashcode): ${short(JSON.stringify(json) ?? '')}`);
  return { hashCode: outer.apps__hashcode, applications: listOf(outer.application) };
}

/**
 * Decodes applications in parts of at most `size` leases, so that neither thread works on one for long.
 * @throws Error at an application that has no name or whose leases are no list: the whole answer is not to be trusted then
 */
export function* decodeInParts(applications: readonly unknown[], size: number): Generator<EurekaApplication[]> {
  let part: EurekaApplication[] = [];
  let count = 0;
  for (const raw of applications) {
    const name = isObject(raw) ? text(raw.name) : '';
    if (!isObject(raw) || name === '')
      throw new Error(`an application without a name: ${short(JSON.stringify(raw) ?? '')}`);
    const instances = listOf(raw.instance);
    for (let start = 0; start < instances.length; ) {
      const leases = instances
        .slice(start, start + size - count)
        .map((each, place) => decodeLease(each, start + place));
      part.push({ name, leases });
      start += leases.length;
      count += leases.length;
      if (count < size) continue;
      yield part;
      part = [];
      count = 0;
    }
  }
  if (part.length > 0) yield part;
}

/** Decodes one lease. What is wrong with it is said in its content. @param index its place in the list, to name it if it has no id */
export function decodeLease(raw: unknown, index: number): EurekaLease {
  if (!isObject(raw))
    return {
      id: `#${index}`,
      status: 'UNKNOWN',
      deleted: false,
      names: namesOf({}),
      upSince: 0,
      saidAt: 0,
      notes: [],
      content: 'not an object',
    };
  const id = idOf(raw) || `#${index}`;
  const status = text(raw.status) || 'UNKNOWN';
  const { serviceUpTimestamp } = isObject(raw.leaseInfo) ? raw.leaseInfo : {};
  const lease = {
    id,
    status,
    deleted: raw.actionType === 'DELETED',
    names: namesOf(raw),
    upSince: Number(serviceUpTimestamp) || 0,
    saidAt: Number(raw.lastDirtyTimestamp) || 0,
  };
  const notes: string[] = [];
  try {
    return { ...lease, notes, content: decodeInstance(raw, id, status, (text) => notes.push(text)) };
  } catch (error) {
    return { ...lease, notes: [], content: reasonOf(error) };
  }
}

function namesOf(raw: JsonObject): LeaseNames {
  // UNKNOWN is what Netflix's clients send when nothing is configured.
  const group = text(raw.appGroupName);
  return {
    vipAddress: text(raw.vipAddress),
    secureVipAddress: text(raw.secureVipAddress),
    appGroupName: group === 'UNKNOWN' ? '' : group,
  };
}

function decodeInstance(raw: JsonObject, id: string, status: string, note: (text: string) => void): Instance {
  const metadata = metadataOf(raw.metadata);
  const amazonZone = dataCentreValue(raw, 'availability-zone');
  return {
    id,
    address: addressOf(raw, note),
    ports: portsOf(raw, note),
    status: effectiveStatus(status, text(raw.overriddenStatus) || text(raw.overriddenstatus)),
    weight: 1,
    zone: metadata.zone || amazonZone,
    locality: metadata.zone ? undefined : amazonLocality(amazonZone),
    network: undefined,
    metadata,
    changedAt: Number(raw.lastUpdatedTimestamp) || 0,
  };
}

/**
 * A server has already put an override into the status, except where the application itself says that it is not up, and except for
 * moments in which one peer knows the lease and not yet its override. So an override only ever takes an instance out.
 */
export function effectiveStatus(status: string, override: string): string {
  return status === 'UP' && override !== '' && override !== 'UNKNOWN' ? override : status;
}

/** Eureka's own rule: the instance id, else the data centre's, else the host name. */
function idOf(raw: JsonObject): string {
  return text(raw.instanceId) || dataCentreValue(raw, 'instance-id') || text(raw.hostName);
}

/** The IP address; where there is none that can be dialled, the host name. */
function addressOf(raw: JsonObject, note: (text: string) => void): string {
  const [ip, host] = [text(raw.ipAddr), text(raw.hostName)];
  try {
    return parseAddress(ip).text;
  } catch (error) {
    if (host === '') throw error;
    const { text: address } = parseAddress(host);
    if (ip !== '') note(`${reasonOf(error)}; its host name ${address} is used`);
    return address;
  }
}

/** `us-east-1c` is a zone of the region `us-east-1`: the same words as in the labels of Kubernetes nodes there. */
function amazonLocality(zone: string): string | undefined {
  const [, region] = /^([a-z]+(?:-[a-z]+)+-\d+)[a-z]$/.exec(zone) ?? [];
  return region === undefined ? undefined : `${region}/${zone}`;
}

function portsOf(raw: JsonObject, note: (text: string) => void): InstancePort[] {
  const ports: InstancePort[] = [];
  const reasons: string[] = [];
  const candidates: [unknown, Protocol][] = [
    [raw.port, 'http'],
    [raw.securePort, 'https'],
  ];
  for (const [port, protocol] of candidates) {
    const number = enabledPort(port);
    if (number === undefined) continue;
    try {
      ports.push({ name: '', protocol, number: parsePort(number) });
    } catch (error) {
      reasons.push((error as Error).message);
    }
  }
  if (ports.length === 0) throw new Error(reasons[0] ?? 'no enabled port');
  for (const reason of reasons) note(`${reason}; its other port is used`);
  return ports;
}

/** `{"$": 9001, "@enabled": "true"}`, or the number alone; undefined if there is none or it is disabled. */
function enabledPort(port: unknown): unknown {
  if (!isObject(port)) return port ?? undefined;
  return String(port['@enabled']) === 'true' ? (port.$ ?? null) : undefined;
}

function metadataOf(raw: unknown): Metadata {
  if (!isObject(raw)) return {};
  // `@class` is how older servers write an empty map.
  return Object.fromEntries(
    Object.entries(raw)
      .filter(([key, value]) => key !== '@class' && value !== null)
      .map(([key, value]) => [key, typeof value === 'string' ? value : JSON.stringify(value)]),
  );
}

function dataCentreValue(raw: JsonObject, key: string): string {
  const metadata = isObject(raw.dataCenterInfo) ? raw.dataCenterInfo.metadata : undefined;
  return isObject(metadata) ? text(metadata[key]) : '';
}

function text(value: unknown): string {
  return typeof value === 'string' ? value : typeof value === 'number' ? String(value) : '';
}

/** A list of one comes as an object and an empty list not at all, from older servers. @throws Error if it is neither */
function listOf(value: unknown): readonly unknown[] {
  if (Array.isArray(value)) return value;
  if (value === undefined || value === null) return [];
  if (isObject(value)) return [value];
  throw new Error(`expected a list, found ${short(JSON.stringify(value))}`);
}
