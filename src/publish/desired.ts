import { compareText, type Endpoint, endpointPlace, type MeshPort, type MeshService } from '#model/mesh.js';
import { protocolOfName } from '#model/protocol.js';
import { reasonOf } from '#model/reason.js';
import {
  type Instance,
  instancePlace,
  type RegistryService,
  type Rejection,
  type ServiceKey,
  serviceId,
} from '#model/service.js';
import type { PublicationScope } from '#policy/expression.js';
import { nominalWeight } from '#policy/weight.js';
import { type Addressed, addressesOf, type Chosen, type PublishingGateways } from './addresses.js';
import { annotations, keptOut } from './annotations.js';
import { type PublishedInstance, type PublishedService, placeOf } from './contract.js';
import { marked, markOf } from './mark.js';
import type { Publication } from './publication.js';

/** A service that a publication wants to stand in its registry. */
export interface Want {
  readonly publication: string;
  /** Of the mesh service. */
  readonly host: string;
  /** Of the service in the registry. */
  readonly id: string;
  /** The publication's place in the configuration. */
  readonly order: number;
  readonly service: PublishedService;
  /** Names of the registries that it comes from. */
  readonly origins: readonly string[];
  /** Number of the mesh service's port that gateways are to take; undefined if it is not dialled there. */
  readonly exposed: number | undefined;
  /** Endpoints that are not published, with the reason. */
  readonly refused: readonly Rejection[];
}

/** A service that a publication chooses and that cannot stand in its registry. */
export interface Refusal {
  readonly publication: string;
  readonly host: string;
  readonly reason: string;
}

/** Whether this Pontoon wrote an instance that a registry holds. */
export type IsOwn = (key: ServiceKey, instance: Instance) => boolean;

/** What is to be known beside the service and the publication. */
export interface DesiredContext {
  readonly owner: string;
  readonly run: string;
  /** What a registry says of a service, with what guards hold. */
  readonly serviceOf: (key: ServiceKey) => RegistryService | undefined;
  readonly isOwn: IsOwn;
  readonly gateways: PublishingGateways;
}

/**
 * What one publication makes of one mesh service. A function of its arguments alone.
 * @returns undefined if the publication does not choose it; `out` says why where the service itself says so
 */
export function wanted(
  service: MeshService,
  publication: Publication,
  context: DesiredContext,
): Want | Refusal | { readonly out: string } | undefined {
  const [first] = service.origins;
  if (first === undefined) return undefined;
  const { config, kind, order } = publication;
  const scope = publicationScope(service, first, context);
  const { labels } = scope.mesh;
  if (publication.selects(scope) !== true) return undefined;
  const out = keptOut(labels, config);
  if (out !== undefined) return { out };
  const about = { publication: config.name, host: service.host };
  try {
    const name = labels[annotations.as] ?? publication.name(scope);
    if (name === undefined || name === '') throw new Error(`${config.as ?? kind.as} has no value for this service`);
    const settings = publication.settings(scope);
    const key = { registry: config.to, ...kind.key(name, settings as never) };
    if (!publication.reads(key.name))
      throw new Error(`registry ${config.to} leaves out the name ${key.name} (include, exclude): nobody would see it`);
    const port = chosenPort(service.ports, labels[annotations.port] ?? config.port);
    const { chosen, refused } = choose(service, port, publication, scope, context);
    const addresses = addressesOf({ service, port, chosen }, config.addresses, context.gateways);
    const mark = marked({ ...about, owner: context.owner, run: context.run });
    const protocol = port.protocol ?? protocolOfName(port.name);
    const instances = addresses.instances.map((one) => published(one, kind.nominalWeight, mark));
    return {
      ...about,
      id: serviceId(key),
      order,
      service: { key, protocol, settings, instances: sorted(instances) },
      origins: scope.mesh.registries,
      exposed: config.addresses === 'gateway' ? port.number : undefined,
      refused: [...refused, ...addresses.refused],
    };
  } catch (error) {
    return { ...about, reason: reasonOf(error) };
  }
}

function publicationScope(
  { host, namespace, origins, location }: MeshService,
  first: ServiceKey,
  { serviceOf }: DesiredContext,
): PublicationScope {
  const registries = [...new Set(origins.map(({ registry }) => registry))];
  const labels = serviceOf(first)?.metadata ?? {};
  return { mesh: { host, name: first.name, namespace, registries, location, labels } };
}

