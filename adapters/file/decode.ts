import { type Document, LineCounter, parseDocument, visit } from 'yaml';
import { z } from 'zod';
import { offsetOf, type Path } from '#config/place.js';
import { parseAddress, parsePort } from '#model/address.js';
import type { Protocol } from '#model/protocol.js';
import { reasonOf } from '#model/reason.js';
import type { Instance, InstancePort, RegistryService, Rejection, ServiceKey, ServicePort } from '#model/service.js';
import { isObject } from '#sources/json.js';
import { fileSchema, instanceSchema, serviceSchema } from './schema.js';

/** What a file says of one service. */
export interface Entry {
  readonly key: ServiceKey;
  /** Where it begins: `services.yaml:3:5`. */
  readonly place: string;
  /** The service, or what is wrong with it and where. */
  readonly content: RegistryService | string;
}

/**
 * Reads the services of a file, YAML or JSON.
 * @param file its name, for messages
 * @throws Error with line and column if it is neither, or has no list of services: then nothing of it counts
 */
export function* decodeFile(text: string, file: string, registry: string): Generator<Entry, void> {
  const lines = new LineCounter();
  const document = parseDocument(text, { lineCounter: lines });
  const at = (offset: number): string => {
    const { line, col } = lines.linePos(offset);
    return `${file}:${Math.max(1, line)}:${Math.max(1, col)}`;
  };
  const place: Place = (path, key) => at(offsetOf(document, path, key));
  for (const { pos, message } of document.errors) throw new Error(`${at(pos[0])}: ${withoutPlace(message)}`);
  visit(document, {
    Alias: (_, node) => {
      if (node.resolve(document) !== undefined) return;
      throw new Error(`${at(node.range?.[0] ?? 0)}: *${node.source} refers to an anchor that is not there`);
    },
  });
  const { success, data, error } = fileSchema.safeParse(contentOf(document, at(0)));
  if (!success) throw new Error(`${described(error, [], place, fileSchema)}; expected "services:" with a list`);
  for (const [index, raw] of data.services.entries()) yield decodeEntry(raw, ['services', index], place, registry);
}

/** @throws Error if aliases make far more of the document than stands there */
function contentOf(document: Document, place: string): unknown {
  try {
    return document.toJS();
  } catch (error) {
    throw new Error(`${place}: ${reasonOf(error)}`, { cause: error });
  }
}

/** Where the node at a path begins, or a key of the map there. */
type Place = (path: Path, key?: string) => string;

function decodeEntry(raw: unknown, path: Path, place: Place, registry: string): Entry {
  const begin = place(path);
  const { success, data, error } = serviceSchema.safeParse(raw);
  if (!success)
    return { key: keyOf(raw, registry, begin), place: begin, content: described(error, path, place, serviceSchema) };
  const { name, namespace, group, version, metadata, ports } = data;
  const key = { registry, namespace, group, name, version };
  const instances: Instance[] = [];
  const rejected: Rejection[] = [];
  for (const [index, entry] of data.instances.entries()) {
    const where = [...path, 'instances', index];
    try {
      instances.push(decodeInstance(entry, ports));
    } catch (error) {
      const reason = error instanceof z.ZodError ? described(error, where, place, instanceSchema) : reasonOf(error);
      rejected.push({ record: place(where), reason });
    }
  }
  return {
    key,
    place: begin,
    content: { key, kind: 'file', ports, metadata, instances, rejected, consumers: [] },
  };
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
  const fields = isObject(entry) ? entry : {};
  const text = (name: string) => (['string', 'number'].includes(typeof fields[name]) ? String(fields[name]) : '');
  return {
    registry,
    namespace: text('namespace'),
    group: text('group'),
    name: text('name') || otherwise,
    version: text('version'),
  };
}

function described(error: z.ZodError, path: Path, place: Place, schema: z.ZodObject): string {
  return error.issues
    .map((issue) => {
      const [unknown] = issue.code === 'unrecognized_keys' ? issue.keys : [];
      const keys = issue.path.length === 0 ? `; the keys here are ${Object.keys(schema.shape).join(', ')}` : '';
      const message = unknown === undefined ? issue.message : `unknown key "${unknown}"${keys}`;
      const what = [issue.path.join('.'), message].filter((part) => part !== '').join(': ');
      return `${place([...path, ...issue.path], unknown)}: ${what}`;
    })
    .join('; ');
}

/** What the parser says, without the place and the drawing of it: those are ours to say, and the drawing shows the file's content. */
function withoutPlace(message: string): string {
  return (message.split('\n')[0] ?? '').replace(/ at line \d+, column \d+:$/, '');
}
