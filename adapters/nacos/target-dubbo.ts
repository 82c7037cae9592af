import { dubboProtocol, type PublishedDubbo, providerMetadata } from '#adapters/dubbo/index.js';
import type { Placed, PublishedInstance, PublishedService } from '#publish/contract.js';
import type { TargetSettings } from './target-schema.js';

type Service = PublishedService<TargetSettings>;

/**
 * A Dubbo service as Nacos's naming has it at the interface level: `providers:<interface>:<version>:<group>`, with the parameters of the provider's URL as metadata.
 * Dubbo goes by the weight among these, not by Nacos's. Anything else stays as it is. @throws Error if Dubbo's consumers do not speak its protocol
 */
export function asNaming(service: Service): Service {
  const { settings, key } = service;
  if (settings.dubbo === undefined) return service;
  const { application = key.name, methods, params } = settings.dubbo;
  const published: PublishedDubbo = {
    service: { interface: key.name, group: key.group, version: key.version },
    application,
    protocol: settings.dubbo.protocol ?? dubboProtocol(service.protocol),
    methods: typeof methods === 'string' ? methods : methods.join(','),
    params,
  };
  const name = `providers:${key.name}:${key.version}:${key.group}`;
  return {
    ...service,
    key: { ...key, group: settings.group, name, version: '' },
    instances: service.instances.map((instance) => ({
      ...plain(instance),
      metadata: providerMetadata(published, { ...instance, weight: instance.weight * nominalWeight }),
    })),
  };
}

/** What of ours stands there, as naming has it. */
export function placedAsNaming({ settings }: Service, placed: readonly Placed[]): readonly Placed[] {
  if (settings.dubbo === undefined) return placed;
  return placed.map(({ id, instance }) => ({ id, instance: plain(instance) }));
}

/** What was written into naming, as a source reads it: as Dubbo's. */
export function placedAsDubbo({ settings }: Service, placed: readonly Placed[]): readonly Placed[] {
  if (settings.dubbo === undefined) return placed;
  return placed.map(({ id, instance }) => {
    const { weight, disabled } = instance.metadata;
    return { id, instance: { ...instance, weight: Number(weight), isUp: disabled !== 'true' } };
  });
}

/** Dubbo's weight of an instance that is as any other. */
const nominalWeight = 100;

/** For Nacos all are alike: Dubbo looks at what the metadata say. */
function plain(instance: PublishedInstance): PublishedInstance {
  return { ...instance, isUp: true, weight: 1 };
}
