import {
  applicationOf,
  applicationProviders,
  dubboProtocol,
  instanceMetadata,
  type PublishedDubbo,
  parseApplicationInstance,
  parseApplicationMetadata,
  parseProvider,
  providerName,
  revisionDocument,
} from '#adapters/dubbo/index.js';
import { short } from '#model/address.js';
import type { Instance, Metadata } from '#model/service.js';
import { type Placed, type PublishedInstance, type PublishedService, placeOf } from '#publish/contract.js';
import type { Held } from './holdings.js';
import { below, reserved } from './paths.js';
import { parseSpringInstance, readSpringInstance } from './springcloud.js';
import type { TargetSettings } from './target-schema.js';

type Service = PublishedService<TargetSettings>;

/** What a znode says. */
export interface Said {
  readonly place: string;
  readonly metadata: Metadata;
}

/** One folder where the instances of a service stand. */
export interface Level {
  readonly folder: string;
  /** Whether the name of a znode says all; else its data has to be read, and its name is its place. */
  readonly isNamed: boolean;
  znode(instance: PublishedInstance): Held;
  /** What a source reads of it. */
  placed(znode: Held): Placed;
  /** @returns undefined if it is no instance of the service */
  read(name: string, data: string): Said | undefined;
}

/** Below the interface: `<root>/<interface>/providers/<URL>`. */
export function interfaceLevel(root: string, published: PublishedDubbo): Level {
  const { service } = published;
  const folder = below(root, service.interface, 'providers');
  const parse = (name: string) => {
    const record = parseProvider(name);
    if (record.kind !== 'provider') return undefined;
    const { group, version } = record.service;
    return group === service.group && version === service.version ? record.instance : undefined;
  };
  return {
    folder,
    isNamed: true,
    znode: (instance) => ({ path: below(folder, providerName(published, instance)), data: '' }),
    placed: ({ path }) => asPlaced(parse(path.slice(folder.length + 1)), path),
    read: (name) => said(parse(name)),
  };
}

/** As instances of an application: `<root>/<application>/<address>:<port>`. */
export function applicationLevel(root: string, published: PublishedDubbo): Level {
  const { application, service } = published;
  const folder = below(root, application);
  const metadata = parseApplicationMetadata(revisionDocument(published, {}));
  return {
    folder,
    isNamed: false,
    znode: (instance) =>
      curator(folder, application, instance, {
        payload: {
          '@class': 'org.apache.dubbo.registry.zookeeper.ZookeeperInstance',
          id: idOf(instance),
          name: application,
          metadata: instanceMetadata(published, instance),
        },
      }),
    placed: ({ path, data }) => {
      const instance = parseApplicationInstance(data);
      const records = instance && applicationProviders(service.interface, instance, metadata, []);
      const record = records?.[0]?.record;
      return asPlaced(record?.kind === 'provider' ? record.instance : undefined, path);
    },
    read: (_, data) => {
      const found = attempt(() => parseApplicationInstance(data));
      const port = found?.endpoints[0]?.port ?? 0;
      return found && { place: placeOf({ address: found.address, port }), metadata: found.metadata };
    },
  };
}

/** As Spring Cloud has it: `<root>/<application>/<id>`. */
export function springLevel(root: string, name: string): Level {
  const folder = below(root, name);
  const parse = (child: string, data: string) => readSpringInstance(child, parseSpringInstance(data));
  return {
    folder,
    isNamed: false,
    znode: (instance) => {
      const { isUp, weight, locality } = instance;
      const [, zone = ''] = locality?.split('/') ?? [];
      const metadata = {
        ...(zone === '' ? {} : { zone }),
        ...instance.metadata,
        ...(weight === 1 ? {} : { weight: String(weight) }),
        instance_status: isUp ? 'UP' : 'OUT_OF_SERVICE',
      };
      const type = 'org.springframework.cloud.zookeeper.discovery.ZookeeperInstance';
      return curator(folder, name, instance, {
        payload: { '@class': type, id: idOf(instance), name, metadata },
        uriSpec,
      });
    },
    placed: ({ path, data }) => asPlaced(parse(path.slice(folder.length + 1), data), path),
    read: (child, data) => said(attempt(() => parse(child, data))),
  };
}

/** The template that Spring Cloud's clients make an instance's URI of. */
const uriSpec = {
  parts: ['scheme', '://', 'address', ':', 'port'].map((value) => ({ value, variable: /^\w/.test(value) })),
};

/** @throws Error if the port speaks nothing that Dubbo does */
export function publishedDubbo(service: Service): PublishedDubbo {
  const { key, settings, instances } = service;
  const { application, methods, params } = settings;
  const { name, group, version } = key;
  const dubbo = { interface: name, group, version };
  return {
    service: dubbo,
    application: application ?? applicationOf(dubbo),
    protocol: settings.protocol ?? (instances.length === 0 ? 'dubbo' : dubboProtocol(service.protocol)),
    methods: typeof methods === 'string' ? methods : methods.join(','),
    params,
  };
}

/** Where a service stands. @throws Error if ZooKeeper, or Dubbo, takes no such name */
export function keyOf(name: string, { layout, root, interface: text, group, version }: TargetSettings) {
  const isSpring = layout === 'springCloud';
  const found = isSpring ? name : (text ?? name);
  if (!/^[^\s/?&=%#]{1,253}$/.test(found) || found === '.' || found === '..' || (!isSpring && reserved.has(found)))
    throw new Error(
      `"${short(found)}" is no name of ${isSpring ? 'an application' : 'an interface'}: expected up to 253 characters without spaces or any of / ? & = % #`,
    );
  for (const part of [group, version])
    if (!/^[^\s/?&=%#*,:]{0,253}$/.test(part))
      throw new Error(`"${short(part)}" is no group or version: expected no spaces and none of / ? & = % # * , :`);
  const namespace = (root ?? (isSpring ? '/services' : '/dubbo')).slice(1);
  return isSpring ? { namespace, group: '', name: found, version: '' } : { namespace, group, name: found, version };
}

function curator(folder: string, name: string, instance: PublishedInstance, more: object): Held {
  const { address, port, isUp } = instance;
  const id = idOf(instance);
  const rest = { sslPort: null, registrationTimeUTC: 0, serviceType: 'DYNAMIC', uriSpec: null, enabled: isUp };
  return { path: below(folder, id), data: JSON.stringify({ name, id, address, port, ...rest, ...more }) };
}

function idOf({ address, port }: Pick<PublishedInstance, 'address' | 'port'>): string {
  return `${address}:${port}`;
}

function said(instance: Instance | undefined): Said | undefined {
  if (instance === undefined) return undefined;
  const { address, ports, metadata } = instance;
  return { place: placeOf({ address, port: ports[0]?.number ?? 0 }), metadata };
}

function asPlaced(instance: Instance | undefined, path: string): Placed {
  if (instance === undefined) throw new Error(`${path} would not be read back`);
  const { id, address, ports, status, weight, metadata, locality } = instance;
  return {
    id,
    instance: { address, port: ports[0]?.number ?? 0, isUp: status === 'UP' && weight > 0, weight, locality, metadata },
  };
}

function attempt<T>(parse: () => T): T | undefined {
  try {
    return parse();
  } catch {
    return undefined;
  }
}
