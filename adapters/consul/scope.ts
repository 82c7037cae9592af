import type { Metadata, ServiceKey } from '#model/service.js';
import type { ConsulClient, Place } from './client.js';
import { decodeDatacenter, decodeNamed, decodeTexts } from './decode.js';
import type { ConsulConfig } from './schema.js';

/** A part of a registry that is read by itself, and fails by itself: a data centre, or a namespace of a partition of one. */
export interface Scope extends Place {
  /** Whether it is in the agents' own data centre. */
  readonly own: boolean;
}

/** For people, and told apart: `data centre dc2, namespace shop`. Empty for the agents' own and only one. */
export function scopeName({ datacenter, partition, namespace }: Scope): string {
  return [
    datacenter === undefined ? '' : `data centre ${datacenter}`,
    partition === undefined ? '' : `partition ${partition}`,
    namespace === undefined ? '' : `namespace ${namespace}`,
  ]
    .filter((part) => part !== '')
    .join(', ');
}

/** Identifies a service. Its namespace is Consul's, with the partition before it; its group is the data centre, if not the agents' own. */
export function serviceKey(registry: string, scope: Scope, name: string): ServiceKey {
  const { own, datacenter = '', partition, namespace = 'default' } = scope;
  const space = partition === undefined || partition === 'default' ? namespace : `${partition}/${namespace}`;
  return { registry, namespace: space === 'default' ? '' : space, group: own ? '' : datacenter, name, version: '' };
}

/**
 * The domain that Consul's own DNS has the services of a scope in:
 * `service[.<namespace>.ns][.<partition>.ap][.<data centre>[.dc]].consul`
 */
export function domainOf({ own, datacenter, partition = 'default', namespace = 'default' }: Scope): string {
  const tenant = namespace !== 'default' || partition !== 'default';
  const center = own || datacenter === undefined ? [] : [datacenter, ...(tenant ? ['dc'] : [])];
  return [
    'service',
    ...(namespace === 'default' ? [] : [namespace, 'ns']),
    ...(partition === 'default' ? [] : [partition, 'ap']),
    ...center,
    'consul',
  ].join('.');
}

/** What all services of a scope are known by; `domain` is where Consul's DNS has them. */
export function metadataOf(scope: Scope): Metadata {
  const { datacenter, partition, namespace } = scope;
  return {
    domain: domainOf(scope),
    ...(datacenter === undefined ? {} : { datacenter }),
    ...(partition === undefined ? {} : { partition }),
    ...(namespace === undefined ? {} : { namespace }),
  };
}

/** The data centres to read. @throws HttpError, or Error if the agents' own one cannot be told from the others */
export async function datacenters(config: ConsulConfig, client: ConsulClient, signal: AbortSignal): Promise<Scope[]> {
  if (config.datacenters === undefined) return [{ own: true }];
  const own = decodeDatacenter((await client.consulServers(signal)).body);
  if (own === undefined)
    throw new Error(
      "the agents' own data centre cannot be told: with datacenters, the token needs service:read of consul and node:read of the servers",
    );
  const names = config.datacenters.includes('*')
    ? [own, ...decodeTexts(await client.all('catalog/datacenters', signal), 'data centres')]
    : config.datacenters;
  return [...new Set(names)].sort().map((datacenter) => ({ datacenter, own: datacenter === own }));
}

/** The namespaces of the partitions to read within a data centre. @throws HttpError */
export async function scopesWithin(
  center: Scope,
  config: ConsulConfig,
  clientOf: (place: Place) => ConsulClient,
  signal: AbortSignal,
): Promise<Scope[]> {
  const partitions = await wanted(config.partitions, () => clientOf(center).all('partitions', signal), 'partitions');
  const scopes = partitions.map((partition) => ({ ...center, ...(partition === undefined ? {} : { partition }) }));
  const within = scopes.map(async (scope) => {
    const spaces = await wanted(config.namespaces, () => clientOf(scope).all('namespaces', signal), 'namespaces');
    return spaces.map((namespace) => ({ ...scope, ...(namespace === undefined ? {} : { namespace }) }));
  });
  return (await Promise.all(within)).flat();
}

async function wanted(
  names: readonly string[] | undefined,
  list: () => Promise<unknown>,
  what: string,
): Promise<(string | undefined)[]> {
  if (names === undefined) return [undefined];
  return [...new Set(names.includes('*') ? decodeNamed(await list(), what) : names)].sort();
}
