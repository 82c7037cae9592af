import { short } from '#model/address.js';
import type { Instance, Metadata, RegistryService, Rejection, ServiceKey } from '#model/service.js';
import { isObject } from '#sources/json.js';
import { decodeInstance, kindOf, listOf, preview, type Reading, text } from './instance.js';

/** What Consul's JSON means. */

/** A check that does not pass, as the list of them names it. */
export interface FailingCheck {
  /** Identifies the check and its status. */
  readonly id: string;
  readonly node: string;
  /** Empty for a check of the node itself. */
  readonly service: string;
}

/** The names in an answer to `/v1/catalog/services`. @throws Error if it is none */
export function decodeNames(body: unknown): string[] {
  if (!isObject(body)) throw new Error(`the answer is no map of services: ${preview(body)}`);
  return Object.keys(body);
}

/** An answer to `/v1/catalog/datacenters`. @throws Error if it is none */
export function decodeTexts(body: unknown, what: string): string[] {
  return listOf(body, what).map((entry) => {
    if (typeof entry !== 'string' || entry === '') throw new Error(`not a name: ${preview(entry)}`);
    return entry;
  });
}

/** The names in an answer to `/v1/namespaces` or `/v1/partitions`. @throws Error if it is none */
export function decodeNamed(body: unknown, what: string): string[] {
  return decodeTexts(
    listOf(body, what).map((entry) => (isObject(entry) ? entry.Name : entry)),
    what,
  );
}

/** The data centre in an answer to `/v1/catalog/service/consul`; undefined if it shows no server. @throws Error if it is none */
export function decodeDatacenter(body: unknown): string | undefined {
  const [server] = listOf(body, 'servers');
  return (isObject(server) && text(server.Datacenter)) || undefined;
}

/** An answer to `/v1/health/state/any`. @throws Error if it is none */
export function decodeFailingChecks(body: unknown): FailingCheck[] {
  return listOf(body, 'checks').map((check) => {
    if (!isObject(check)) throw new Error(`not a check: ${preview(check)}`);
    const [node, service] = [text(check.Node), text(check.ServiceName)];
    return { id: [node, service, text(check.CheckID), text(check.Status)].join('\n'), node, service };
  });
}

/** The whole catalog at one time, to be compared with itself at another. */
export interface Marks {
  /** For each service a text that is another one when anything of its instances is; what its checks put out is left aside. */
  readonly services: Map<string, string>;
  readonly instances: number;
}

/** An answer to `/v1/internal/ui/nodes`. @throws Error if it is none */
export function decodeMarks(body: unknown): Marks {
  const services = new Map<string, string>();
  let instances = 0;
  for (const node of listOf(body, 'nodes')) {
    if (!isObject(node)) throw new Error(`not a node: ${preview(node)}`);
    const statuses = new Map<string, string>();
    for (const check of listOf(node.Checks ?? [], 'checks').filter(isObject)) {
      const id = text(check.ServiceID);
      statuses.set(id, `${statuses.get(id) ?? ''} ${text(check.CheckID)} ${text(check.Status)}`);
    }
    const ofNode = [node.Node, node.Address, JSON.stringify(node.TaggedAddresses), statuses.get('')].join();
    for (const service of listOf(node.Services ?? [], 'services').filter(isObject)) {
      const { Service: name, ID, ModifyIndex } = service;
      if (typeof name !== 'string' || ModifyIndex === undefined) throw new Error(`not a service: ${preview(service)}`);
      const mark = [ofNode, ID, ModifyIndex, statuses.get(text(ID))].join();
      services.set(name, `${services.get(name) ?? ''}${mark}\n`);
      instances++;
    }
  }
  return { services, instances };
}

/**
 * An answer to `/v1/health/service/<name>`. Instances of a kind that is not wanted are left out; undefined if there is nothing else.
 * @param metadata what is known of the service by where it is
 * @throws Error if it is no such answer
 */
export function decodeService(
  key: ServiceKey,
  metadata: Metadata,
  body: unknown,
  reading: Reading,
): RegistryService | undefined {
  const entries = listOf(body, 'instances');
  const instances: Instance[] = [];
  const rejected: Rejection[] = [];
  let others = 0;
  for (const [index, entry] of entries.entries()) {
    const service = isObject(entry) ? entry.Service : undefined;
    if (!isObject(entry) || !isObject(service)) {
      rejected.push({ record: `#${index}`, reason: `not an object with a Service: ${short(preview(entry))}` });
      continue;
    }
    if (!reading.kinds.has(kindOf(service))) {
      others++;
      continue;
    }
    const node = isObject(entry.Node) ? entry.Node : {};
    const id = `${text(node.Node)}/${text(service.ID)}`;
    try {
      instances.push(decodeInstance(id, node, service, entry.Checks, reading));
    } catch (error) {
      rejected.push({ record: id, reason: (error as Error).message });
    }
  }
  if (others > 0 && others === entries.length) return undefined;
  // In an order of our own, so that an answer in another order is no change.
  instances.sort((a, b) => (a.id < b.id ? -1 : 1));
  rejected.sort((a, b) => (a.record < b.record ? -1 : 1));
  return { key, kind: 'consul', ports: [], metadata, instances, rejected, consumers: [] };
}
