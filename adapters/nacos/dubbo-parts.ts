import { type DubboService, fold, type InterfaceRecords, type ServiceNote } from '#adapters/dubbo/index.js';
import { compareText } from '#model/mesh.js';
import type { RegistryService, Rejection } from '#model/service.js';
import type { DubboMetadata, PlacedInstance } from './dubbo-metadata.js';
import { consumersOf, type DubboName, type NacosApplicationInstance, providersOf, recordsOf } from './dubbo-records.js';
import type { DubboRules, PlacedService } from './dubbo-rules.js';

/** One of Nacos's services that is Dubbo's, as it was last read. */
export interface Part {
  readonly namespace: string;
  readonly service: RegistryService;
  /** Undefined for an application. */
  readonly name: DubboName | undefined;
  readonly applications: readonly NacosApplicationInstance[];
  /** The services that it provides, or provided before it lost its instances. */
  offers: readonly DubboService[];
  /** What cannot be used of it. */
  rejected: readonly Rejection[];
  /** Of an application: what there is beside Dubbo's instances; undefined if that is not shown. */
  rest?: RegistryService | undefined;
}

/**
 * The services of one interface of one namespace.
 * @param parts all that there is of it
 * @param offered the services that the parts provide, or provided before they lost their instances
 */
export function servicesOf(
  registry: string,
  parts: readonly Part[],
  offered: readonly PlacedService[],
  metadata: Pick<DubboMetadata, 'find'>,
  rules: Pick<DubboRules, 'overrides' | 'routers'>,
): RegistryService[] {
  const [first] = offered;
  if (first === undefined) return [];
  const { namespace, service } = first;
  const records: InterfaceRecords = {
    registry,
    namespace,
    interface: service.interface,
    providers: named(parts, 'providers').flatMap(([part, name]) => providersOf(part.service, name)),
    applications: parts.flatMap((part) => applicationsOf(part, service.interface, metadata)),
    consumers: named(parts, 'consumers').flatMap(([part, name]) => consumersOf(part.service, name)),
    otherwise: offered.map((one) => one.service),
    rules: offered.flatMap((one) => rules.overrides(one)),
    notes: [...offered.flatMap((one) => rules.routers(one)), ...named(parts, 'providers').flatMap(notesOf)],
    rejected: parts.flatMap((part) => (isToldWith(part, service.interface) ? part.rejected : [])),
  };
  const { services } = fold(records);
  const has = ({ group, version }: DubboService) =>
    services.some(({ key }) => key.group === group && key.version === version);
  const empty = offered.filter((one) => !has(one.service)).map((one) => one.service);
  if (empty.length === 0) return services;
  // Fold shows services without a record only where there is no record at all.
  const bare = { ...records, providers: [], applications: [], rules: [], notes: [], rejected: [], otherwise: empty };
  return [...services, ...fold(bare).services];
}

function named(parts: readonly Part[], category: DubboName['category']): [Part, DubboName][] {
  return parts.flatMap((part) => (part.name?.category === category ? [[part, part.name]] : []));
}

/** An application's rejected records are told once: with its rest where that is shown, else with the first of its interfaces. */
function isToldWith({ name, rest, offers }: Part, interfaceName: string): boolean {
  if (name !== undefined) return true;
  const [first] = offers.map((offer) => offer.interface).sort(compareText);
  return rest === undefined && first === interfaceName;
}

function applicationsOf(part: Part, interfaceName: string, metadata: Pick<DubboMetadata, 'find'>) {
  return placed(part).flatMap((one, i) => {
    const found = metadata.find(one);
    const instance = part.applications[i];
    return found instanceof Error || instance === undefined ? [] : recordsOf(interfaceName, instance, found);
  });
}

function notesOf([{ service }, name]: [Part, DubboName]): ServiceNote[] {
  return (service.notes ?? []).map((note) => ({ service: name.service, note }));
}

export function placed({ namespace, applications }: Part): PlacedInstance[] {
  return applications.map(({ instance }) => ({ namespace, instance }));
}

/** An interface of one namespace. A rest is known by its service's id, which has more parts. */
export function unitOf({ namespace, service }: PlacedService): string {
  return JSON.stringify([namespace, service.interface]);
}

export function unitsOf(part: Part | undefined): Set<string> {
  if (part === undefined) return new Set();
  const { namespace, name, offers } = part;
  const services = name === undefined ? offers : [name.service];
  return new Set(services.map((service) => unitOf({ namespace, service })));
}
