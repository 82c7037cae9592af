import { createHash } from 'node:crypto';
import type { Protocol } from '#model/protocol.js';
import type { Metadata } from '#model/service.js';
import { type DubboService, endpointName } from './provider.js';

/** What is said of a service that is published, beside its instances. */
export interface PublishedDubbo {
  readonly service: DubboService;
  /** Name of the application that provides it. */
  readonly application: string;
  readonly protocol: 'dubbo' | 'tri';
  /** With commas; `*` for any. */
  readonly methods: string;
  /** Further parameters of the URL. */
  readonly params: Metadata;
}

/** What is said of one of its instances. */
export interface PublishedProvider {
  /** IPv6 without brackets. */
  readonly address: string;
  readonly port: number;
  readonly isUp: boolean;
  readonly weight: number;
  readonly metadata: Metadata;
}

/** Parameters that say where and as what an instance was registered: those of the one that a copy stands for are not the copy's. */
const own = new Set(
  (
    'interface group version path application category side weight enabled disabled methods bind.ip bind.port dynamic register ' +
    'check pid anyhost host register-mode mapping service-name-mapping mapping-type metadata-type token'
  ).split(' '),
);

/** One application for each service, unless a person names one: an instance of another service at the same place is then another instance. */
export function applicationOf({ interface: name, group, version }: DubboService): string {
  return [name, ...(version === '' ? [] : [`v-${version}`]), ...(group === '' ? [] : [`g-${group}`])].join('.');
}

/** How Dubbo's consumers call a port of the mesh. @throws Error if they do not */
export function dubboProtocol(protocol: Protocol): 'dubbo' | 'tri' {
  if (protocol === 'tri' || protocol === 'grpc' || protocol === 'http2') return 'tri';
  if (protocol === 'dubbo' || protocol === 'tcp') return 'dubbo';
  throw new Error(
    `its port speaks ${protocol}, and Dubbo's clients speak dubbo or tri: choose another port, or set protocol in the publication's block`,
  );
}

/** The name of a provider's znode: its URL, percent-encoded. The same each time, so that consumers never connect again for nothing. */
export function providerName(published: PublishedDubbo, provider: PublishedProvider): string {
  const { address, port } = provider;
  const host = address.includes(':') ? `[${address}]` : address;
  const url = endpointName({ protocol: published.protocol, host, port, path: published.service.interface });
  const params = { ...instanceParams(provider), ...serviceParams(published), application: published.application };
  const query = Object.entries(params).map(([key, value]) => `${key}=${value}`);
  return encodeURIComponent(`${url}?${query.sort().join('&')}`);
}

/** Metadata of an application's instance. It names its revision, and says that nobody has to be asked for that. */
export function instanceMetadata(published: PublishedDubbo, provider: PublishedProvider): Metadata {
  const { protocol } = published;
  return {
    ...instanceParams(provider),
    'dubbo.endpoints': JSON.stringify([{ port: provider.port, protocol }]),
    'dubbo.metadata.revision': revisionOf(published),
    'dubbo.metadata.storage-type': 'remote',
  };
}

/** What one revision of an application provides, as the metadata centre keeps it. @param mark fields that Dubbo does not read */
export function revisionDocument(published: PublishedDubbo, mark: Metadata): string {
  const { service, application, protocol } = published;
  const { interface: name, group, version } = service;
  const id = `${group === '' ? '' : `${group}/`}${name}${version === '' ? '' : `:${version}`}:${protocol}`;
  const one = {
    name,
    ...(group === '' ? {} : { group }),
    ...(version === '' ? {} : { version }),
    protocol,
    // The instance's own.
    port: -1,
    path: name,
    params: serviceParams(published),
  };
  return JSON.stringify({ app: application, revision: revisionOf(published), services: { [id]: one }, ...mark });
}

/** The revision of a service's metadata: the same for all its instances. */
export function revisionOf({ service, application, protocol, methods, params }: PublishedDubbo): string {
  const all = [service.interface, service.group, service.version, application, protocol, methods, params];
  return createHash('md5').update(JSON.stringify(all)).digest('hex');
}

function serviceParams({ service, methods, params }: PublishedDubbo): Metadata {
  const { interface: name, group, version } = service;
  return {
    dubbo: '2.0.2',
    side: 'provider',
    ...params,
    interface: name,
    methods,
    ...(group === '' ? {} : { group }),
    ...(version === '' ? {} : { version }),
  };
}

/** Without a time of its start an instance has no warm-up: it has served the mesh before. */
function instanceParams({ isUp, weight, metadata }: PublishedProvider): Metadata {
  const kept = Object.entries(metadata).filter(
    // A URL has no way to say a value with an ampersand, and consumers read some keys as their own.
    ([key, value]) =>
      !own.has(key) &&
      !/^(default\.|dubbo\.(endpoints|metadata))/.test(key) &&
      !/[&=?#\s]/.test(key) &&
      !/[&\n\r]/.test(value) &&
      value !== '',
  );
  return {
    ...Object.fromEntries(kept),
    dynamic: 'true',
    weight: String(Math.round(weight)),
    ...(isUp ? {} : { disabled: 'true' }),
  };
}

/** Metadata of a provider where a registry keeps its URL's parameters as such: Nacos. */
export function providerMetadata(published: PublishedDubbo, provider: PublishedProvider): Metadata {
  const { service, protocol, application } = published;
  const { interface: path } = service;
  return {
    ...instanceParams(provider),
    ...serviceParams(published),
    application,
    category: 'providers',
    path,
    protocol,
  };
}
