import { setTimeout as sleep } from 'node:timers/promises';
import { Agent, request } from 'undici';
import { type Eureka, startEureka } from '#test/servers/eureka.js';
import { Load, type Place, type Told, without } from './load.js';

/** ms between two questions, both of Pontoon and of the bare client: Eureka pushes nothing. */
const pollMs = 500;

interface Application {
  readonly name: string;
  readonly instance: readonly { readonly instanceId: string; readonly actionType: string }[];
}

interface Applications {
  readonly applications: { readonly application: readonly Application[] };
}

/** Instances with leases of a day in a real Eureka server. */
export class EurekaLoad extends Load {
  override readonly name = 'eureka';
  #server: Eureka | undefined;
  readonly #agent = new Agent({ connections: 16, pipelining: 1 });
  protected override readonly parallel = 16;

  get server(): Eureka {
    if (this.#server === undefined) throw new Error('Eureka is not started');
    return this.#server;
  }

  override get config(): object {
    return { name: 'eureka', type: 'eureka', servers: [this.server.url], pollInterval: `${pollMs}ms`, timeout: '60s' };
  }

  override host(service: number): string {
    return `bench-${service}.eureka`;
  }

  override async start(): Promise<void> {
    this.#server = await startEureka({
      heapMiB: 2_048,
      settings: {
        'eureka.server.delta-retention-timer-interval-in-ms': 30_000,
        'eureka.server.retention-time-in-m-s-in-delta-queue': 60_000,
      },
    });
  }

  override async stop(): Promise<void> {
    await this.#agent.close();
    await this.#server?.stop();
  }

  override async kill(): Promise<void> {
    await this.server.kill();
  }

  override async readAll(): Promise<void> {
    await this.#get('/apps');
  }

  override async watch(services: readonly number[], told: Told): Promise<() => void> {
    const numbers = new Map(services.map((service) => [`BENCH-${service}`, service]));
    const held = new Map<string, Set<string>>();
    const take = ({ applications }: Applications): void => {
      const at = performance.now();
      for (const { name, instance } of applications.application) {
        const service = numbers.get(name);
        if (service === undefined) continue;
        const ids = held.get(name) ?? new Set();
        held.set(name, ids);
        for (const { instanceId, actionType } of instance)
          if (actionType === 'DELETED') ids.delete(instanceId);
          else ids.add(instanceId);
        told(service, ids.size, at);
      }
    };
    take(await this.#get('/apps'));
    const ending = new AbortController();
    const poll = async (): Promise<void> => {
      while (!ending.signal.aborted) {
        await sleep(pollMs, undefined, { signal: ending.signal });
        take(await this.#get('/apps/delta'));
      }
    };
    poll().catch(() => undefined);
    return () => ending.abort();
  }

  protected override async write(service: number, before: readonly Place[], after: readonly Place[]): Promise<void> {
    const app = `BENCH-${service}`;
    for (const { address, port } of without(after, before)) {
      const instance = {
        instanceId: `${address}:${port}`,
        app,
        hostName: address,
        ipAddr: address,
        status: 'UP',
        vipAddress: `bench-${service}`,
        port: { $: port, '@enabled': 'true' },
        securePort: { $: 443, '@enabled': 'false' },
        countryId: 1,
        dataCenterInfo: { '@class': 'com.netflix.appinfo.InstanceInfo$DefaultDataCenterInfo', name: 'MyOwn' },
        leaseInfo: { renewalIntervalInSecs: 3_600, durationInSecs: 86_400 },
        metadata: { application: `app-${service}`, version: '1.0', zone: 'zone-a' },
      };
      await this.#ask('POST', `/apps/${app}`, JSON.stringify({ instance }));
    }
    for (const { address, port } of without(before, after))
      await this.#ask('DELETE', `/apps/${app}/${address}:${port}`);
  }

  async #get(path: string): Promise<Applications> {
    return (await this.#ask('GET', path)) as Applications;
  }

  async #ask(method: 'GET' | 'POST' | 'DELETE', path: string, body?: string): Promise<unknown> {
    const { statusCode, body: answer } = await request(`${this.server.url}${path}`, {
      method,
      dispatcher: this.#agent,
      headers: { accept: 'application/json', 'content-type': 'application/json' },
      body: body ?? null,
    });
    const text = await answer.text();
    if (statusCode >= 300) throw new Error(`${method} ${path} answered ${statusCode}: ${text.slice(0, 200)}`);
    return text === '' ? undefined : JSON.parse(text);
  }
}
