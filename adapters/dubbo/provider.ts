import { parseAddress, parsePort, short } from '#model/address.js';
import { type Protocol, parseProtocol } from '#model/protocol.js';
import { reasonOf } from '#model/reason.js';
import type { Instance, Metadata, Rejection, Warmup } from '#model/service.js';
import { Shared } from '#model/shared.js';
import { type DubboUrl, decodeName, param, parseUrl } from './url.js';

/** What a consumer asks for: an interface in a group and version, both empty where unset. */
export interface DubboService {
  readonly interface: string;
  readonly group: string;
  readonly version: string;
}

/** One provider record, read: an endpoint of a service; or why it is none; or something that is no provider at all. */
export type ProviderRecord =
  | {
      readonly kind: 'provider';
      readonly service: DubboService;
      readonly instance: Instance;
      /** What the registry itself says beside Dubbo: the weight counts times this, 1 if it is not there. */
      readonly share?: number;
      /** What the registry itself says beside Dubbo, and no rule changes: the status of an instance that Dubbo would call. */
      readonly status?: string;
    }
  /** `service` is undefined where the record does not even say what it provides. */
  | { readonly kind: 'rejected'; readonly service: DubboService | undefined; readonly rejection: Rejection }
  | { readonly kind: 'none' };

/** A provider's data, wherever a registry keeps it. */
export interface ProviderData extends Omit<DubboUrl, 'port'> {
  readonly port: string | number;
  /** Names the record for people. */
  readonly record: string;
}

/** The weight of a provider that says nothing. */
export const defaultWeight = 100;

/** ms in which a provider takes on its weight, unless it says another. */
const defaultWarmup = 10 * 60_000;

const maxName = 253;

/** Protocols of Dubbo beyond those that the model knows by the same name. */
const otherProtocols: Readonly<Record<string, Protocol>> = {
  triple: 'tri',
  rest: 'http',
  hessian: 'http',
  webservice: 'http',
  'native-redis': 'redis',
};

/** Reads the name of a znode under `providers`: a percent-encoded URL. Never throws. */
export function parseProvider(name: string): ProviderRecord {
  let url: DubboUrl;
  try {
    url = parseUrl(decodeName(name));
  } catch (error) {
    return { kind: 'rejected', service: undefined, rejection: { record: short(name), reason: reasonOf(error) } };
  }
  return readProvider({ ...url, record: endpointName(url) });
}

/** Reads a provider whose parts are known. Never throws. */
export function readProvider(data: ProviderData): ProviderRecord {
  if (data.protocol === 'empty') return { kind: 'none' };
  const category = param(data.params, 'category');
  if (category !== '' && !category.split(',').includes('providers')) return { kind: 'none' };
  const named = serviceOf(data);
  const service = isSaneName(named) ? named : undefined;
  try {
    return { kind: 'provider', service: named, instance: readInstance(data, service) };
  } catch (error) {
    return { kind: 'rejected', service, rejection: { record: data.record, reason: reasonOf(error) } };
  }
}

/** `protocol://host:port/path`: what a URL says without its parameters. */
export function endpointName({ protocol, host, port, path }: Omit<ProviderData, 'params' | 'record'>): string {
  const place = port === '' ? host : `${host}:${port}`;
  return short(`${protocol}://${place}${path === '' ? '' : `/${path}`}`);
}

/** The service that a record is about. Dubbo takes version 0.0.0 for none. */
export function serviceOf({ path, params }: Pick<DubboUrl, 'path' | 'params'>): DubboService {
  const version = param(params, 'version');
  return {
    interface: param(params, 'interface') || path,
    group: param(params, 'group'),
    version: version === '0.0.0' ? '' : version,
  };
}

/** Names longer than a host name can be are no names; they are kept out of the keys of services. */
function isSaneName(service: DubboService): boolean {
  return service.interface !== '' && Object.values(service).every((part) => part.length <= maxName);
}

const ports = new Shared<Instance['ports']>();

function readInstance(data: ProviderData, service: DubboService | undefined): Instance {
  const { params } = data;
  if (service === undefined)
    throw new Error(`interface, group and version are no names of 1 (or 0) to ${maxName} characters`);
  return {
    id: data.record,
    address: parseAddress(data.host).text,
    ports: ports.of(`${data.protocol} ${data.port}`, () => [
      { name: '', protocol: readProtocol(data.protocol), number: parsePort(data.port) },
    ]),
    locality: undefined,
    network: undefined,
    changedAt: readTime(params.timestamp),
    ...readParams(params),
  };
}

/** The instance with other parameters; when it last changed stays as it was. */
export function withParams({ warmup: _, ...instance }: Instance, params: Metadata): Instance {
  return { ...instance, ...readParams(params) };
}

function readParams(params: Metadata): Pick<Instance, 'status' | 'weight' | 'warmup' | 'zone' | 'metadata'> {
  const warmup = readWarmup(params);
  return {
    status: isDisabled(params) ? 'disabled' : 'UP',
    weight: readWeight(param(params, 'weight')),
    ...(warmup === undefined ? {} : { warmup }),
    zone: param(params, 'zone'),
    metadata: params,
  };
}

/** Without the time of its start a provider has none. */
function readWarmup(params: Metadata): Warmup | undefined {
  const since = readTime(params.timestamp);
  const text = param(params, 'warmup');
  const length = /^-?\d{1,9}$/.test(text) ? Number(text) : defaultWarmup;
  return since > 0 && length > 0 ? { since, length } : undefined;
}

function readProtocol(word: string): Protocol {
  const protocol = parseProtocol(word) ?? (Object.hasOwn(otherProtocols, word) ? otherProtocols[word] : undefined);
  if (protocol === undefined) throw new Error(`protocol "${short(word)}" cannot be carried by a mesh`);
  return protocol;
}

/** `disabled` counts, and without it `enabled`. */
function isDisabled(params: Metadata): boolean {
  const disabled = param(params, 'disabled').toLowerCase();
  const enabled = param(params, 'enabled').toLowerCase();
  return disabled === '' ? enabled !== '' && enabled !== 'true' : disabled === 'true';
}

function readWeight(text: string): number {
  return /^-?\d{1,9}$/.test(text) ? Math.max(0, Number(text)) : defaultWeight;
}

/** ms since 1970, from decimal digits; 0 if they are none. */
export function readTime(text: string | undefined): number {
  return text !== undefined && /^\d{1,15}$/.test(text) ? Number(text) : 0;
}
