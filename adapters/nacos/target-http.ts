import { z } from 'zod';
import { short } from '#model/address.js';
import type { Metadata } from '#model/service.js';
import { HttpError, type HttpServers, parseJson } from '#sources/http.js';
import { httpServers, isNotToBeHad, isRefusal, type ServiceName } from './api.js';
import { Credentials } from './credentials.js';
import type { NacosConfig } from './schema.js';
import type { InstanceKind } from './target-schema.js';

/** Which instance of a service. */
export interface InstanceName {
  readonly service: ServiceName;
  readonly cluster: string;
  /** IPv4, IPv6 or DNS name. */
  readonly ip: string;
  readonly port: number;
  readonly kind: InstanceKind;
}

/** An instance as it is registered: enabled and healthy. */
export interface WrittenInstance extends InstanceName {
  readonly weight: number;
  readonly metadata: Metadata;
}

const standing = z.object({
  ip: z.string(),
  port: z.number(),
  weight: z.number(),
  ephemeral: z.boolean(),
  metadata: z.record(z.string(), z.string()).nullish(),
});

/** An instance that stands there. */
export type Standing = z.output<typeof standing>;

/** The server does not take an instance. */
export class Refused extends Error {
  override readonly name = 'Refused';
}

/** The service holds instances of the other kind. */
export class OtherKind extends Error {
  override readonly name = 'OtherKind';
  readonly kind: InstanceKind;
  constructor(kind: InstanceKind, message: string) {
    super(message);
    this.kind = kind;
  }
}

/** What a server says against an instance. */
export function refusalOf(reason: string): Refused | OtherKind {
  const kind = /is (ephemeral|persistent) service/.exec(reason)?.[1];
  return kind === undefined ? new Refused(reason) : new OtherKind(kind as InstanceKind, reason);
}

/** How one generation of servers is written to. */
interface Dialect {
  readonly path: string;
  /** The ways to list a cluster. The first one shows disabled instances, too, and not everybody may ask for it. */
  readonly lists: readonly { readonly path: string; readonly answer: z.ZodType<readonly Standing[]> }[];
  readonly beat: { readonly method: 'PUT' | 'POST'; readonly path: string; readonly query: Record<string, string> };
  /** What a beat answers for an instance that is not there. */
  readonly unknown: number;
}

const everyPage = { pageNo: '1', pageSize: '100000' };
const data = z.object({ data: z.array(standing) }).transform((answer) => answer.data);

const v3: Dialect = {
  path: '/v3/client/ns/instance',
  lists: [
    { path: '/v3/admin/ns/instance/list', answer: data },
    { path: '/v3/client/ns/instance/list', answer: data },
  ],
  beat: { method: 'POST', path: '/v3/client/ns/instance', query: { heartBeat: 'true' } },
  unknown: 21_003,
};
const v1: Dialect = {
  path: '/v1/ns/instance',
  lists: [
    {
      path: '/v1/ns/catalog/instances',
      answer: z.object({ list: z.array(standing) }).transform((answer) => answer.list),
    },
    {
      path: '/v1/ns/instance/list',
      answer: z.object({ hosts: z.array(standing) }).transform((answer) => answer.hosts),
    },
  ],
  beat: { method: 'PUT', path: '/v1/ns/instance/beat', query: {} },
  unknown: 20_404,
};

const code = z.object({ code: z.number() });
/** What a list answers with the status 404 when the question is known and the service is not, or has nothing in the cluster. */
const noService = /service .* is not found/i;
const noCluster = /cluster .* is not found/i;

/** Registers, renews and withdraws single instances over HTTP, in the API of the servers' version. */
export class InstanceApi {
  /** For gRPC, which takes the same ones. */
  readonly credentials: Credentials;
  readonly #http: HttpServers;
  #dialect: Promise<Dialect> | undefined;
  /** The list that is allowed, where the best one is not. */
  #list: Dialect['lists'][number] | undefined;

