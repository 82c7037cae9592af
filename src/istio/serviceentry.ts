import { createHash } from 'node:crypto';
import { type Endpoint, endpointKey, type MeshPort, type MeshService } from '#model/mesh.js';
import { protocols } from '#model/protocol.js';
import {
  type ServiceEntry,
  ServiceEntry_Location,
  ServiceEntry_Resolution,
  type WorkloadEntry,
} from '#proto/istio/networking.js';
import type { IstioResource } from './resource.js';

/** Of all sessions of a draining endpoint istiod keeps the persistent ones, for services that have such, and leaves it out for all others. */
const drainingLabel = { 'istio.io/draining': 'true' };

/**
 * Before 1.30 istiod tells endpoints of one address apart by the port's name alone, and pushes nothing when one of them goes. A label on the others that
 * changes with their number makes it push.
 */
const sharedAddressLabel = 'pontoon.io/endpoints-at-address';

/**
 * The ServiceEntries of a mesh service: one; only where its endpoints differ in the ports that they have, one per port, since an endpoint without a
 * mapping for one of the entry's ports would be dialled at the service's own number. istiod joins the entries of one host in one namespace.
 * See https://istio.io/latest/docs/reference/config/networking/service-entry/
 */
export function serviceEntries(service: MeshService): IstioResource<'ServiceEntry'>[] {
  if (service.uniform || service.ports.length === 1)
    return [resource(service, service.host, service.ports, service.endpoints)];
  return service.ports.map((port) => {
    const endpoints = service.endpoints.filter((endpoint) => port.name in endpoint.ports);
    return resource(service, partName(service.host, port), [port], endpoints);
  });
}

/** A name that no other host can have: its hash is part of it. */
function partName(host: string, port: MeshPort): string {
  const hash = createHash('sha256').update(`${host} ${port.name}`).digest('hex').slice(0, 8);
  return `${host}.${port.name.slice(0, 50)}-${hash}`;
}

function resource(
  service: MeshService,
  name: string,
  ports: readonly MeshPort[],
  endpoints: readonly Endpoint[],
): IstioResource<'ServiceEntry'> {
  return {
    type: 'ServiceEntry',
    namespace: service.namespace,
    name,
    host: service.host,
    labels: service.revision === undefined ? {} : { 'istio.io/rev': service.revision },
    body: serviceEntry(service, ports, endpoints),
  };
}

function serviceEntry(service: MeshService, ports: readonly MeshPort[], endpoints: readonly Endpoint[]): ServiceEntry {
  const dialled = distinct(endpoints, ports);
  const atAddress = new Map<string, number>();
  for (const { address } of dialled) atAddress.set(address, (atAddress.get(address) ?? 0) + 1);
  return {
    hosts: [service.host],
    addresses: [...service.vips],
    ports: ports.map(({ name, number, protocol }) => ({
      name,
      number,
      protocol: protocols[protocol].istio,
      targetPort: 0,
    })),
    location:
      service.location === 'external' ? ServiceEntry_Location.MESH_EXTERNAL : ServiceEntry_Location.MESH_INTERNAL,
    // istiod takes IP addresses only under STATIC; a mixture is resolved as a whole.
    resolution: service.resolution === 'dns' ? ServiceEntry_Resolution.DNS : ServiceEntry_Resolution.STATIC,
    endpoints: dialled.map((endpoint) => workload(endpoint, ports, atAddress.get(endpoint.address) ?? 1)),
    exportTo: [...service.exportTo],
    // istiod takes an endpoint's service account for one of the entry's namespace; these are whole identities.
    subjectAltNames: [...service.identities],
  };
}

/** Endpoints that differ in ports which this entry does not have are one here. */
function distinct(endpoints: readonly Endpoint[], ports: readonly MeshPort[]): Endpoint[] {
  const byKey = new Map<string, Endpoint>();
  for (const endpoint of endpoints) {
    const numbers = Object.fromEntries(ports.map(({ name }) => [name, endpoint.ports[name] ?? 0]));
    const key = endpointKey({ address: endpoint.address, ports: numbers });
    if (!byKey.has(key)) byKey.set(key, endpoint);
  }
  return [...byKey.values()];
}

function workload(endpoint: Endpoint, ports: readonly MeshPort[], atAddress: number): WorkloadEntry {
  return {
    address: endpoint.address,
    ports: Object.fromEntries(ports.map(({ name }) => [name, endpoint.ports[name] ?? 0])),
    labels: {
      ...endpoint.labels,
      ...(endpoint.draining ? drainingLabel : {}),
      ...(atAddress > 1 ? { [sharedAddressLabel]: String(atAddress) } : {}),
    },
    network: endpoint.network ?? '',
    locality: endpoint.locality ?? '',
    weight: endpoint.weight,
    serviceAccount: endpoint.serviceAccount ?? '',
  };
}
