import pLimit from 'p-limit';
import type { Nacos } from '#test/servers/nacos.js';
import { type Service, slowMs } from './services.js';

const beatMs = 5_000;
const forgotten = 20_404;

interface Client {
  readonly address: string;
  readonly isSlow: boolean;
  readonly query: string;
  /** When it registers again, by `performance.now()`; undefined while the server knows it. */
  returnsAt: number | undefined;
}

/**
 * What clients of Nacos do over HTTP: register ephemeral instances, send a heartbeat for each every 5 s, and register again once the server answers that it
 * does not know the instance; slow ones take their time for that.
 */
export class NacosClients {
  readonly #nacos: Nacos;
  readonly #clients = new Map<string, Client>();
  readonly #limit = pLimit(8);
  #timer: NodeJS.Timeout | undefined;

  constructor(nacos: Nacos) {
    this.#nacos = nacos;
  }

  /** Registers all instances and begins to send heartbeats. */
  async start(services: readonly Service[]): Promise<void> {
    for (const service of services)
      for (const address of service.addresses) {
        const [ip = '', port = ''] = address.split(':');
        const query = `${new URLSearchParams({ serviceName: service.name, ip, port, ephemeral: 'true' })}`;
        this.#clients.set(address, { address, isSlow: service.slow, query, returnsAt: undefined });
      }
    await this.#each((client) => this.#register(client));
    this.#timer = setInterval(() => void this.#each((client) => this.#beat(client)), beatMs);
  }

  /** Deregisters instances, as a client does that shuts down. */
  async deregister(addresses: readonly string[]): Promise<void> {
    for (const address of addresses) {
      const client = this.#clients.get(address);
      this.#clients.delete(address);
      if (client !== undefined) await this.#ask('DELETE', '/v1/ns/instance', client.query);
    }
  }

  /** Is no client any more, without a word: it has crashed. */
  forget(addresses: readonly string[]): void {
    for (const address of addresses) this.#clients.delete(address);
  }

  stop(): void {
    clearInterval(this.#timer);
  }

  async #each(does: (client: Client) => Promise<void>): Promise<void> {
    await Promise.all([...this.#clients.values()].map((client) => this.#limit(() => does(client))));
  }

  async #beat(client: Client): Promise<void> {
    try {
      const answer = await this.#ask('PUT', '/v1/ns/instance/beat', client.query);
      if ((JSON.parse(answer) as { code?: number }).code !== forgotten) return;
      client.returnsAt ??= performance.now() + (client.isSlow ? slowMs : 0);
      const isThere = this.#clients.get(client.address) === client;
      if (isThere && performance.now() >= client.returnsAt) await this.#register(client);
    } catch {
      // Nacos is down or not up yet: the next heartbeat will tell.
    }
  }

  async #register(client: Client): Promise<void> {
    await this.#ask('POST', '/v1/ns/instance', client.query);
    client.returnsAt = undefined;
  }

  /** @throws Error when the answer is not 200 */
  async #ask(method: string, path: string, query: string): Promise<string> {
    const response = await this.#nacos.fetch(`${path}?${query}`, { method });
    const text = await response.text();
    if (!response.ok) throw new Error(`Nacos: ${method} ${path} answered ${response.status}: ${text}`);
    return text;
  }
}
