import {
  type ApplicationInstance,
  type ApplicationMetadata,
  type ApplicationRecord,
  applicationProviders,
  type ConsumerRecord,
  type DubboService,
  type ProviderRecord,
  readApplicationInstance,
  readProvider,
  serviceOf,
} from '#adapters/dubbo/index.js';
import { reasonOf } from '#model/reason.js';
import type { Instance, RegistryService, Rejection } from '#model/service.js';

/** What Dubbo registers under a name at the interface level. */
export interface DubboName {
  readonly category: 'providers' | 'consumers' | 'configurators' | 'routers';
  readonly service: DubboService;
}

const pattern = /^(providers|consumers|configurators|routers):([^:]+)(?::([^:]*))?(?::(.*))?$/;

/** Reads `<category>:<interface>:<version>:<group>`; undefined if it is another name. */
export function dubboName(name: string): DubboName | undefined {
  const [, category, interfaceName = '', version = '', group = ''] = pattern.exec(name) ?? [];
  if (category === undefined) return undefined;
  const params = { interface: interfaceName, version, group };
  return { category: category as DubboName['category'], service: serviceOf({ path: interfaceName, params }) };
}

/** Whether services of the name are read: nobody keeps rules in Nacos's naming. */
export function isRead({ category }: DubboName): boolean {
  return category === 'providers' || category === 'consumers';
}

/** The providers of a service `providers:...`; what one does not say of itself is in the name. */
export function providersOf(service: RegistryService, { service: named }: DubboName): ProviderRecord[] {
  const known = Object.entries(named).filter(([, value]) => value !== '');
  return service.instances.map((instance) => {
    const { id, address, metadata, ports } = instance;
    const params = { ...Object.fromEntries(known), ...metadata };
    const { protocol = 'dubbo', path = named.interface } = metadata;
    const data = { protocol, host: address, port: ports[0]?.number ?? 0, path, params, record: id };
    return asNacosSays(readProvider(data), instance);
  });
}

/** The consumers of a service `consumers:...`. */
export function consumersOf(service: RegistryService, { service: wanted }: DubboName): ConsumerRecord[] {
  return service.instances.map(({ address, metadata }) => ({
    kind: 'consumer',
    service: wanted,
    consumer: { application: metadata.application ?? '', address },
  }));
}

/** One instance of a Dubbo application. */
export interface NacosApplicationInstance {
  readonly instance: ApplicationInstance;
  /** As Nacos says it. */
  readonly raw: Instance;
}

/** A service as it is when Dubbo's instances are taken out of it. */
export interface Split {
  readonly rest: RegistryService;
  readonly applications: readonly NacosApplicationInstance[];
}

/** Takes a Dubbo application's instances out of the service of its name, where others may stand beside them: Spring Cloud uses that name, too. */
export function splitApplication(service: RegistryService): Split {
  const applications: NacosApplicationInstance[] = [];
  const instances: Instance[] = [];
  const rejected: Rejection[] = [...service.rejected];
  for (const raw of service.instances) {
    try {
      const { address, metadata } = raw;
      const port = raw.ports[0]?.number ?? 0;
      const data = { application: service.key.name, address, port, metadata, registeredAt: 0 };
      const instance = readApplicationInstance(data);
      if (instance === undefined) instances.push(raw);
      else applications.push({ instance, raw });
    } catch (error) {
      rejected.push({ record: raw.id, reason: reasonOf(error) });
    }
  }
  if (applications.length === 0 && rejected.length === service.rejected.length) return { rest: service, applications };
  return { rest: { ...service, instances, rejected }, applications };
}

/** What one instance gives to an interface by its metadata. */
export function recordsOf(
  interfaceName: string,
  { instance, raw }: NacosApplicationInstance,
  metadata: ApplicationMetadata,
): ApplicationRecord[] {
  return applicationProviders(interfaceName, instance, metadata, []).map(({ record, certain }) => ({
    record: asNacosSays(record, raw),
    certain,
  }));
}

/** Nacos's own word counts beside Dubbo's: health, and a weight that an operator has set. */
function asNacosSays(record: ProviderRecord, { status, weight }: Instance): ProviderRecord {
  if (record.kind !== 'provider') return record;
  return {
    ...record,
    ...(status === 'healthy' ? {} : { status }),
    ...(weight === 1 ? {} : { share: weight }),
  };
}
