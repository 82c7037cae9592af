import { setTimeout as sleep } from 'node:timers/promises';
import pLimit from 'p-limit';
import { Agent, request } from 'undici';
import type { TlsFiles } from '#config/fields.js';

/** What a test registers; everything else is as a Spring Cloud client sends it. */
export interface TestLease {
  readonly app: string;
  readonly id: string;
  /** 127.0.0.1 unless given. */
  readonly address?: string;
  readonly port?: number;
  readonly securePort?: number;
  readonly status?: string;
  readonly metadata?: Readonly<Record<string, string>>;
  /** Seconds without a heartbeat after which the server evicts it; 90 unless given. */
  readonly seconds?: number;
  /** Fields of Eureka's instance over those that follow from the above. */
  readonly fields?: Readonly<Record<string, unknown>>;
}

/** What a server wants of who writes to it. */
export interface Access {
  readonly auth?: { readonly username: string; readonly password: string };
  readonly tls?: TlsFiles;
}

/** Leases at a real server, renewed as clients do: a heartbeat that is answered 404 registers anew. */
export class TestLeases {
  readonly #urls: readonly string[];
  readonly #agent: Agent;
  readonly #headers: Readonly<Record<string, string>>;
  readonly #renewed = new Map<string, TestLease>();
  #beating = true;

  /** @param urls servers, tried in turn */
  constructor(urls: readonly string[], { auth, tls = {} }: Access = {}) {
    this.#urls = urls;
    this.#agent = new Agent({ connect: tls, headersTimeout: 2_000, bodyTimeout: 2_000 });
    const basic = auth && `Basic ${Buffer.from(`${auth.username}:${auth.password}`).toString('base64')}`;
    this.#headers = { 'content-type': 'application/json', ...(basic === undefined ? {} : { authorization: basic }) };
    void this.#beat();
  }

  /** Registers, or registers anew with other content. */
  async register(lease: TestLease): Promise<void> {
    await this.registerOnce(lease);
    this.#renewed.set(`/apps/${lease.app}/${lease.id}`, lease);
  }

  /** Registers what is never renewed. */
  async registerOnce(lease: TestLease): Promise<void> {
    const { app, id, port = 8080, securePort, status = 'UP', metadata = {}, seconds = 90 } = lease;
    const { address = '127.0.0.1', fields = {} } = lease;
    const instance = {
      instanceId: id,
      app,
      hostName: address,
      ipAddr: address,
      vipAddress: app.toLowerCase(),
      status,
      port: { $: port, '@enabled': 'true' },
      securePort: { $: securePort ?? 443, '@enabled': String(securePort !== undefined) },
      dataCenterInfo: { '@class': 'com.netflix.appinfo.InstanceInfo$DefaultDataCenterInfo', name: 'MyOwn' },
      leaseInfo: { renewalIntervalInSecs: 1, durationInSecs: seconds },
      metadata,
      lastDirtyTimestamp: String(Date.now()),
      ...fields,
    };
    await this.#send('POST', `/apps/${app}`, JSON.stringify({ instance }));
  }

  /** Stops renewing, as a process that was killed. */
  abandon({ app, id }: TestLease): void {
    this.#renewed.delete(`/apps/${app}/${id}`);
  }

  async deregister(lease: TestLease): Promise<void> {
    this.abandon(lease);
    await this.#send('DELETE', `/apps/${lease.app}/${lease.id}`);
  }

  /** Sets an operator's override, or takes it away. */
  async override({ app, id }: TestLease, status: string | undefined): Promise<void> {
    if (status === undefined) await this.#send('DELETE', `/apps/${app}/${id}/status?value=UP`);
    else await this.#send('PUT', `/apps/${app}/${id}/status?value=${status}`);
  }

  async stop(): Promise<void> {
    this.#beating = false;
    await this.#agent.destroy();
  }

  async #beat(): Promise<void> {
    const limit = pLimit(8);
    while (this.#beating) {
      await sleep(500);
      await Promise.all([...this.#renewed].map(([path, lease]) => limit(() => this.#renew(path, lease))));
    }
  }

  async #renew(path: string, lease: TestLease): Promise<void> {
    try {
      await this.#send('PUT', `${path}?status=${lease.status ?? 'UP'}`);
    } catch (error) {
      const isUnknown = (error as Error).message.includes('404') && this.#renewed.has(path);
      if (isUnknown) await this.registerOnce(lease).catch(() => undefined);
    }
  }

  async #send(method: 'POST' | 'PUT' | 'DELETE', path: string, body?: string): Promise<void> {
    let last: unknown;
    for (const url of this.#urls) {
      try {
        const options = { method, headers: this.#headers, dispatcher: this.#agent };
        const response = await request(url + path, body === undefined ? options : { ...options, body });
        await response.body.dump();
        if (response.statusCode < 300) return;
        last = new Error(`${method} ${url}${path} answered ${response.statusCode}`);
        break;
      } catch (error) {
        last = error;
      }
    }
    throw last;
  }
}
