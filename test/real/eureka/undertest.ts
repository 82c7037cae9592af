import { setTimeout as sleep } from 'node:timers/promises';
import pLimit from 'p-limit';
import type { RegistryUnderTest, TestInstance } from '#test/real/contract/registry.js';
import { type Eureka, startEureka } from '#test/servers/eureka.js';
import { type TestLease, TestLeases } from './leases.js';

const pollMs = 300;

/** A real Eureka server for the contract suite. */
export class EurekaUnderTest implements RegistryUnderTest {
  readonly title = 'Eureka, Spring Cloud 2024.0.1';
  readonly type = 'eureka';
  readonly needs = ['eureka'];
  /** One in each interval: 200, or 12 with the default one of 5 s. */
  readonly idleRequestsPerMinute = 60_000 / (0.9 * pollMs);
  #server: Eureka | undefined;
  #leases: TestLeases | undefined;

  async start(): Promise<void> {
    this.#server = await startEureka();
    this.#leases = new TestLeases([this.#server.url]);
  }

  async stop(): Promise<void> {
    await this.#leases?.stop();
    await this.#server?.stop();
  }

  server() {
    return { process: started(this.#server), port: started(this.#server).port };
  }

  keys(port: number) {
    const servers = [`http://127.0.0.1:${port}/eureka`];
    return { servers, pollInterval: `${pollMs}ms`, timeout: '1s', settleTime: '5s' };
  }

  async register(service: string, instance: TestInstance): Promise<void> {
    await started(this.#leases).register(leaseOf(service, instance));
  }

  async deregister(service: string, instance: TestInstance): Promise<void> {
    await started(this.#leases).deregister(leaseOf(service, instance));
  }

  async registerMany(services: readonly string[], instance: TestInstance): Promise<void> {
    const limit = pLimit(8);
    const register = (service: string) =>
      started(this.#leases).registerOnce({ ...leaseOf(service, instance), seconds: 600 });
    await Promise.all(services.map((service) => limit(() => register(service))));
  }

  async malform(service: string): Promise<void> {
    const lease = leaseOf(service, { address: '10.1.2.99', port: 1, metadata: {} });
    await started(this.#leases).register({ ...lease, fields: { port: { $: 1, '@enabled': 'false' } } });
  }

  async repeat(service: string, instances: readonly TestInstance[]): Promise<void> {
    for (const instance of [...instances].reverse()) await this.register(service, instance);
  }

  async guarded() {
    const auth = { username: 'pontoon', password: 'right-password' };
    const server = await startEureka({ auth });
    const secret = 'wrong-password';
    const keys = this.keys(server.port);
    const asWritten = { servers: [server.url.replace('//', `//pontoon:${secret}@`)] };
    return { right: { ...keys, auth }, wrong: { ...keys, ...asWritten }, secret, stop: () => server.stop() };
  }

  /** The plainest client there is: it asks for the one application as often as the source asks for the changes. */
  async watch(service: string, seen: (mark: string | undefined) => void) {
    const ending = new AbortController();
    const { signal } = ending;
    const poll = async (): Promise<void> => {
      const headers = { accept: 'application/json' };
      while (!signal.aborted) {
        const response = await fetch(`${started(this.#server).url}/apps/${service.toUpperCase()}`, { headers, signal });
        const { application } = (await response.json()) as {
          application: { instance: { metadata: Record<string, string> }[] };
        };
        seen(application.instance[0]?.metadata.mark);
        await sleep(pollMs, undefined, { signal });
      }
    };
    const ended = poll().catch((error: unknown) => {
      if (!signal.aborted) throw error;
    });
    return async () => {
      ending.abort();
      await ended;
    };
  }
}

function leaseOf(service: string, { address, port, metadata }: TestInstance): TestLease {
  return { app: service.toUpperCase(), id: `${address}:${port}`, address, port, metadata };
}

function started<Part>(part: Part | undefined): Part {
  if (part === undefined) throw new Error('not started');
  return part;
}
