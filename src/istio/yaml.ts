import { stringify } from 'yaml';
import { compareText } from '#model/mesh.js';
import { type ServiceEntry, ServiceEntry_Location, ServiceEntry_Resolution } from '#proto/istio/networking.js';
import { createTime, type IstioResource, sortedMaps } from './resource.js';

/**
 * Resources as Istio's YAML, as `kubectl apply` takes it: one document each, in the order of their names.
 * @param isDated whether the time of creation that istiod is told over xDS is in it
 */
export function istioYaml(resources: readonly IstioResource[], { isDated = false } = {}): string {
  return [...resources]
    .sort((a, b) => compareText(a.namespace, b.namespace) || compareText(a.name, b.name))
    .map((resource) => `---\n${stringify(istioObject(resource, isDated), { lineWidth: 0 })}`)
    .join('');
}

function istioObject(resource: IstioResource, isDated: boolean): object {
  const { type, namespace, name, labels } = resource;
  const creationTimestamp = isDated ? `${new Date(createTime.seconds * 1_000).toISOString().slice(0, 19)}Z` : '';
  return {
    apiVersion: 'networking.istio.io/v1',
    kind: type,
    metadata: withoutEmpty({ name, namespace, labels, creationTimestamp }),
    spec: specOf(resource),
  };
}

function specOf(resource: IstioResource): object {
  return resource.type === 'ServiceEntry' ? serviceEntrySpec(sortedMaps(resource.body)) : pruned(resource.body);
}

/** The `spec` of a ServiceEntry, as JSON. */
export function serviceEntrySpec(entry: ServiceEntry): object {
  return withoutEmpty({
    hosts: entry.hosts,
    addresses: entry.addresses,
    exportTo: entry.exportTo,
    location: ServiceEntry_Location[entry.location],
    resolution: ServiceEntry_Resolution[entry.resolution],
    ports: entry.ports.map(withoutEmpty),
    endpoints: entry.endpoints.map(withoutEmpty),
    subjectAltNames: entry.subjectAltNames,
  });
}

/** Protobuf's defaults are not written. */
function withoutEmpty(object: object): object {
  const isEmpty = (value: unknown): boolean =>
    value === '' || value === 0 || (typeof value === 'object' && value !== null && Object.keys(value).length === 0);
  return Object.fromEntries(Object.entries(object).filter(([, value]) => !isEmpty(value)));
}

/** Without protobuf's defaults, at any depth. */
function pruned(value: object): object {
  const inner = (part: unknown): unknown => {
    if (Array.isArray(part)) return part.map(inner);
    return typeof part === 'object' && part !== null ? pruned(part) : part;
  };
  return withoutEmpty(
    Object.fromEntries(
      Object.entries(value).flatMap(([key, part]) => (part === undefined ? [] : [[key, inner(part)]])),
    ),
  );
}
