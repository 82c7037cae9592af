import type { ServedShards } from '#catalog/shards.js';
import type { MeshPort, MeshService } from '#model/mesh.js';
import { type Protocol, protocols } from '#model/protocol.js';
import type {
  Consumer,
  Instance,
  InstancePort,
  Metadata,
  Note,
  RegistryService,
  Rejection,
  ServiceKey,
} from '#model/service.js';
import type { Answer } from '#probe/prober.js';
import type { Known, KnownEmpty, KnownHeld, KnownHold, KnownRegistry } from './known.js';

/** Held instances in one record, so that none takes long to write. */
const mostHeld = 1_000;

type Raw = Readonly<Record<string, unknown>>;

/** What is known as a sequence of records, none of them big; each becomes JSON. What belongs to a registry or to a hold comes after it. */
export function* toRecords({ serve, registries, empty }: Known): Generator<object, void> {
  if (serve !== undefined) yield { serve };
  for (const { services, holds, ...registry } of registries) {
    yield { registry };
    for (const service of services) yield { service };
    for (const { instances, ...hold } of holds) {
      yield { hold };
      for (let from = 0; from < instances.length; from += mostHeld)
        yield { held: instances.slice(from, from + mostHeld) };
    }
  }
  for (const { service, left } of empty) yield { empty: { ...service, endpoints: undefined }, left };
}

/**
 * What was known, from the JSON of {@link toRecords}. Every field is checked, and optional ones are as the adapters give them: what a registry says again is then
 * no change.
 * @throws Error that says what was found in which record
 */
export function fromRecords(records: Iterable<unknown>, savedAt: number): Known {
  const registries: Building<KnownRegistry>[] = [];
  const empty: KnownEmpty[] = [];
  let serve: ServedShards | undefined;
  let count = 0;
  for (const record of records) {
    count++;
    try {
      const raw = object(record);
      if ('serve' in raw) serve = servedShards(raw.serve);
      else take(raw, registries, empty);
    } catch (error) {
      throw new Error(`record ${count}: ${(error as Error).message}`, { cause: error });
    }
  }
  return { savedAt, ...(serve === undefined ? {} : { serve }), registries, empty };
}

function servedShards(value: unknown): ServedShards {
  const raw = object(value);
  const [from, to, of] = [number(raw, 'from'), number(raw, 'to'), number(raw, 'of')];
  return { from, to, of };
}

/** The lists of what is taken record by record. */
type Building<Type> = { readonly [Key in keyof Type]: Type[Key] extends readonly (infer Item)[] ? Item[] : Type[Key] };

function take(record: Raw, registries: Building<KnownRegistry>[], empty: KnownEmpty[]): void {
  const registry = registries.at(-1);
  if ('service' in record) of(registry, 'service').services.push(service(record.service));
  else if ('held' in record) {
    const hold = of(registry, 'held').holds.at(-1) as Building<KnownHold> | undefined;
    of(hold, 'held').instances.push(...list(record, 'held').map(held));
  } else if ('hold' in record) of(registry, 'hold').holds.push({ ...hold(record.hold), instances: [] });
  else if ('empty' in record)
    empty.push({ service: meshService(record.empty), left: optional(record, 'left', number) });
  else if ('registry' in record) {
    const raw = object(record.registry);
    const [name, type, source] = [text(raw, 'name'), text(raw, 'type'), text(raw, 'source')];
    registries.push({ name, type, source, services: [], holds: [] });
  } else throw new Error(`of an unknown kind: ${Object.keys(record).join(', ')}`);
}

function of<Owner>(owner: Owner | undefined, what: string): Owner {
  if (owner === undefined) throw new Error(`${what}: nothing before it that it could belong to`);
  return owner;
}

function service(value: unknown): RegistryService {
  const raw = object(value);
  const made = {
    key: key(raw.key),
    kind: text(raw, 'kind'),
    ports: list(raw, 'ports').map(port),
    metadata: metadata(raw, 'metadata'),
    instances: list(raw, 'instances').map(instance),
    rejected: list(raw, 'rejected').map(rejection),
    consumers: list(raw, 'consumers').map(consumer),
  };
  return {
    ...made,
    ...(raw.vips === undefined ? {} : { vips: texts(raw, 'vips') }),
    ...(raw.notes === undefined ? {} : { notes: list(raw, 'notes').map(note) }),
  };
}

function key(value: unknown): ServiceKey {
  const raw = object(value);
  return {
    registry: text(raw, 'registry'),
    namespace: text(raw, 'namespace'),
    group: text(raw, 'group'),
    name: text(raw, 'name'),
    version: text(raw, 'version'),
  };
}

