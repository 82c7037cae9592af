import { stringify } from 'yaml';
import { compareText } from '#model/mesh.js';
import { type ServiceEntry, ServiceEntry_Location, ServiceEntry_Resolution } from '#proto/istio/networking.js';
import type { IstioResource } from './resource.js';

/** Resources as Istio's YAML, as `kubectl apply` takes it: one document each, in the order of their names. */
export function istioYaml(resources: readonly IstioResource[]): string {
  return [...resources]
    .sort((a, b) => compareText(a.namespace, b.namespace) || compareText(a.name, b.name))
    .map((resource) => `---\n${stringify(istioObject(resource), { lineWidth: 0 })}`)
    .join('');
}

function istioObject({ type, namespace, name, labels, body }: IstioResource): object {
  return {
    apiVersion: 'networking.istio.io/v1',
    kind: type,
    metadata: withoutEmpty({ name, namespace, labels }),
    spec: serviceEntrySpec(body),
  };
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
  });
}

/** Protobuf's defaults are not written. */
function withoutEmpty(object: object): object {
  const isEmpty = (value: unknown): boolean =>
    value === '' || value === 0 || (typeof value === 'object' && value !== null && Object.keys(value).length === 0);
  return Object.fromEntries(Object.entries(object).filter(([, value]) => !isEmpty(value)));
}
