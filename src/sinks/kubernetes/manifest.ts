import { createHash } from 'node:crypto';
import type { IstioResource } from '#istio/resource.js';
import { serviceEntrySpec } from '#istio/yaml.js';
import type { KubeObject } from '#kubernetes/collection.js';
import { compareText } from '#model/mesh.js';
import type { ServiceEntry } from '#proto/istio/networking.js';

const managedByLabel = 'app.kubernetes.io/managed-by';
const ownerLabel = 'pontoon.io/owner';
const registriesAnnotation = 'pontoon.io/registries';
/** The host that we wrote it for, whatever somebody makes of `spec.hosts`. */
const hostAnnotation = 'pontoon.io/host';
/** What istiod itself reads of an entry's labels. */
const revisionLabel = 'istio.io/rev';

/** What Istio's CRD takes at most. */
const MOST_ENDPOINTS = 4_096;
const MOST_PORTS = 128;
const MOST_ADDRESSES = 256;
/** Bytes: etcd takes 1.5 MiB, and the API server adds metadata. */
const MOST_BYTES = 1_300_000;
/** More entries than this are no way to hold one service. */
const MOST_PARTS = 64;
/** How full fewer parts may be than there are: a service that is about as big as an object holds is not spread anew with each instance. */
const ROOM = 0.9;

/** Whose objects they are, and what they are to look like. */
export interface ManifestOptions {
  /** `state.owner`: value of one of the labels that tell ours. */
  readonly owner: string;
  /** Our name for server-side apply, and the value of the other label. */
  readonly fieldManager: string;
  readonly oversized: 'split' | 'refuse';
}

/** An object as it shall be, without its API version. */
export interface Manifest {
  /** `namespace/name`. */
  readonly id: string;
  readonly namespace: string;
  readonly name: string;
  /** `spec.hosts`. */
  readonly hosts: readonly string[];
  readonly body: object;
  /** Of all that we say of it. */
  readonly hash: string;
  /** Bytes of that. */
  readonly size: number;
}

/** An entry that no object can hold. */
export interface Refused {
  /** `namespace/name`. */
  readonly id: string;
  readonly reason: string;
}

type Entry = IstioResource<'ServiceEntry'>;

/**
 * The objects for a ServiceEntry: one; of one that is too big for an object several, over which its endpoints are spread by the hash of their address, so that
 * each stays where it is. istiod joins the entries of one host in one namespace.
 * @param registries that hold the host, for people
 * @param ids of the objects that there are of the host
 */
export function manifests(
  resource: Entry,
  registries: readonly string[],
  options: ManifestOptions,
  ids: readonly string[] = [],
): readonly (Manifest | Refused)[] {
  const { body } = resource;
  const id = `${resource.namespace}/${resource.name}`;
  if (body.ports.length > MOST_PORTS)
    return [{ id, reason: `${body.ports.length} ports; an object holds ${MOST_PORTS} at most` }];
  if (body.addresses.length > MOST_ADDRESSES)
    return [{ id, reason: `${body.addresses.length} addresses; an object holds ${MOST_ADDRESSES} at most` }];
  const whole = manifest(resource, registries, options);
  const before = options.oversized === 'split' ? Math.max(1, ...ids.map((one) => partOf(id, one)?.of ?? 1)) : 1;
  if (fits(body, whole, before > 1)) return [whole];
  const size = `${body.endpoints.length} endpoints in ${whole.size} bytes; an object holds ${MOST_ENDPOINTS} in ${MOST_BYTES} at most`;
  if (options.oversized === 'refuse') return [{ id, reason: `${size}: set istio.kubernetes.oversized: split` }];
  for (let count = 2; count <= MOST_PARTS; count *= 2) {
    const parts = split(resource, count);
    const made = parts.map((part) => manifest(part, registries, options));
    if (!parts.every((part, index) => fits(part.body, made[index] as Manifest, count < before))) continue;
    const tooLong = parts.find(({ name }) => name.length > 253);
    if (tooLong === undefined) return made;
    return [{ id, reason: `${size}, and for the names of several its name is too long` }];
  }
  return [{ id, reason: `${size}, and ${MOST_PARTS} of them are not enough` }];
}

/** Names of their own, all of them: while one entry becomes several, what was there stays until they are. */
function split(resource: Entry, count: number): Entry[] {
  const endpoints: ServiceEntry['endpoints'][] = Array.from({ length: count }, () => []);
  for (const endpoint of resource.body.endpoints) endpoints[part(endpoint.address, count)]?.push(endpoint);
  const mark = createHash('sha256').update(resource.name).digest('hex').slice(0, 8);
  return endpoints.map((own, index) => ({
    ...resource,
    name: `${resource.name}.part-${index + 1}-of-${count}-${mark}`,
    body: { ...resource.body, endpoints: own },
  }));
}

/** By the address alone: endpoints that share one know of each other. */
function part(address: string, count: number): number {
  return createHash('sha256').update(address).digest().readUInt32BE() % count;
}