function instance(value: unknown): Instance {
  const raw = object(value);
  const made = {
    id: text(raw, 'id'),
    address: text(raw, 'address'),
    ports: list(raw, 'ports').map(port),
    status: text(raw, 'status'),
    weight: number(raw, 'weight'),
    zone: text(raw, 'zone'),
    locality: optional(raw, 'locality', text),
    network: optional(raw, 'network', text),
    metadata: metadata(raw, 'metadata'),
    changedAt: number(raw, 'changedAt'),
  };
  if (raw.warmup === undefined) return made;
  const warmup = object(raw.warmup);
  return { ...made, warmup: { since: number(warmup, 'since'), length: number(warmup, 'length') } };
}

function port(value: unknown): InstancePort {
  const raw = object(value);
  return { name: text(raw, 'name'), protocol: protocol(raw), number: number(raw, 'number') };
}

function rejection(value: unknown): Rejection {
  const raw = object(value);
  return { record: text(raw, 'record'), reason: text(raw, 'reason') };
}

function note(value: unknown): Note {
  const raw = object(value);
  return { record: text(raw, 'record'), text: text(raw, 'text') };
}

function consumer(value: unknown): Consumer {
  const raw = object(value);
  return { application: text(raw, 'application'), address: text(raw, 'address') };
}

function hold(value: unknown): Omit<KnownHold, 'instances'> {
  const raw = object(value);
  return {
    scope: oneOf(raw, 'scope', ['registry', 'service']),
    service: optional(raw, 'service', text),
    since: number(raw, 'since'),
    left: number(raw, 'left'),
    dead: number(raw, 'dead'),
    reason: text(raw, 'reason'),
  };
}

function held(value: unknown): KnownHeld {
  const raw = object(value);
  const made = { service: text(raw, 'service'), place: text(raw, 'place'), why: text(raw, 'why') };
  const answer = optional(raw, 'answer', (from, name) => oneOf<Answer>(from, name, ['accepted', 'refused', 'silent']));
  return answer === undefined ? made : { ...made, answer };
}

function meshService(value: unknown): MeshService {
  const raw = object(value);
  // Of one that waits for its deletion.
  const heldBy = optional(raw, 'heldBy', texts);
  return {
    ...(heldBy === undefined ? {} : { heldBy }),
    host: text(raw, 'host'),
    namespace: text(raw, 'namespace'),
    exportTo: texts(raw, 'exportTo'),
    location: oneOf(raw, 'location', ['internal', 'external']),
    revision: optional(raw, 'revision', text),
    vips: texts(raw, 'vips'),
    ports: list(raw, 'ports').map((value): MeshPort => port(value)),
    // Not in snapshots that were written before pods were read.
    identities: raw.identities === undefined ? [] : texts(raw, 'identities'),
    native: raw.native === undefined ? false : flag(raw, 'native'),
    resolution: oneOf(raw, 'resolution', ['static', 'dns']),
    uniform: flag(raw, 'uniform'),
    endpoints: [],
    unreachable: list(raw, 'unreachable').map(rejection),
    origins: list(raw, 'origins').map(key),
  };
}

function object(value: unknown): Raw {
  if (typeof value !== 'object' || value === null)
    throw new Error(`expected an object, found ${JSON.stringify(value)}`);
  return value as Raw;
}

function list(raw: Raw, name: string): readonly unknown[] {
  const value = raw[name];
  return Array.isArray(value) ? value : wrong(name, 'a list', value);
}

function text(raw: Raw, name: string): string {
  const value = raw[name];
  return typeof value === 'string' ? value : wrong(name, 'text', value);
}

function texts(raw: Raw, name: string): string[] {
  return list(raw, name).map((value) => (typeof value === 'string' ? value : wrong(name, 'texts', value)));
}

function number(raw: Raw, name: string): number {
  const value = raw[name];
  // JSON has no infinity: a registry may say 1e999, and it is written as null.
  if (value === null) return Number.POSITIVE_INFINITY;
  return typeof value === 'number' ? value : wrong(name, 'a number', value);
}

function flag(raw: Raw, name: string): boolean {
  const value = raw[name];
  return typeof value === 'boolean' ? value : wrong(name, 'true or false', value);
}

function optional<Type>(raw: Raw, name: string, read: (raw: Raw, name: string) => Type): Type | undefined {
  return raw[name] === undefined ? undefined : read(raw, name);
}

function oneOf<Word extends string>(raw: Raw, name: string, words: readonly Word[]): Word {
  const value = raw[name] as Word;
  return words.includes(value) ? value : wrong(name, words.join(' or '), value);
}

function protocol(raw: Raw): Protocol {
  const value = raw.protocol;
  return typeof value === 'string' && Object.hasOwn(protocols, value)
    ? (value as Protocol)
    : wrong('protocol', 'a known one', value);
}

function metadata(raw: Raw, name: string): Metadata {
  const value = object(raw[name]);
  for (const key in value) if (typeof value[key] !== 'string') wrong(`${name}.${key}`, 'text', value[key]);
  return value as Metadata;
}

function wrong(name: string, expected: string, found: unknown): never {
  throw new Error(`${name}: expected ${expected}, found ${JSON.stringify(found)?.slice(0, 100) ?? 'nothing'}`);
}
