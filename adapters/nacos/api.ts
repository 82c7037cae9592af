import { createHash } from 'node:crypto';
import { z } from 'zod';
import { hostPortText } from '#config/fields.js';
import { HttpError, HttpServers } from '#sources/http.js';
import { Credentials } from './credentials.js';
import type { NacosConfig } from './schema.js';
import { anyService, type Resource } from './signature.js';

/** Names one service within one Nacos. `namespace` is an id; the default one is `public` in all versions. */
export interface ServiceName {
  readonly namespace: string;
  readonly group: string;
  readonly name: string;
}

/** One page of a list of services. */
export interface Page<Item> {
  /** How many there are on all pages together. */
  readonly total: number;
  readonly items: readonly Item[];
}

export interface Namespace {
  readonly id: string;
  readonly name: string;
}

/** One question, and how a version asks it and answers. */
interface Dialect<Answer> {
  readonly path: string;
  /** What it always asks for. */
  readonly query?: Readonly<Record<string, string>>;
  readonly answer: z.ZodType<Answer>;
}

/** Where a server may tell of changes over UDP. */
export interface PushAddress {
  readonly clientIP: string;
  readonly udpPort: string;
}

/** Servers push to clients that call themselves so. */
const pushable = { 'user-agent': 'Nacos-Java-Client:v1.0.0' };

/** A service within its namespace. */
export type GroupedService = Pick<ServiceName, 'group' | 'name'>;

const service = z
  .object({ name: z.string().min(1), groupName: z.string().min(1) })
  .transform(({ name, groupName }): GroupedService => ({ group: groupName, name: plainName(name) }));

const allServices: readonly Dialect<Page<GroupedService>>[] = [
  {
    path: '/v3/admin/ns/service/list',
    answer: z
      .object({ data: z.object({ totalCount: z.number(), pageItems: z.array(service) }) })
      .transform(({ data }) => ({ total: data.totalCount, items: data.pageItems })),
  },
  {
    path: '/v1/ns/catalog/services',
    query: { withInstances: 'false', hasIpCount: 'false' },
    answer: z
      .object({ count: z.number(), serviceList: z.array(service) })
      .transform(({ count, serviceList }) => ({ total: count, items: serviceList })),
  },
];

const servicesOfGroup: readonly Dialect<Page<string>>[] = [
  {
    path: '/v1/ns/service/list',
    answer: z
      .object({ count: z.number(), doms: z.array(z.string().min(1)) })
      .transform(({ count, doms }) => ({ total: count, items: doms.map(plainName) })),
  },
];

const clusterMap = z.record(z.string(), z.looseObject({ hosts: z.array(z.unknown()) }));
const details = z.array(
  z
    .object({
      serviceName: z.string().min(1),
      groupName: z.string().min(1),
      clusterMap,
      protectThreshold: z.unknown().optional(),
    })
    .transform(({ serviceName, groupName, ...content }) => ({
      group: groupName,
      name: plainName(serviceName),
      digest: digestOf(content),
    })),
);
const overview: readonly Dialect<z.output<typeof details>>[] = [
  { path: '/v1/ns/catalog/services', query: { withInstances: 'true' }, answer: details },
  {
    path: '/v3/admin/ns/service/list',
    query: { withInstances: 'true' },
    answer: z.object({ data: z.object({ pageItems: details }) }).transform(({ data }) => data.pageItems),
  },
];

const instances: readonly Dialect<unknown>[] = [
  // What the service holds is decoded elsewhere.
  { path: '/v1/ns/instance/list', query: { clusters: '', healthyOnly: 'false' }, answer: z.unknown() },
];

const namespace = z
  .object({ namespace: z.string(), namespaceShowName: z.string() })
  .transform((one): Namespace => ({ id: one.namespace || 'public', name: one.namespaceShowName }));
const namespaceList = z.object({ data: z.array(namespace) }).transform(({ data }): readonly Namespace[] => data);

const namespaces: readonly Dialect<readonly Namespace[]>[] = [
  { path: '/v3/admin/core/namespace/list', answer: namespaceList },
  { path: '/v1/console/namespaces', answer: namespaceList },
];

const version = z.string().min(1);
const versions: readonly Dialect<string>[] = [
  {
    path: '/v3/admin/core/state',
    answer: z.object({ data: z.object({ version }) }).transform(({ data }) => data.version),
  },
  { path: '/v1/console/server/state', answer: z.object({ version }).transform((state) => state.version) },
];

/**
 * The HTTP API of Nacos 1 to 3: what gRPC cannot answer (services of all groups, namespaces), and all that there is for Nacos 1.
 * Each question is asked the way the newest version wants it, and the way of older ones where that is unknown.
 */
export class HttpApi {
  /** For gRPC, which takes the same ones. */
  readonly credentials: Credentials;
  readonly #http: HttpServers;
  /** The dialect that was understood last, per question. */
  readonly #spoken = new Map<readonly Dialect<unknown>[], Dialect<unknown>>();

