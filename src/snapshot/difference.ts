import { isDeepStrictEqual } from 'node:util';
import { compareText } from '#model/mesh.js';
import {
  type Instance,
  instancePlace,
  instanceText,
  type RegistryService,
  type ServiceKey,
  serviceId,
} from '#model/service.js';
import type { Known } from './known.js';

export type Change = 'added' | 'removed' | 'changed';

/** One instance that differs. */
export interface InstanceDifference {
  /** `address:port`; of several ports all of them. */
  readonly instance: string;
  readonly what: Change;
  /** Of a changed one: field → as it was and as it is. */
  readonly fields: Readonly<Record<string, readonly [before: unknown, after: unknown]>>;
}

/** One service that differs. */
export interface ServiceDifference {
  readonly service: ServiceKey;
  readonly what: Change;
  /** Of a changed one: its own fields that differ, beside its instances. */
  readonly fields: readonly string[];
  readonly instances: readonly InstanceDifference[];
}

/** In which services and instances two of what is known differ, in the order of the services. */
export function difference(before: Known, after: Known): ServiceDifference[] {
  const [was, is] = [servicesOf(before), servicesOf(after)];
  const ids = [...new Set([...was.keys(), ...is.keys()])].sort(compareText);
  return ids.flatMap((id) => ofService(was.get(id), is.get(id)) ?? []);
}

function servicesOf({ registries }: Known): Map<string, RegistryService> {
  return new Map(registries.flatMap(({ services }) => services.map((service) => [serviceId(service.key), service])));
}

function ofService(was: RegistryService | undefined, is: RegistryService | undefined): ServiceDifference | undefined {
  if (was === undefined && is === undefined) return undefined;
  if (isDeepStrictEqual(was, is)) return undefined;
  const { key } = (is ?? was) as RegistryService;
  const what = was === undefined ? 'added' : is === undefined ? 'removed' : 'changed';
  const fields =
    what === 'changed'
      ? (['kind', 'ports', 'metadata', 'rejected', 'notes', 'consumers'] as const).filter(
          (name) => !isDeepStrictEqual(was?.[name], is?.[name]),
        )
      : [];
  const instances = ofInstances(was?.instances ?? [], is?.instances ?? []);
  // Only in another order, it says the same.
  return what === 'changed' && fields.length + instances.length === 0
    ? undefined
    : { service: key, what, fields, instances };
}

function ofInstances(before: readonly Instance[], after: readonly Instance[]): InstanceDifference[] {
  const gone = new Map(before.map((instance) => [instancePlace(instance), instance]));
  const differences: InstanceDifference[] = [];
  for (const is of after) {
    const place = instancePlace(is);
    const was = gone.get(place);
    gone.delete(place);
    if (was === undefined) differences.push({ instance: instanceText(is), what: 'added', fields: {} });
    else if (!isDeepStrictEqual(was, is))
      differences.push({ instance: instanceText(is), what: 'changed', fields: fieldsOf(was, is) });
  }
  for (const was of gone.values()) differences.push({ instance: instanceText(was), what: 'removed', fields: {} });
  return differences;
}

function fieldsOf(was: Instance, is: Instance): InstanceDifference['fields'] {
  const names = [...new Set([...Object.keys(was), ...Object.keys(is)])] as (keyof Instance)[];
  const different = names.filter((name) => !isDeepStrictEqual(was[name], is[name]));
  return Object.fromEntries(different.map((name) => [name, [was[name], is[name]]]));
}