function chosenPort(ports: readonly MeshPort[], asked: string | number | undefined): MeshPort {
  const isAsked = ({ name, number }: MeshPort) => name === asked || String(number) === String(asked);
  const found = asked === undefined ? ports[0] : ports.find(isAsked);
  if (found !== undefined) return found;
  const there = ports.map(({ name, number }) => `${name} (${number})`).join(', ');
  throw new Error(`it has no port ${asked}: there is ${there || 'none'}`);
}

/** The endpoints that are published, each with what its registry says of it. */
function choose(
  service: MeshService,
  port: MeshPort,
  publication: Publication,
  scope: PublicationScope,
  { serviceOf, isOwn }: DesiredContext,
): { readonly chosen: Chosen[]; readonly refused: Rejection[] } {
  const { to, draining } = publication.config;
  const instances = new Map<string, Instance>();
  /** Where something in the target registry registered itself. */
  const own = new Set<string>();
  for (const key of service.origins)
    for (const instance of serviceOf(key)?.instances ?? []) {
      instances.set(`${key.registry} ${instance.id}`, instance);
      if (key.registry !== to || markOf(instance.metadata) !== undefined || isOwn(key, instance)) continue;
      for (const { number } of instance.ports) own.add(placeOf({ address: instance.address, port: number }));
    }
  const chosen: Chosen[] = [];
  const refused: Rejection[] = [];
  const places = new Set<string>();
  for (const endpoint of service.endpoints) {
    const behind = endpoint.origins.flatMap(({ registry, instance }) => instances.get(`${registry} ${instance}`) ?? []);
    const number = endpoint.ports[port.name];
    const reason = refusal(endpoint, number, behind, own, publication, port);
    if (reason !== undefined) {
      if (reason !== '') refused.push({ record: endpointPlace(endpoint), reason });
      continue;
    }
    if (number === undefined || (endpoint.draining && draining === 'withdraw')) continue;
    const place = placeOf({ address: endpoint.address, port: number });
    if (places.has(place)) continue;
    places.add(place);
    const metadata = publication.metadata(behind[0]?.metadata ?? {}, scope);
    chosen.push({ endpoint, port: number, isUp: !endpoint.draining, metadata });
  }
  return { chosen, refused };
}

/** Why an endpoint is not published; empty, if the publication does not ask for it. */
function refusal(
  endpoint: Endpoint,
  number: number | undefined,
  behind: readonly Instance[],
  own: ReadonlySet<string>,
  { takes, config: { to, addresses } }: Publication,
  port: MeshPort,
): string | undefined {
  const { address, locality = '', network = '', labels, origins } = endpoint;
  const registry = origins[0]?.registry ?? '';
  if (takes({ endpoint: { registry, address, locality, network, labels } }) !== true) return '';
  const copy = behind.map(({ metadata }) => markOf(metadata)).find((mark) => mark !== undefined);
  if (copy !== undefined) return `it is a copy that the Pontoon "${copy.owner}" wrote: copies are never copied`;
  if (number === undefined) return `it has no port ${port.name}`;
  if (own.has(placeOf({ address, port: number }))) return `it registered itself in ${to}`;
  if (addresses === 'instances' && endpoint.strict?.includes(number))
    return 'the pod takes mutual TLS only (PeerAuthentication STRICT), which callers outside the mesh do not have: use addresses: gateway';
  return undefined;
}

function published(one: Addressed, nominal: number, mark: Readonly<Record<string, string>>): PublishedInstance {
  const { address, port, isUp, weight, locality, metadata } = one;
  const scaled = (weight * nominal) / nominalWeight;
  return { address, port, isUp, weight: scaled, locality, metadata: { ...metadata, ...mark } };
}

function sorted(instances: readonly PublishedInstance[]): PublishedInstance[] {
  return [...instances].sort((a, b) => compareText(a.address, b.address) || a.port - b.port);
}

/** Where an instance of a registry is, as {@link placeOf} says it of one that is published. */
export function placeOfInstance({ address, ports }: Pick<Instance, 'address' | 'ports'>): string {
  const [first] = ports;
  return first === undefined ? instancePlace({ address, ports }) : placeOf({ address, port: first.number });
}
