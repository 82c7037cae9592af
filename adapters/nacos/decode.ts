import { parseAddress, parsePort, short } from '#model/address.js';
import { compareText } from '#model/mesh.js';
import { reasonOf } from '#model/reason.js';
import type { Instance, Metadata, RegistryService, Rejection, ServiceKey } from '#model/service.js';
import { isObject } from '#sources/json.js';
import { dubboName } from './dubbo-records.js';

/**
 * Reads what Nacos says of one service: the ServiceInfo of a gRPC answer or push, or the answer of `/v1/ns/instance/list`. An instance that
 * cannot be used is rejected and never drops the others. Weights stay in Nacos's scale (1 is as any other, 0 takes out). Instances are in the
 * order of their ids, so that equal contents are equal values.
 * @param clusters those whose instances are wanted; undefined for all
 * @throws Error if it is no such answer: not an object, or without a list of hosts
 */
export function decodeService(key: ServiceKey, info: unknown, clusters?: readonly string[]): RegistryService {
  const hosts = isObject(info) ? info.hosts : undefined;
  if (!isObject(info) || !Array.isArray(hosts))
    throw new Error(`expected a service with its list of hosts, found ${short(JSON.stringify(info) ?? 'nothing')}`);
  const rejected: Rejection[] = [];
  const byEndpoint = new Map<string, Instance>();
  // Dubbo's consumers register port 0.
  const portOf = dubboName(key.name)?.category === 'consumers' ? () => 0 : parsePort;
  hosts.forEach((host: unknown, index) => {
    try {
      if (clusters !== undefined && isObject(host) && !clusters.includes(clusterOf(host) || 'DEFAULT')) return;
      const instance = decodeInstance(host, portOf);
      const endpoint = `${instance.address} ${instance.ports[0]?.number}`;
      const other = byEndpoint.get(endpoint);
      // One address and port may stand in two clusters, and is one endpoint all the same.
      const [kept, dropped] = other !== undefined && isBetter(other, instance) ? [other, instance] : [instance, other];
      byEndpoint.set(endpoint, kept);
      if (dropped !== undefined)
        rejected.push({ record: dropped.id, reason: `has the same address and port as ${kept.id}` });
    } catch (error) {
      rejected.push({ record: recordOf(host, index), reason: reasonOf(error) });
    }
  });
  return {
    key,
    kind: 'nacos',
    ports: [],
    metadata: {},
    instances: [...byEndpoint.values()].sort((a, b) => compareText(a.id, b.id)),
    rejected: rejected.sort((a, b) => compareText(a.record, b.record)),
    ...(info.reachProtectionThreshold === true ? { notes: [{ record: key.name, text: protection }] } : {}),
    consumers: [],
  };
}

const protection =
  'fewer of its instances are healthy than its protect threshold wants: Nacos gives all of them as healthy, and nothing tells which are sick';

function clusterOf({ clusterName }: Readonly<Record<string, unknown>>): string {
  return typeof clusterName === 'string' ? clusterName : '';
}

/** @throws Error that says what is wrong with it */
function decodeInstance(host: unknown, portOf: (value: unknown) => number): Instance {
  if (!isObject(host)) throw new Error(`expected an instance, found ${short(JSON.stringify(host))}`);
  if (typeof host.ip !== 'string') throw new Error(`ip is ${short(JSON.stringify(host.ip) ?? 'missing')}`);
  const address = parseAddress(host.ip).text;
  const number = portOf(host.port);
  const weight = host.weight ?? 1;
  if (typeof weight !== 'number' || !Number.isFinite(weight) || weight < 0)
    throw new Error(`weight ${short(JSON.stringify(weight))} is not a number from 0 on`);
  const cluster = clusterOf(host);
  const metadata = decodeMetadata(host.metadata, cluster);
  return {
    id:
      typeof host.instanceId === 'string' && host.instanceId !== ''
        ? host.instanceId
        : `${address}#${number}#${cluster}`,
    address,
    ports: [{ name: '', protocol: 'http', number }],
    status: host.enabled === false ? 'disabled' : host.healthy === false ? 'unhealthy' : 'healthy',
    weight,
    zone: metadata.zone ?? '',
    locality: undefined,
    network: undefined,
    metadata,
    changedAt: 0,
  };
}

/** Nacos's clients send strings only; others are read as text. The cluster has no place of its own in the model. */
function decodeMetadata(metadata: unknown, cluster: string): Metadata {
  const pairs = isObject(metadata) ? Object.entries(metadata) : [];
  const texts = pairs
    .filter(([, value]) => value !== null)
    .map(([name, value]) => [name, typeof value === 'string' ? value : JSON.stringify(value)] as const);
  return { ...(cluster === '' ? {} : { cluster }), ...Object.fromEntries(texts) };
}

/** Which of two records for one endpoint counts: the one that may be called. Of two alike the smaller id, whatever the order in which they come. */
function isBetter(one: Instance, other: Instance): boolean {
  return rank(one) === rank(other) ? one.id < other.id : rank(one) > rank(other);
}

function rank({ status }: Instance): number {
  return ['disabled', 'unhealthy', 'healthy'].indexOf(status);
}

function recordOf(host: unknown, index: number): string {
  if (isObject(host)) {
    if (typeof host.instanceId === 'string' && host.instanceId !== '') return short(host.instanceId);
    if (typeof host.ip === 'string') return short(`${host.ip}:${host.port}`);
  }
  return `host ${index}`;
}
