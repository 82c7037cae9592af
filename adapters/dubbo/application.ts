import { z } from 'zod';
import type { Metadata } from '#model/service.js';
import { type DubboService, endpointName, type ProviderRecord, readProvider, readTime, serviceOf } from './provider.js';

/** One instance of an application, registered as a whole (Dubbo 3): where it listens, and which revision of its metadata says for what. */
export interface ApplicationInstance {
  readonly application: string;
  readonly address: string;
  /** One per protocol. */
  readonly endpoints: readonly { readonly port: number; readonly protocol: string }[];
  /** Names its metadata: instances with one revision provide the same. Empty if there is none. */
  readonly revision: string;
  /** Whether the metadata lies in the metadata centre; else only the instance itself can be asked. */
  readonly remoteMetadata: boolean;
  readonly metadata: Metadata;
  /** ms since 1970; 0 if unknown. */
  readonly changedAt: number;
}

/** What one revision of an application provides. */
export interface ApplicationMetadata {
  readonly services: readonly {
    readonly service: DubboService;
    readonly protocol: string;
    /** 0 if it is not said: then it is the instance's port for the protocol. */
    readonly port: number;
    readonly path: string;
    readonly params: Metadata;
  }[];
}

/** What an application once published about one of its services. It is kept per application, not per instance, and outlives both. */
export interface ServiceDefinition {
  readonly application: string;
  readonly service: DubboService;
  /** Parameters of the instance that wrote last. */
  readonly params: Metadata;
}

/** One endpoint that an application's instance gives to a service. */
export interface ApplicationRecord {
  readonly record: ProviderRecord;
  /** Whether group and version are the instance's own word, and not concluded from what its application published. */
  readonly certain: boolean;
}

const text = z.record(z.string(), z.coerce.string());

const curatorInstance = z.object({
  name: z.string().min(1),
  address: z.string(),
  port: z.number().nullish(),
  registrationTimeUTC: z.number().nullish(),
  payload: z.object({ metadata: text.nullish() }).nullish(),
});

const endpointList = z.array(z.object({ port: z.number(), protocol: z.string() }));

const applicationMetadata = z.object({
  services: z.record(
    z.string(),
    z.object({
      name: z.string().min(1),
      group: z.string().nullish(),
      version: z.string().nullish(),
      protocol: z.string(),
      port: z.number().nullish(),
      path: z.string().nullish(),
      params: text.nullish(),
    }),
  ),
});

const serviceDefinition = z.object({ parameters: text });

/**
 * Reads the data of a znode under `/services/<application>`: the JSON of Curator's ServiceInstance.
 * @returns undefined if it is no Dubbo application, such as an instance of Spring Cloud
 * @throws Error that says what is wrong with it
 */
export function parseApplicationInstance(json: string): ApplicationInstance | undefined {
  const found = parse(curatorInstance, json);
  return readApplicationInstance({
    application: found.name,
    address: found.address,
    port: found.port ?? 0,
    metadata: found.payload?.metadata ?? {},
    registeredAt: found.registrationTimeUTC ?? 0,
  });
}

/**
 * Reads an application's instance whose parts are known.
 * @returns undefined if its metadata is not Dubbo's
 * @throws Error that says what is wrong with it
 */
export function readApplicationInstance(data: {
  application: string;
  address: string;
  port: number;
  metadata: Metadata;
  registeredAt: number;
}): ApplicationInstance | undefined {
  const { application, address, port, metadata } = data;
  const endpoints = metadata['dubbo.endpoints'];
  const revision = metadata['dubbo.metadata.revision'];
  if (endpoints === undefined && revision === undefined) return undefined;
  return {
    application,
    address,
    endpoints: endpoints === undefined ? [{ port, protocol: 'dubbo' }] : parse(endpointList, endpoints),
    revision: revision ?? '',
    remoteMetadata: metadata['dubbo.metadata.storage-type'] === 'remote',
    metadata,
    changedAt: readTime(metadata.timestamp) || data.registeredAt,
  };
}

/** Reads what an application provides, by revision. @throws Error that says what is wrong with it */
export function parseApplicationMetadata(json: string): ApplicationMetadata {
  return metadataOf(parse(applicationMetadata, json));
}

/** Reads what an application provides, from fields that need no parsing any more. @throws Error that says what is wrong with it */
export function readApplicationMetadata(fields: unknown): ApplicationMetadata {
  return metadataOf(check(applicationMetadata, fields));
}

