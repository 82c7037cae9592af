import { createHash } from 'node:crypto';
import { bucketOf } from '#catalog/vip.js';
import { compareText } from '#model/mesh.js';
import { Resource } from '#proto/istio/mcp.js';
import { Gateway, ServiceEntry, VirtualService } from '#proto/istio/networking.js';
import { DiscoveryResponse } from '#proto/xds/discovery.js';
import type { MeshScope } from './scope.js';

/** The Istio resource types that Pontoon makes, and the form of their bodies. A further type is one more line. */
export interface ResourceBodies {
  ServiceEntry: ServiceEntry;
  Gateway: Gateway;
  VirtualService: VirtualService;
}

/** The Istio kinds that Pontoon makes. */
export type ResourceType = keyof ResourceBodies;

/** One Istio resource, before encoding; its type tells its body. */
export type IstioResource<Type extends ResourceType = ResourceType> = Type extends ResourceType
  ? ResourceOf<Type>
  : never;

interface ResourceOf<Type extends ResourceType> {
  readonly type: Type;
  readonly namespace: string;
  /** At most 253 characters, a DNS name. */
  readonly name: string;
  /** The host that it is about; chooses the listener's shard. Empty: namespace and name do. */
  readonly host: string;
  /** The resource's own labels. Nothing volatile: a change is a full push. */
  readonly labels: Readonly<Record<string, string>>;
  readonly body: ResourceBodies[Type];
}

/** A resource as it is sent, encoded once. */
export interface EncodedResource {
  readonly type: ResourceType;
  /** `namespace/name`. */
  readonly name: string;
  readonly host: string;
  readonly bucket: number;
  /** The service that it is about, for conditions. Not part of the version. */
  readonly mesh: MeshScope;
  /** Hash of name and content, 16 hexadecimal digits: istiod skips a resource whose version it has. */
  readonly version: string;
  /** One `resources` field of a DiscoveryResponse, tag and length included: responses are such pieces one after the other. */
  readonly field: Uint8Array;
}

interface TypeInfo<Type extends ResourceType> {
  /** Type URLs of requests: istiod asks for v1 from 1.24 on, and for v1alpha3 before. */
  readonly urls: readonly string[];
  /** The body's type is v1alpha3 under both. */
  readonly bodyUrl: string;
  readonly encode: (body: ResourceBodies[Type]) => Uint8Array;
}

const resourceTypes: { readonly [Type in ResourceType]: TypeInfo<Type> } = {
  ServiceEntry: {
    urls: ['networking.istio.io/v1/ServiceEntry', 'networking.istio.io/v1alpha3/ServiceEntry'],
    bodyUrl: 'type.googleapis.com/istio.networking.v1alpha3.ServiceEntry',
    encode: (body) => ServiceEntry.encode(sortedMaps(body)).finish(),
  },
  Gateway: {
    urls: ['networking.istio.io/v1/Gateway', 'networking.istio.io/v1alpha3/Gateway'],
    bodyUrl: 'type.googleapis.com/istio.networking.v1alpha3.Gateway',
    encode: (body) => Gateway.encode({ ...body, selector: sorted(body.selector) }).finish(),
  },
  VirtualService: {
    urls: ['networking.istio.io/v1/VirtualService', 'networking.istio.io/v1alpha3/VirtualService'],
    bodyUrl: 'type.googleapis.com/istio.networking.v1alpha3.VirtualService',
    encode: (body) => VirtualService.encode(body).finish(),
  },
};

const resourceUrl = 'type.googleapis.com/istio.mcp.v1alpha1.Resource';

/**
 * istiod gives a host that two resources claim to the older one, so this is recent, that users' own entries win, and constant, that neither a restart nor
 * another replica changes anything: 2026-11-01, in seconds since 1970.
 */
export const createTime = { seconds: 1_793_491_200, nanos: 0 };

/** The type that a request's URL names; undefined if Pontoon makes no such resources. */
export function typeOfUrl(url: string): ResourceType | undefined {
  const types = Object.keys(resourceTypes) as ResourceType[];
  return types.find((type) => resourceTypes[type].urls.includes(url));
}

/** What tells a resource from all others: two of different types may have one name. */
export function resourceId({ type, name }: Pick<EncodedResource, 'type' | 'name'>): string {
  return `${type} ${name}`;
}

/** Encodes a resource, once for all clients. */
export function encodeResource<Type extends ResourceType>(
  resource: ResourceOf<Type>,
  mesh: MeshScope,
): EncodedResource {
  const { bodyUrl, encode }: TypeInfo<Type> = resourceTypes[resource.type];
  const name = `${resource.namespace}/${resource.name}`;
  const body = encode(resource.body);
  const version = createHash('sha256')
    .update(bodyUrl)
    .update(name)
    .update(Object.keys(resource.labels).length === 0 ? '' : JSON.stringify(resource.labels))
    .update(body)
    .digest('hex')
    .slice(0, 16);
  const wrapped = Resource.encode({
    metadata: { name, createTime, version, labels: { ...resource.labels }, annotations: {} },
    body: { typeUrl: bodyUrl, value: Buffer.from(body) },
  }).finish();
  const field = DiscoveryResponse.encode(
    DiscoveryResponse.fromPartial({ resources: [{ typeUrl: resourceUrl, value: Buffer.from(wrapped) }] }),
  ).finish();
  return {
    type: resource.type,
    name,
    host: resource.host,
    bucket: bucketOf(resource.host || name),
    mesh,
    version,
    field,
  };
}

/** Protobuf leaves the order of map entries open; here it is by key, so that equal content is equal bytes. */
export function sortedMaps(entry: ServiceEntry): ServiceEntry {
  return {
    ...entry,
    endpoints: entry.endpoints.map((endpoint) => ({
      ...endpoint,
      ports: sorted(endpoint.ports),
      labels: sorted(endpoint.labels),
    })),
  };
}

function sorted<Value>(record: { [key: string]: Value }): { [key: string]: Value } {
  let last = '';
  let isSorted = true;
  for (const key in record) {
    if (key < last) isSorted = false;
    last = key;
  }
  if (isSorted) return record;
  return Object.fromEntries(Object.entries(record).sort(([a], [b]) => compareText(a, b)));
}
