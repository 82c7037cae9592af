import { z } from 'zod';
import type { Nacos } from '#test/servers/nacos.js';

/** An instance as it is registered over HTTP: persistent, so that it needs no heartbeats and survives a restart of the server. */
export interface Registration {
  readonly service: string;
  readonly port: number;
  /** 127.0.0.1 if not given. */
  readonly ip?: string;
  readonly group?: string;
  /** The namespace's id. */
  readonly namespace?: string;
  readonly cluster?: string;
  readonly weight?: number;
  readonly metadata?: Readonly<Record<string, string>>;
  /** Takes effect where the server does not look itself; true if not given. */
  readonly healthy?: boolean;
}

/** How many there are, as either version says it; nothing where there is no such service. */
const subscribers = z.object({
  count: z.number().optional(),
  data: z.object({ totalCount: z.number() }).nullish(),
});

/** Registers and deregisters instances on 127.0.0.1 over HTTP, in the API of the server's version. */
export class Registrations {
  readonly #nacos: Nacos;
  readonly #token: string | undefined;

  /** @param token where the server wants one */
  constructor(nacos: Nacos, token?: string) {
    this.#nacos = nacos;
    this.#token = token;
  }

  async register(registration: Registration): Promise<void> {
    await this.#send('POST', this.#instances, query(registration));
  }

  async deregister(registration: Registration): Promise<void> {
    await this.#send('DELETE', this.#instances, query(registration));
  }

  async createNamespace(id: string, name: string): Promise<void> {
    const fields = { customNamespaceId: id, namespaceId: id, namespaceName: name, namespaceDesc: name };
    await this.#send('POST', this.#isOld ? '/v1/console/namespaces' : '/v3/admin/core/namespace', fields);
  }

  /** Creates a service of the default group before it has instances. @param protectThreshold share of healthy instances, 0 to 1 */
  async createService(service: string, protectThreshold: number): Promise<void> {
    const fields = { serviceName: service, groupName: 'DEFAULT_GROUP', namespaceId: 'public', ephemeral: 'false' };
    const path = this.#isOld ? '/v1/ns/service' : '/v3/admin/ns/service';
    await this.#send('POST', path, { ...fields, protectThreshold: `${protectThreshold}` });
  }

  /** Whether the server connects to persistent instances, to see whether they are healthy. It does, unless told otherwise. */
  async checkHealth(on: boolean): Promise<void> {
    const path = this.#isOld ? '/v1/ns/operator/switches' : '/v3/admin/ns/ops/switches';
    await this.#send('PUT', path, { entry: 'check', value: `${on}`, debug: 'false' });
  }

  /** Whether somebody subscribed to a service of the default group. @param namespace its id; the public one if not given */
  async hasSubscriber(service: string, namespace = 'public'): Promise<boolean> {
    const query = new URLSearchParams({ serviceName: service, groupName: 'DEFAULT_GROUP', namespaceId: namespace });
    const path = this.#isOld ? '/v1/ns/service/subscribers' : '/v3/admin/ns/service/subscribers';
    const response = await this.#nacos.fetch(`${path}?${query}&pageNo=1&pageSize=1`);
    const { count, data } = subscribers.parse(await response.json());
    return (count ?? data?.totalCount ?? 0) > 0;
  }

  get #isOld(): boolean {
    return this.#nacos.version === '2.3.2';
  }

  get #instances(): string {
    return this.#isOld ? '/v1/ns/instance' : '/v3/client/ns/instance';
  }

  async #send(method: string, path: string, fields: Record<string, string>): Promise<void> {
    const headers = this.#token === undefined ? {} : { authorization: `Bearer ${this.#token}` };
    const response = await this.#nacos.fetch(`${path}?${new URLSearchParams(fields)}`, { method, headers });
    if (!response.ok) throw new Error(`${method} ${path} answered ${response.status}: ${await response.text()}`);
  }
}

function query({
  service,
  port,
  ip,
  group,
  namespace,
  cluster,
  weight,
  metadata,
  healthy,
}: Registration): Record<string, string> {
  return {
    serviceName: service,
    groupName: group ?? 'DEFAULT_GROUP',
    namespaceId: namespace ?? 'public',
    clusterName: cluster ?? 'DEFAULT',
    ip: ip ?? '127.0.0.1',
    port: `${port}`,
    weight: `${weight ?? 1}`,
    ephemeral: 'false',
    healthy: `${healthy ?? true}`,
    metadata: JSON.stringify(metadata ?? {}),
  };
}