  /** @throws Error of the file system if a certificate cannot be read */
  constructor(config: NacosConfig) {
    this.#http = httpServers(config);
    this.credentials = new Credentials(this.#http, config.auth);
  }

  /** One page of the services of all groups. @throws HttpError */
  allServices(namespaceId: string, pageNo: number, pageSize: number, signal: AbortSignal) {
    return this.#ask(allServices, { namespaceId, pageNo: `${pageNo}`, pageSize: `${pageSize}` }, signal);
  }

  /** One page of the names of one group's services. @throws HttpError */
  servicesOfGroup(namespaceId: string, groupName: string, pageNo: number, pageSize: number, signal: AbortSignal) {
    const query = { namespaceId, groupName, pageNo: `${pageNo}`, pageSize: `${pageSize}` };
    return this.#ask(servicesOfGroup, query, signal, { module: 'naming', group: groupName, service: '' });
  }

  /** What is known of one service, in all clusters. @param pushTo is told of its changes in the 10 s to come. @throws HttpError */
  instances(service: ServiceName, signal: AbortSignal, pushTo?: PushAddress): Promise<unknown> {
    const { namespace: namespaceId, group, name } = service;
    const query = { namespaceId, serviceName: groupedName(service), ...pushTo };
    const headers = pushTo === undefined ? {} : pushable;
    return this.#ask(instances, query, signal, { module: 'naming', group, service: name }, headers);
  }

  /**
   * One page of the services of all groups, each with a digest that changes when it or an instance of it does. The last page is shorter than the others.
   * @throws HttpError
   */
  overview(namespaceId: string, pageNo: number, pageSize: number, signal: AbortSignal) {
    return this.#ask(overview, { namespaceId, pageNo: `${pageNo}`, pageSize: `${pageSize}` }, signal);
  }

  /** @throws HttpError */
  namespaces(signal: AbortSignal): Promise<readonly Namespace[]> {
    return this.#ask(namespaces, {}, signal);
  }

  /** A JSON answer to one question, with whatever lets us in. @param resource what the question is about */
  #get(
    path: string,
    query: Readonly<Record<string, string>>,
    resource: Resource,
    signal: AbortSignal,
    headers: Readonly<Record<string, string>> = {},
  ): Promise<unknown> {
    return this.credentials.use(resource, signal, isRefusal, ({ token, identity, signature }) =>
      this.#http.json(`${path}?${new URLSearchParams({ ...query, ...signature })}`, {
        signal,
        headers: { ...headers, ...identity, ...(token === undefined ? {} : { authorization: `Bearer ${token}` }) },
      }),
    );
  }

  async close(): Promise<void> {
    await this.#http.close();
  }

  async #ask<Answer>(
    dialects: readonly Dialect<Answer>[],
    query: Readonly<Record<string, string>>,
    signal: AbortSignal,
    resource = anyService,
    headers: Readonly<Record<string, string>> = {},
  ): Promise<Answer> {
    const spoken = dialects.find((dialect) => this.#spoken.get(dialects) === dialect);
    const inTurn = spoken === undefined ? dialects : [spoken, ...dialects.filter((other) => other !== spoken)];
    let refusal: HttpError | undefined;
    for (const dialect of inTurn) {
      try {
        const answer = dialect.answer.parse(
          await this.#get(dialect.path, { ...dialect.query, ...query }, resource, signal, headers),
        );
        this.#spoken.set(dialects, dialect);
        return answer;
      } catch (error) {
        if (error instanceof z.ZodError)
          throw new HttpError(`${dialect.path} answered something else: ${z.prettifyError(error)}`, 200);
        if (!isNotToBeHad(error)) throw error;
        // That it is forbidden says more than that the other ways are unknown.
        if (refusal?.status !== 403) refusal = error;
        if (error.status === 403) break;
      }
    }
    throw await this.#explained(refusal, signal);
  }

  async #explained(refusal: HttpError | undefined, signal: AbortSignal): Promise<HttpError> {
    const found = await this.#version(signal);
    const hint =
      refusal?.status === 403
        ? 'does not allow this question to this user (Nacos 3 wants an administrator; groups that are listed by exact name need none)'
        : 'does not have this question in its API (see api and contextPath in the configuration)';
    return new HttpError(`Nacos ${found} ${hint}: ${refusal?.message}`, refusal?.status);
  }

  async #version(signal: AbortSignal): Promise<string> {
    for (const { path, answer } of versions) {
      const state = answer.safeParse(await this.#get(path, {}, anyService, signal).catch(() => undefined));
      if (state.success) return state.data;
    }
    return 'of unknown version';
  }
}

/** The servers over HTTP, at eight connections each. @throws Error of the file system if a certificate cannot be read */
export function httpServers(config: NacosConfig): HttpServers {
  const tls = config.tls?.only === 'grpc' ? undefined : config.tls;
  const scheme = tls === undefined ? 'http' : 'https';
  return new HttpServers({
    servers: config.servers.map((server) => `${scheme}://${hostPortText(server)}${config.contextPath}`),
    tls,
    connections: 8,
  });
}

/** `group@@name`, as Nacos itself names a service within a namespace. */
export function groupedName({ group, name }: GroupedService): string {
  return `${group}@@${name}`;
}

/** Names a service within one Nacos in one string. */
export function idOf(service: ServiceName): string {
  return `${service.namespace}@@${groupedName(service)}`;
}

/** `name` of `group@@name`, the form in which some answers have it. */
export function plainName(name: string): string {
  const end = name.indexOf('@@');
  return end === -1 ? name : name.slice(end + 2);
}

/** Whether the server has no such question in its API, or does not allow it. */
export function isNotToBeHad(error: unknown): error is HttpError {
  return error instanceof HttpError && [403, 404, 410].includes(error.status ?? 0);
}

/** The same for the same instances in another order. */
function digestOf(content: { clusterMap: z.output<typeof clusterMap>; protectThreshold?: unknown }): string {
  const records = Object.entries(content.clusterMap).flatMap(([cluster, { hosts }]) =>
    hosts.map((host) => JSON.stringify([cluster, host])),
  );
  return createHash('sha1')
    .update([content.protectThreshold, ...records.sort()].join('\n'))
    .digest('base64');
}

/** Whether an error is about who asks. */
export function isRefusal(error: unknown): boolean {
  return error instanceof HttpError && (error.status === 401 || error.status === 403);
}
