import {
  applicationOf,
  applicationProviders,
  dubboProtocol,
  instanceMetadata,
  type PublishedDubbo,
  parseApplicationMetadata,
  providerMetadata,
  readApplicationInstance,
  revisionDocument,
} from '#adapters/dubbo/index.js';
import type { Metadata } from '#model/service.js';
import type { Placed, PublishedInstance, PublishedService } from '#publish/contract.js';
import type { TargetSettings } from './target-schema.js';

type Service = PublishedService<TargetSettings>;

/** One of Nacos's own services, in which what is published stands. */
export interface Level {
  /** As naming has it. */
  readonly service: Service;
  /** Whether it has instances that are not of the published service, as an application may. */
  readonly isShared: boolean;
  /** What was written, as a source reads it. */
  placed(placed: Placed): Placed;
}

/** What is said of a Dubbo service; undefined if it is none. @throws Error if Dubbo's consumers do not speak its protocol */
export function publishedDubbo({ settings, key, protocol, instances }: Service): PublishedDubbo | undefined {
  if (settings.dubbo === undefined) return undefined;
  const service = { interface: key.name, group: key.group, version: key.version };
  const { application = applicationOf(service), methods, params } = settings.dubbo;
  return {
    service,
    application,
    protocol: settings.dubbo.protocol ?? (instances.length === 0 ? 'dubbo' : dubboProtocol(protocol)),
    methods: typeof methods === 'string' ? methods : methods.join(','),
    params,
  };
}

/** Where a service stands: a Dubbo one under its interface, which comes last, since that is what a source shows; in an application; or both. */
export function levelsOf(service: Service): Level[] {
  const published = publishedDubbo(service);
  if (published === undefined) return [{ service, isShared: false, placed: (one) => one }];
  const level = service.settings.dubbo?.level ?? 'all';
  return [
    ...(level === 'interface' ? [] : [applicationLevel(service, published)]),
    ...(level === 'application' ? [] : [interfaceLevel(service, published)]),
  ];
}

/** `providers:<interface>:<version>:<group>`, with the parameters of the provider's URL as metadata. */
function interfaceLevel(service: Service, published: PublishedDubbo): Level {
  const { interface: name, group, version } = published.service;
  return {
    service: inNaming(service, `providers:${name}:${version}:${group}`, (one) => providerMetadata(published, one)),
    isShared: false,
    placed: ({ id, instance }) => {
      const { weight, disabled } = instance.metadata;
      return { id, instance: { ...instance, weight: Number(weight), isUp: disabled !== 'true' } };
    },
  };
}

/** An application's instances, which name the revision of its metadata. */
function applicationLevel(service: Service, published: PublishedDubbo): Level {
  const { application } = published;
  const metadata = parseApplicationMetadata(revisionDocument(published, {}));
  return {
    service: inNaming(service, application, (one) => instanceMetadata(published, one)),
    isShared: true,
    placed: ({ id, instance }) => {
      const found = readApplicationInstance({ ...instance, application, registeredAt: 0 });
      const [first] = found ? applicationProviders(published.service.interface, found, metadata, []) : [];
      if (first?.record.kind !== 'provider') throw new Error(`${id} would not be read back`);
      const read = first.record.instance;
      const isUp = read.status === 'UP' && read.weight > 0;
      return { id: read.id, instance: { ...instance, isUp, weight: read.weight, metadata: read.metadata } };
    },
  };
}

/** Dubbo goes by the weight and the state among the metadata; for Nacos all are alike. */
function inNaming(service: Service, name: string, metadataOf: (instance: PublishedInstance) => Metadata): Service {
  const instances = service.instances.map((instance) => ({
    ...instance,
    isUp: true,
    weight: 1,
    metadata: metadataOf({ ...instance, weight: instance.weight * nominalWeight }),
  }));
  return { ...service, key: { ...service.key, group: service.settings.group, name, version: '' }, instances };
}

/** Dubbo's weight of an instance that is as any other. */
const nominalWeight = 100;
