import { parse } from 'yaml';
import { z } from 'zod';
import { parseAddress, parsePort } from '#model/address.js';
import type { Protocol } from '#model/protocol.js';
import { reasonOf } from '#model/reason.js';
import {
  type Instance,
  type InstancePort,
  type RegistryService,
  type Rejection,
  type ServiceKey,
  type ServicePort,
  serviceId,
} from '#model/service.js';
import { fileSchema, instanceSchema, serviceSchema } from './schema.js';

/** A file's services, and those that it names and does not describe properly. */
export interface Decoded {
  readonly services: readonly RegistryService[];
  readonly unreadable: readonly { readonly key: ServiceKey; readonly error: Error }[];
}

/**
 * Reads a file of services.
 * @throws Error if it is not YAML, or has no list of services: then nothing of it counts
 */
export function decodeFile(text: string, registry: string): Decoded {
  const file = fileSchema.safeParse(parse(text));
  if (!file.success) throw new Error(`expected "services:" with a list: ${described(file.error)}`);
  const services: RegistryService[] = [];
  const unreadable: { key: ServiceKey; error: Error }[] = [];
  for (const [index, entry] of file.data.services.entries()) {
    const service = serviceSchema.safeParse(entry);
    if (service.success) {
      const { name, namespace, group, version, metadata, ports, instances } = service.data;
      const key = { registry, namespace, group, name, version };
      if (services.some((other) => serviceId(other.key) === serviceId(key))) {
        unreadable.push({
          key: { ...key, name: `services[${index}]` },
          error: new Error(`services[${index}]: "${name}" stands above already`),
        });
        continue;
      }
      services.push({
        key,
        kind: 'file',
        ports,
        metadata,
        ...decodeInstances(instances, ports),
        consumers: [],
      });
    } else {
      const key = keyOf(entry, registry, `services[${index}]`);
      unreadable.push({ key, error: new Error(`services[${index}]: ${described(service.error)}`) });
    }
  }
  return { services, unreadable };
}

function decodeInstances(
  entries: readonly unknown[],
  ports: readonly ServicePort[],
): { instances: Instance[]; rejected: Rejection[] } {
  const instances: Instance[] = [];
  const rejected: Rejection[] = [];
  for (const [index, entry] of entries.entries()) {
    const record = `instances[${index}]`;
    try {
      instances.push(decodeInstance(entry, ports));
    } catch (error) {
      const reason = error instanceof z.ZodError ? described(error) : reasonOf(error);
      rejected.push({ record, reason });
    }
  }
  return { instances, rejected };
}

function decodeInstance(entry: unknown, servicePorts: readonly ServicePort[]): Instance {
  const { id, address, port, ports, metadata, locality, network, ...rest } = instanceSchema.parse(entry);
  const { text } = parseAddress(address);
  const instancePorts = ports === undefined ? [onlyPort(port, servicePorts)] : namedPorts(ports, servicePorts);
  return {
    ...rest,
    id: id ?? `${text}:${instancePorts.map(({ number }) => number).join('+')}`,
    address: text,
    ports: instancePorts,
    metadata,
    locality,
    network,
    changedAt: 0,
  };
}

function onlyPort(port: unknown, servicePorts: readonly ServicePort[]): InstancePort {
  const [only, ...others] = servicePorts;
  if (others.length > 0) throw new Error('the service has several ports: expected "ports" with a number for each');
  const protocol: Protocol = only?.protocol ?? 'http';
  return { name: only?.name ?? '', protocol, number: parsePort(port) };
}

function namedPorts(numbers: Readonly<Record<string, unknown>>, servicePorts: readonly ServicePort[]): InstancePort[] {
  const ports = Object.entries(numbers).map(([name, number]) => {
    const declared = servicePorts.find((port) => port.name === name);
    if (declared === undefined) throw new Error(`port "${name}" is none of the service's ports`);
    return { name, protocol: declared.protocol, number: parsePort(number) };
  });
  if (ports.length === 0) throw new Error('"ports" is empty');
  return ports;
}

/** The key of a service that is malformed elsewhere, so that what is known of it stays. */
function keyOf(entry: unknown, registry: string, otherwise: string): ServiceKey {
  const fields: Readonly<Record<string, unknown>> = typeof entry === 'object' && entry !== null ? { ...entry } : {};
  const text = (name: string) => (['string', 'number'].includes(typeof fields[name]) ? String(fields[name]) : '');
  return {
    registry,
    namespace: text('namespace'),
    group: text('group'),
    name: text('name') || otherwise,
    version: text('version'),
  };
}

function described(error: z.ZodError): string {
  return error.issues
    .map(({ path, message }) => [path.join('.'), message].filter((part) => part !== '').join(': '))
    .join('; ');
}
