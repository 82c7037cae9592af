import { parseAddress, parsePort, short } from '#model/address.js';
import type { Instance, Metadata, RegistryService, Rejection, ServiceKey } from '#model/service.js';
import { isObject, type JsonObject } from '#sources/json.js';

/** What Consul's JSON means. */

/** A check that does not pass, as the list of them names it. */
export interface FailingCheck {
  /** Identifies the check and its status. */
  readonly id: string;
  readonly node: string;
  /** Empty for a check of the node itself. */
  readonly service: string;
}

export function serviceKey(registry: string, name: string): ServiceKey {
  return { registry, namespace: '', group: '', name, version: '' };
}

/** The names in an answer to `/v1/catalog/services`. @throws Error if it is none */
export function decodeNames(body: unknown): string[] {
  if (!isObject(body)) throw new Error(`the answer is no map of services: ${preview(body)}`);
  return Object.keys(body);
}

/** An answer to `/v1/health/state/any`. @throws Error if it is none */
export function decodeFailingChecks(body: unknown): FailingCheck[] {
  return listOf(body, 'checks').map((check) => {
    if (!isObject(check)) throw new Error(`not a check: ${preview(check)}`);
    const [node, service] = [text(check.Node), text(check.ServiceName)];
    return { id: [node, service, text(check.CheckID), text(check.Status)].join('\n'), node, service };
  });
}

/**
 * An answer to `/v1/health/service/<name>`. Proxies and gateways of Consul's own mesh are left out; undefined if there is nothing else.
 * @throws Error if it is no such answer
 */
export function decodeService(key: ServiceKey, body: unknown): RegistryService | undefined {
  const entries = listOf(body, 'instances');
  const instances: Instance[] = [];
  const rejected: Rejection[] = [];
  let proxies = 0;
  for (const [index, entry] of entries.entries()) {
    const service = isObject(entry) ? entry.Service : undefined;
    if (!isObject(entry) || !isObject(service)) {
      rejected.push({ record: `#${index}`, reason: 'not an object with a Service' });
      continue;
    }
    if (text(service.Kind) !== '') {
      proxies++;
      continue;
    }
    const node = isObject(entry.Node) ? entry.Node : {};
    const id = `${text(node.Node)}/${text(service.ID)}`;
    try {
      instances.push(decodeInstance(id, node, service, entry.Checks));
    } catch (error) {
      rejected.push({ record: id, reason: (error as Error).message });
    }
  }
  if (proxies > 0 && proxies === entries.length) return undefined;
  // In an order of our own, so that an answer in another order is no change.
  instances.sort((a, b) => (a.id < b.id ? -1 : 1));
  rejected.sort((a, b) => (a.record < b.record ? -1 : 1));
  return { key, kind: 'consul', ports: [], metadata: {}, instances, rejected, consumers: [] };
}

function decodeInstance(id: string, node: JsonObject, service: JsonObject, checks: unknown): Instance {
  const status = statusOf(listOf(checks ?? [], 'checks'));
  const meta = metaOf(service.Meta);
  const locality = isObject(service.Locality) ? service.Locality : isObject(node.Locality) ? node.Locality : {};
  const [region, zone] = [text(locality.Region), text(locality.Zone)];
  const tags = Array.isArray(service.Tags) ? service.Tags.map(String) : [];
  return {
    id,
    address: parseAddress(text(service.Address) || text(node.Address)).text,
    ports: [{ name: '', protocol: 'http', number: parsePort(service.Port ?? 0) }],
    status,
    weight: weightOf(service.Weights, status),
    zone: meta.zone || zone,
    locality: region === '' ? undefined : zone === '' ? region : `${region}/${zone}`,
    network: undefined,
    metadata: {
      ...meta,
      ...(tags.length === 0 ? {} : { tags: tags.join(',') }),
      ...(text(node.Datacenter) === '' ? {} : { datacenter: text(node.Datacenter) }),
    },
    // Consul has indices, and no times.
    changedAt: 0,
  };
}

/** `maintenance` if the node or the instance is in it, else the worst check's status. */
function statusOf(checks: readonly unknown[]): string {
  const found = new Set<string>();
  for (const check of checks) {
    if (!isObject(check)) continue;
    const id = text(check.CheckID);
    if (id === '_node_maintenance' || id.startsWith('_service_maintenance:')) return 'maintenance';
    found.add(text(check.Status));
  }
  return ['critical', 'warning'].find((status) => found.has(status)) ?? 'passing';
}

/** Consul has one weight for an instance that passes and one for an instance with a warning. */
function weightOf(weights: unknown, status: string): number {
  const weight = isObject(weights) ? weights[status === 'warning' ? 'Warning' : 'Passing'] : undefined;
  return typeof weight === 'number' && weight >= 0 ? weight : 1;
}

function metaOf(raw: unknown): Metadata {
  if (!isObject(raw)) return {};
  return Object.fromEntries(Object.entries(raw).map(([key, value]) => [key, String(value)]));
}

function listOf(value: unknown, what: string): readonly unknown[] {
  if (Array.isArray(value)) return value;
  throw new Error(`the answer is no list of ${what}: ${preview(value)}`);
}

function text(value: unknown): string {
  return typeof value === 'string' ? value : '';
}

function preview(value: unknown): string {
  const found = Buffer.isBuffer(value)
    ? value.subarray(0, 200).toString()
    : typeof value === 'string'
      ? value
      : JSON.stringify(value);
  return short((found ?? 'nothing').replace(/\s+/g, ' '));
}