  /** @throws Error of the file system if a certificate cannot be read */
  constructor(config: NacosConfig) {
    this.#http = httpServers(config);
    this.credentials = new Credentials(this.#http, config.auth);
  }

  /** What stands in a cluster of a service. @throws HttpError, or Error of the login */
  async list(service: ServiceName, cluster: string, signal: AbortSignal): Promise<readonly Standing[]> {
    const { lists } = await this.#spoken(service, signal);
    let refusal: HttpError | undefined;
    for (const list of lists.slice(this.#list === undefined ? 0 : lists.indexOf(this.#list))) {
      try {
        const instances = list.answer.parse(await this.#look(list.path, service, cluster, signal));
        if (refusal !== undefined) this.#list = list;
        return instances;
      } catch (error) {
        if (error instanceof z.ZodError)
          throw new HttpError(`${list.path} answered something else: ${z.prettifyError(error)}`, 200);
        if (!isNotToBeHad(error)) throw error;
        if (noService.test(error.message)) return [];
        // What has just been registered has no cluster yet.
        if (noCluster.test(error.message)) continue;
        refusal = error;
      }
    }
    if (refusal !== undefined) throw refusal;
    return [];
  }

  /** Registers an instance, or anew. @throws Refused, OtherKind, HttpError */
  async register(instance: WrittenInstance, signal: AbortSignal): Promise<void> {
    const { path } = await this.#spoken(instance.service, signal);
    await this.#done('POST', path, instance.service, { ...wire(instance), ...content(instance) }, signal);
  }

  /** Whether servers make up an id for what is registered here. @throws HttpError */
  async hasIds(service: ServiceName, signal: AbortSignal): Promise<boolean> {
    return (await this.#spoken(service, signal)) === v1;
  }

  /** Withdraws an instance. One that is not there is withdrawn. @throws HttpError */
  async deregister(instance: InstanceName, signal: AbortSignal): Promise<void> {
    const { path } = await this.#spoken(instance.service, signal);
    await this.#done('DELETE', path, instance.service, wire(instance), signal);
  }

  /** Says that an ephemeral instance lives. @returns false if it is not there @throws HttpError */
  async beat(instance: InstanceName, signal: AbortSignal): Promise<boolean> {
    const { beat, unknown } = await this.#spoken(instance.service, signal);
    const body = await this.#send(
      beat.method,
      beat.path,
      instance.service,
      { ...beat.query, ...wire(instance) },
      signal,
    );
    const answer = code.safeParse(parseJson(Buffer.from(body), beat.path));
    if (!answer.success) throw new HttpError(`${beat.path} answered something else: ${short(body)}`, 200);
    return answer.data.code !== unknown;
  }

  async close(): Promise<void> {
    await this.#http.close();
  }

  /** 3.x has an API for clients of its own. Of the former one it has some, but no beats. */
  #spoken(service: ServiceName, signal: AbortSignal): Promise<Dialect> {
    this.#dialect ??= this.#look('/v3/client/ns/instance/list', service, 'DEFAULT', signal)
      .then(
        () => v3,
        (error: unknown) => {
          if (isNotToBeHad(error) && error.status !== 403) return v1;
          throw error;
        },
      )
      .catch((error: unknown) => {
        this.#dialect = undefined;
        throw error;
      });
    return this.#dialect;
  }

  async #look(path: string, service: ServiceName, cluster: string, signal: AbortSignal): Promise<unknown> {
    const query = { ...named(service), clusterName: cluster, clusters: cluster, healthyOnly: 'false', ...everyPage };
    return parseJson(Buffer.from(await this.#send('GET', path, service, query, signal)), path);
  }

  /** @throws HttpError if the answer is not that it is done */
  async #done(
    method: 'POST' | 'DELETE',
    path: string,
    service: ServiceName,
    query: Readonly<Record<string, string>>,
    signal: AbortSignal,
  ): Promise<void> {
    const body = await this.#send(method, path, service, query, signal);
    if (body === 'ok' || code.safeParse(parseJson(Buffer.from(body), path)).data?.code === 0) return;
    throw new HttpError(`${path} answered something else: ${short(body)}`, 200);
  }

  /** @throws Refused or OtherKind at the status 400, HttpError at any other but 200 */
  #send(
    method: 'GET' | 'POST' | 'PUT' | 'DELETE',
    path: string,
    service: ServiceName,
    query: Readonly<Record<string, string>>,
    signal: AbortSignal,
  ): Promise<string> {
    const resource = { module: 'naming', group: service.group, service: service.name } as const;
    return this.credentials.use(resource, signal, isRefusal, async ({ token, identity, signature }) => {
      const answer = await this.#http.request(`${path}?${new URLSearchParams({ ...query, ...signature })}`, {
        signal,
        method,
        headers: { ...identity, ...(token === undefined ? {} : { authorization: `Bearer ${token}` }) },
      });
      const body = answer.body.toString().trim();
      if (answer.status === 200) return body;
      if (answer.status === 400) throw refusalOf(reasonIn(body));
      const hint = answer.status === 401 || answer.status === 403 ? ' (check the credentials and their rights)' : '';
      throw new HttpError(`${answer.server}${path} answered ${answer.status}${hint} ${short(body)}`, answer.status);
    });
  }
}

function named({ namespace, group, name }: ServiceName): Record<string, string> {
  return { namespaceId: namespace, groupName: group, serviceName: name };
}

function wire({ service, cluster, ip, port, kind }: InstanceName): Record<string, string> {
  return { ...named(service), clusterName: cluster, ip, port: `${port}`, ephemeral: `${kind === 'ephemeral'}` };
}

function content({ weight, metadata }: WrittenInstance): Record<string, string> {
  return { weight: `${weight}`, enabled: 'true', healthy: 'true', metadata: JSON.stringify(metadata) };
}

/** 3.x says in JSON what went wrong, others as text. */
function reasonIn(body: string): string {
  const failure = z.object({ message: z.string(), data: z.string().nullish() });
  try {
    const { message, data } = failure.parse(JSON.parse(body));
    return (data ?? message).trim();
  } catch {
    return body.slice(0, 300);
  }
}
