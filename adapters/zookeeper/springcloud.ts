import { z } from 'zod';
import { parseAddress, parsePort, short } from '#model/address.js';
import { compareText } from '#model/mesh.js';
import { type Protocol, parseProtocol } from '#model/protocol.js';
import { reasonOf } from '#model/reason.js';
import type { Instance, InstancePort, Metadata, Note, RegistryService, Rejection, ServiceKey } from '#model/service.js';
import { isObject } from '#sources/json.js';

/** What a znode of Spring Cloud says: Curator's ServiceInstance, whose payload holds the application's metadata. */
export type SpringInstance = z.output<typeof springInstance>;

/** A part of the template that the instance's URI is made of: text as it is, or the name of a variable. */
const uriPart = z.object({ value: z.string(), variable: z.boolean() });

const springInstance = z.object({
  id: z.string(),
  address: z.string().nullish(),
  port: z.number().nullish(),
  sslPort: z.number().nullish(),
  registrationTimeUTC: z.number().nullish(),
  enabled: z.boolean().nullish(),
  payload: z.unknown().optional().transform(metadataOf),
  uriSpec: z.object({ parts: z.array(uriPart) }).nullish(),
});

/** What one znode below a service's is to Spring Cloud: an instance, a record that is none, or somebody else's. */
export type SpringEntry =
  | { readonly kind: 'spring-cloud'; readonly instance: SpringInstance }
  | { readonly kind: 'malformed'; readonly reason: string }
  | { readonly kind: 'dubbo' | 'folder' };

/** Reads the data of an instance's znode. @throws Error that says what is wrong with it */
export function parseSpringInstance(json: string): SpringInstance {
  let document: unknown;
  try {
    document = JSON.parse(json);
  } catch {
    throw new Error(`its data is not JSON: "${short(json)}"`);
  }
  const found = springInstance.safeParse(document);
  if (!found.success) throw new Error(z.prettifyError(found.error).replaceAll('\n', ' '));
  return found.data;
}

/**
 * Makes a service of what lies below its znode.
 * @param known whether it has been a Spring Cloud service before: then it is one without instances, too
 * @returns undefined if it is none: nothing but Dubbo's instances, or no instance at all
 */
export function springService(
  key: ServiceKey,
  entries: ReadonlyMap<string, SpringEntry>,
  known: boolean,
): RegistryService | undefined {
  const instances: Instance[] = [];
  const rejected: Rejection[] = [];
  const notes: Note[] = [];
  const kinds = new Set([...entries.values()].map(({ kind }) => kind));
  for (const [record, entry] of [...entries].sort(([a], [b]) => compareText(a, b))) {
    // Beside Dubbo's instances only, a malformed record is taken for one of Dubbo's.
    if (entry.kind === 'malformed' && (kinds.has('spring-cloud') || !kinds.has('dubbo')))
      rejected.push({ record, reason: entry.reason });
    if (entry.kind !== 'spring-cloud') continue;
    try {
      instances.push(readSpringInstance(record, entry.instance));
      const text = uriNote(entry.instance);
      if (text !== undefined) notes.push({ record, text });
    } catch (error) {
      rejected.push({ record, reason: reasonOf(error) });
    }
  }
  if (instances.length + rejected.length === 0 && !known) return undefined;
  return { key, kind: 'spring-cloud', ports: [], metadata: {}, instances, rejected, notes, consumers: [] };
}

/** @throws Error that says why it is no instance */
export function readSpringInstance(id: string, found: SpringInstance): Instance {
  const metadata = found.payload;
  return {
    id,
    address: parseAddress(found.address ?? '').text,
    ports: readPorts(found),
    status: found.enabled === false ? 'disabled' : (metadata.instance_status ?? 'UP'),
    weight: 1,
    zone: metadata.zone ?? '',
    locality: undefined,
    network: undefined,
    metadata,
    changedAt: found.registrationTimeUTC ?? 0,
  };
}

function readPorts(found: SpringInstance): InstancePort[] {
  const ports: InstancePort[] = [];
  if (found.port !== null && found.port !== undefined)
    ports.push({ name: '', protocol: readProtocol(found), number: parsePort(found.port) });
  if (found.sslPort !== null && found.sslPort !== undefined)
    ports.push({ name: '', protocol: 'https', number: parsePort(found.sslPort) });
  if (ports.length === 0) throw new Error('neither port nor sslPort');
  return ports;
}

/** What its metadata says, else a scheme that its URI names in so many words, else HTTP. */
function readProtocol({ payload, uriSpec }: SpringInstance): Protocol {
  const first = uriSpec?.parts[0];
  const scheme = first === undefined || first.variable ? '' : first.value.replace(/:.*$/s, '');
  return parseProtocol(payload.protocol ?? '') ?? parseProtocol(scheme) ?? 'http';
}

/** A URI with a path: a mesh dials address and port only. */
function uriNote({ uriSpec }: SpringInstance): string | undefined {
  const text = uriSpec?.parts.map(({ value, variable }) => (variable ? `{${value}}` : value)).join('');
  const path = text === undefined ? undefined : /^[^:]*:\/\/[^/]*(\/.+)$/s.exec(text)?.[1];
  if (path === undefined) return undefined;
  return `its URI has the path ${short(path)}, which callers through the mesh have to add themselves`;
}

function metadataOf(payload: unknown): Metadata {
  const metadata = isObject(payload) ? payload.metadata : undefined;
  if (!isObject(metadata)) return {};
  return Object.fromEntries(
    Object.entries(metadata)
      .filter(([, value]) => value !== null)
      .map(([key, value]) => [key, typeof value === 'string' ? value : JSON.stringify(value)]),
  );
}
