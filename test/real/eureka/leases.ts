import { setTimeout as sleep } from 'node:timers/promises';

/** What a test registers; everything else is as a Spring Cloud client sends it. */
export interface TestLease {
  readonly app: string;
  readonly id: string;
  readonly port?: number;
  readonly securePort?: number;
  readonly status?: string;
  readonly metadata?: Readonly<Record<string, string>>;
  /** Seconds without a heartbeat after which the server evicts it; 90 unless given. */
  readonly seconds?: number;
}

/** Leases at a real server, renewed as clients do: a heartbeat that is answered 404 registers anew. */
export class TestLeases {
  readonly #urls: readonly string[];
  readonly #renewed = new Map<string, TestLease>();
  #beating = true;

  /** @param urls servers, tried in turn */
  constructor(...urls: string[]) {
    this.#urls = urls;
    void this.#beat();
  }

  /** Registers, or registers anew with other content. */
  async register(lease: TestLease): Promise<void> {
    const { app, id, port = 8080, securePort, status = 'UP', metadata = {}, seconds = 90 } = lease;
    const instance = {
      instanceId: id,
      app,
      hostName: '127.0.0.1',
      ipAddr: '127.0.0.1',
      vipAddress: app.toLowerCase(),
      status,
      port: { $: port, '@enabled': 'true' },
      securePort: { $: securePort ?? 443, '@enabled': String(securePort !== undefined) },
      dataCenterInfo: { '@class': 'com.netflix.appinfo.InstanceInfo$DefaultDataCenterInfo', name: 'MyOwn' },
      leaseInfo: { renewalIntervalInSecs: 1, durationInSecs: seconds },
      metadata,
      lastDirtyTimestamp: String(Date.now()),
    };
    await this.#send('POST', `/apps/${app}`, JSON.stringify({ instance }));
    this.#renewed.set(`/apps/${app}/${id}`, lease);
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

  stop(): void {
    this.#beating = false;
  }

  async #beat(): Promise<void> {
    while (this.#beating) {
      await sleep(500);
      for (const [path, lease] of this.#renewed)
        await this.#send('PUT', `${path}?status=${lease.status ?? 'UP'}`).catch(async (error: Error) => {
          if (error.message.includes('404') && this.#renewed.has(path)) await this.register(lease).catch(() => {});
        });
    }
  }

  async #send(method: string, path: string, body?: string): Promise<void> {
    let last: unknown;
    for (const url of this.#urls) {
      try {
        const headers = { 'content-type': 'application/json' };
        const init = { method, headers, signal: AbortSignal.timeout(2_000) };
        const response = await fetch(url + path, body === undefined ? init : { ...init, body });
        await response.body?.cancel();
        if (response.ok) return;
        last = new Error(`${method} ${url}${path} answered ${response.status}`);
        break;
      } catch (error) {
        last = error;
      }
    }
    throw last;
  }
}
