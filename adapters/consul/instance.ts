import { nameFilter } from '#config/fields.js';
import { parseAddress, parsePort, short } from '#model/address.js';
import type { Instance, Metadata } from '#model/service.js';
import { isObject, type JsonObject } from '#sources/json.js';
import type { ConsulConfig } from './schema.js';

/** What one instance of Consul's means. */

/** How the configuration wants instances to be read. */
export interface Reading {
  readonly kinds: ReadonlySet<string>;
  readonly addresses: readonly string[];
  /** Whether a check says something about the status of its instance. */
  readonly counts: (check: JsonObject) => boolean;
}

export function readingOf({ kinds, addresses, checks }: Pick<ConsulConfig, 'kinds' | 'addresses' | 'checks'>): Reading {
  const included = nameFilter(checks.include, undefined);
  const excluded = checks.exclude === undefined ? () => false : nameFilter(checks.exclude, undefined);
  const counts = (check: JsonObject): boolean => {
    if (!checks.nodes && text(check.ServiceID) === '') return false;
    const names = [text(check.CheckID), text(check.Name)];
    return names.some(included) && !names.some(excluded);
  };
  return { kinds: new Set(kinds), addresses, counts };
}

/** `service`, or which part of Consul's own mesh it is. */
export function kindOf(service: JsonObject): string {
  return text(service.Kind) || 'service';
}

/** @throws Error with the reason if it cannot be dialled or read */
export function decodeInstance(
  id: string,
  node: JsonObject,
  service: JsonObject,
  checks: unknown,
  reading: Reading,
): Instance {
  const status = statusOf(listOf(checks ?? [], 'checks'), reading);
  const meta = metaOf(service.Meta);
  const locality = isObject(service.Locality) ? service.Locality : isObject(node.Locality) ? node.Locality : {};
  const [region, zone] = [text(locality.Region), text(locality.Zone)];
  const tags = Array.isArray(service.Tags) ? service.Tags.map(String) : [];
  const datacenter = text(node.Datacenter);
  const kind = kindOf(service);
  const { address, port } = placeOf(node, service, reading.addresses);
  return {
    id,
    address: parseAddress(address).text,
    // Consul's proxies and gateways speak its own TLS.
    ports: [{ name: '', protocol: kind === 'service' ? 'http' : 'tcp', number: parsePort(port) }],
    status,
    weight: weightOf(service.Weights, status),
    zone: meta.zone || zone || datacenter,
    locality: region === '' ? undefined : zone === '' ? region : `${region}/${zone}`,
    network: undefined,
    metadata: {
      ...meta,
      ...(tags.length === 0 ? {} : { tags: tags.join(',') }),
      ...(datacenter === '' ? {} : { datacenter }),
      ...(kind === 'service' ? {} : { kind }),
    },
    // Consul has indices, and no times.
    changedAt: 0,
  };
}

/** The first address of the wanted ones that is there. @throws Error that lists those that are */
function placeOf(node: JsonObject, service: JsonObject, wanted: readonly string[]): { address: string; port: unknown } {
  const port = service.Port ?? 0;
  const own = text(service.Address);
  const [ofService, ofNode] = [objectOf(service.TaggedAddresses), objectOf(node.TaggedAddresses)];
  for (const name of wanted) {
    const tagged = objectOf(ofService[name]);
    const [address, number] =
      name === 'service'
        ? [own, port]
        : name === 'node'
          ? [text(node.Address), port]
          : text(tagged.Address) !== ''
            ? [text(tagged.Address), tagged.Port || port]
            : // As Consul itself translates addresses: a node's stand for services that have none.
              [own === '' ? text(ofNode[name]) : '', port];
    if (address !== '') return { address, port: number };
  }
  const there = [
    ...Object.keys(ofService),
    ...(own === '' ? Object.keys(ofNode) : ['service']),
    ...(text(node.Address) === '' ? [] : ['node']),
  ];
  const found = there.length === 0 ? 'no address' : `has the addresses ${short([...new Set(there)].join(', '))}`;
  throw new Error(`${found}, expected one of ${wanted.join(', ')}: see addresses`);
}

/** `maintenance` if the node or the instance is in it, else the worst status of the checks that count. */
function statusOf(checks: readonly unknown[], { counts }: Reading): string {
  const found = new Set<string>();
  for (const check of checks) {
    if (!isObject(check)) continue;
    const id = text(check.CheckID);
    if (id === '_node_maintenance' || id.startsWith('_service_maintenance:')) return 'maintenance';
    if (counts(check)) found.add(text(check.Status));
  }
  return ['critical', 'warning'].find((status) => found.has(status)) ?? 'passing';
}

/** Consul has one weight for an instance that passes and one for an instance with a warning. */
function weightOf(weights: unknown, status: string): number {
  const weight = isObject(weights) ? weights[status === 'warning' ? 'Warning' : 'Passing'] : undefined;
  return typeof weight === 'number' && weight >= 0 ? weight : 1;
}

function metaOf(raw: unknown): Metadata {
  return Object.fromEntries(Object.entries(objectOf(raw)).map(([key, value]) => [key, String(value)]));
}

function objectOf(value: unknown): JsonObject {
  return isObject(value) ? value : {};
}

/** @throws Error that shows what is there instead of a list */
export function listOf(value: unknown, what: string): readonly unknown[] {
  if (Array.isArray(value)) return value;
  throw new Error(`the answer is no list of ${what}: ${preview(value)}`);
}

/** A text, or an empty one if it is none. */
export function text(value: unknown): string {
  return typeof value === 'string' ? value : '';
}

/** The beginning of what was found, for messages. */
export function preview(value: unknown): string {
  const found = Buffer.isBuffer(value)
    ? value.subarray(0, 200).toString()
    : typeof value === 'string'
      ? value
      : JSON.stringify(value);
  return short((found ?? 'nothing').replace(/\s+/g, ' '));
}