/** @param withRoom for some more */
function fits({ endpoints }: ServiceEntry, { size }: Manifest, withRoom: boolean): boolean {
  const share = withRoom ? ROOM : 1;
  return endpoints.length <= MOST_ENDPOINTS * share && size <= MOST_BYTES * share;
}

/** Which part of how many an object is of an entry `namespace/name`; undefined if it is none. */
function partOf(id: string, object: string): { readonly part: number; readonly of: number } | undefined {
  if (!object.startsWith(`${id}.part-`)) return undefined;
  const [, part, of] = /^part-(\d+)-of-(\d+)-[0-9a-f]{8}$/.exec(object.slice(id.length + 1)) ?? [];
  return part === undefined ? undefined : { part: Number(part), of: Number(of) };
}

/** Whether these objects of a host hold an entry `namespace/name`: as one, or in all of its parts. */
export function isHeldBy(id: string, ids: readonly string[]): boolean {
  if (ids.includes(id)) return true;
  const parts = ids.flatMap((one) => partOf(id, one) ?? []);
  return parts.some(({ of }) => parts.filter((one) => one.of === of).length === of);
}

function manifest(
  { namespace, name, type, host, labels, body }: Entry,
  registries: readonly string[],
  options: ManifestOptions,
): Manifest {
  const metadata = {
    name,
    namespace,
    labels: { ...labels, [managedByLabel]: options.fieldManager, [ownerLabel]: options.owner },
    annotations: { [hostAnnotation]: host, [registriesAnnotation]: registries.join(',') },
  };
  // Lists are written also when they are empty: what is not said is not ours, and others could fill it in.
  const spec = { addresses: [], exportTo: [], endpoints: [], ...serviceEntrySpec(body) };
  const object = { kind: type, metadata, spec };
  const said = content(object);
  const size = Buffer.byteLength(said);
  const { hosts } = body;
  return { id: `${namespace}/${name}`, namespace, name, hosts, body: object, hash: hashOf(said), size };
}

/** A ServiceEntry as the API server shows it. */
interface SeenObject extends KubeObject {
  readonly metadata: NonNullable<KubeObject['metadata']> & {
    readonly uid?: string;
    readonly managedFields?: readonly { readonly manager?: string }[];
  };
  readonly spec?: Readonly<Record<string, unknown>>;
}

/** What is remembered of an object in the API. */
export interface Seen {
  /** `namespace/name`. */
  readonly id: string;
  /** That we wrote it for, if it is ours; else the first that it names. */
  readonly host: string;
  /** Whether it is ours, and names another host than we wrote. */
  readonly isMoved: boolean;
  readonly uid: string;
  readonly resourceVersion: string;
  readonly isOurs: boolean;
  /** Whose it is, if it is not ours: for people. */
  readonly manager: string;
  /** Of all that we would say of it; other fields are others' matter. */
  readonly hash: string;
}

/** Takes of an object what has to be known of it. */
export function seen(object: KubeObject, { owner, fieldManager }: ManifestOptions): Seen {
  const { metadata, spec = {} } = object as SeenObject;
  const { labels = {}, annotations = {}, managedFields = [] } = metadata;
  const isOurs = labels[ownerLabel] === owner && labels[managedByLabel] === fieldManager;
  const [first] = Array.isArray(spec.hosts) ? spec.hosts : [];
  const named = typeof first === 'string' ? first : '';
  const host = (isOurs ? annotations[hostAnnotation] : undefined) ?? named;
  const others = [...new Set(managedFields.flatMap(({ manager }) => manager ?? []))].sort();
  const by = labels[managedByLabel];
  return {
    id: `${metadata.namespace ?? ''}/${metadata.name ?? ''}`,
    host,
    isMoved: host !== named,
    uid: metadata.uid ?? '',
    resourceVersion: metadata.resourceVersion ?? '',
    isOurs,
    manager: by === undefined ? others.join(', ') : `${by}${labels[ownerLabel] ? ` of ${labels[ownerLabel]}` : ''}`,
    hash: isOurs ? hashOf(content(object as SeenObject)) : '',
  };
}

const fields = ['hosts', 'addresses', 'ports', 'location', 'resolution', 'endpoints', 'exportTo', 'subjectAltNames'];

/** What we say of an object, be it in our words or in the API server's. */
function content({ metadata, spec = {} }: Pick<SeenObject, 'metadata' | 'spec'>): string {
  const { labels = {}, annotations = {} } = metadata;
  return canonical([
    ...[managedByLabel, ownerLabel, revisionLabel].map((label) => labels[label]),
    ...[hostAnnotation, registriesAnnotation].map((annotation) => annotations[annotation]),
    ...fields.map((field) => spec[field] ?? []),
  ]);
}

function hashOf(text: string): string {
  return createHash('sha256').update(text).digest('base64url').slice(0, 22);
}

/** JSON with keys in order. */
function canonical(value: unknown): string {
  return JSON.stringify(value, (_key, inner: unknown) =>
    typeof inner === 'object' && inner !== null && !Array.isArray(inner)
      ? Object.fromEntries(Object.entries(inner).sort(([a], [b]) => compareText(a, b)))
      : inner,
  );
}