function metadataOf({ services }: z.output<typeof applicationMetadata>): ApplicationMetadata {
  const read = Object.values(services).map((found) => {
    const { name, group, version, protocol } = found;
    const params = { ...found.params, interface: name, ...set('group', group), ...set('version', version) };
    const path = found.path || name;
    return { service: serviceOf({ path, params }), protocol, port: Math.max(0, found.port ?? 0), path, params };
  });
  return { services: read };
}

/** Reads the definition of a service that an application published. @throws Error that says what is wrong with it */
export function parseServiceDefinition(json: string, service: string, application: string): ServiceDefinition {
  const params = parse(serviceDefinition, json).parameters;
  return { application, service: { ...serviceOf({ path: service, params }), interface: service }, params };
}

/** The applications that a mapping names for an interface, in order. */
export function parseMapping(data: string): string[] {
  const names = data.split(',').map((name) => name.trim());
  return [...new Set(names.filter((name) => name !== ''))].sort();
}

/**
 * The endpoints that one instance gives to one interface.
 * @param metadata of the instance's revision, where the metadata centre has it: then it alone says what is provided
 * @param definitions of the interface by the instance's application, used when there is no metadata
 */
export function applicationProviders(
  interfaceName: string,
  instance: ApplicationInstance,
  metadata: ApplicationMetadata | undefined,
  definitions: readonly ServiceDefinition[],
): ApplicationRecord[] {
  if (metadata !== undefined)
    return metadata.services
      .filter(({ service }) => service.interface === interfaceName)
      .map(({ protocol, port, path, params }) => {
        const number = port || (instance.endpoints.find((endpoint) => endpoint.protocol === protocol)?.port ?? 0);
        const all = { ...ownParams(instance), ...params };
        return { record: endpointRecord(instance, protocol, number, path, all), certain: true };
      });
  const current = definitions.filter((definition) => !isOutdated(definition, instance, definitions));
  const services = current.length === 0 ? [undefined] : current;
  return services.flatMap((definition) =>
    instance.endpoints.map(({ port, protocol }) => {
      const params = paramsOf(interfaceName, instance, definition);
      return { record: endpointRecord(instance, protocol, port, interfaceName, params), certain: false };
    }),
  );
}

function endpointRecord(
  instance: ApplicationInstance,
  protocol: string,
  port: number,
  path: string,
  params: Metadata,
): ProviderRecord {
  const name = { protocol, host: instance.address, port, path };
  const timestamp = instance.changedAt === 0 ? {} : { timestamp: String(instance.changedAt) };
  const { application } = instance;
  return readProvider({ ...name, record: endpointName(name), params: { application, ...params, ...timestamp } });
}

/** A provider starts within this time of writing its definitions. */
const startupTime = 10 * 60_000;

/** Definitions are never deleted: one far older than the instance, beside a younger one, is of a version that is no longer provided. */
function isOutdated(
  definition: ServiceDefinition,
  instance: ApplicationInstance,
  all: readonly ServiceDefinition[],
): boolean {
  const oldest = instance.changedAt - startupTime;
  const isOld = ({ params }: ServiceDefinition) => readTime(params.timestamp) < oldest;
  return isOld(definition) && !all.every(isOld);
}

/** Weight, zone and the like count for the instance that wrote the definition only. */
function paramsOf(
  interfaceName: string,
  instance: ApplicationInstance,
  definition: ServiceDefinition | undefined,
): Metadata {
  const own = ownParams(instance);
  if (definition === undefined) return { ...own, interface: interfaceName };
  const { params } = definition;
  const wroteIt =
    params['bind.ip'] === instance.address &&
    instance.endpoints.some(({ port }) => params['bind.port'] === String(port));
  const { group, version } = definition.service;
  return {
    ...own,
    ...(wroteIt ? params : {}),
    interface: interfaceName,
    ...set('group', group),
    ...set('version', version),
  };
}

/** What an instance says of itself, and so of all that it provides. */
function ownParams({ metadata }: ApplicationInstance): Metadata {
  return Object.fromEntries(Object.entries(metadata).filter(([key]) => !key.startsWith('dubbo.')));
}

function set(key: string, value: string | null | undefined): Metadata {
  return value === undefined || value === null || value === '' ? {} : { [key]: value };
}

function parse<T extends z.ZodType>(schema: T, json: string): z.output<T> {
  let document: unknown;
  try {
    document = JSON.parse(json);
  } catch {
    throw new Error(json.trim() === '' ? 'no data where JSON was expected' : 'its data is not JSON');
  }
  return check(schema, document);
}

function check<T extends z.ZodType>(schema: T, document: unknown): z.output<T> {
  const found = schema.safeParse(document);
  if (!found.success) throw new Error(z.prettifyError(found.error).replaceAll('\n', ' '));
  return found.data;
}
