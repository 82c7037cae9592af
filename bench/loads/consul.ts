import pLimit from 'p-limit';
import { Agent, request } from 'undici';
import { type Consul, startConsul } from '#test/servers/consul.js';
import { Load, type Place, type Told, without } from './load.js';

/** What one transaction may hold. */
const mostOperations = 64;
/** Services of one node: Consul reads all of a node's checks when one of them changes. */
const servicesPerNode = 100;

/** Services in the catalog of a real Consul server, on nodes of their own. */
export class ConsulLoad extends Load {
  override readonly name = 'consul';
  #server: Consul | undefined;
  readonly #agent = new Agent({ connections: 64 });
  readonly #nodes = new Map<number, Promise<unknown>>();
  protected override readonly parallel = 8;

  get server(): Consul {
    if (this.#server === undefined) throw new Error('Consul is not started');
    return this.#server;
  }

  override get config(): object {
    return { name: 'consul', type: 'consul', servers: [`http://127.0.0.1:${this.server.port}`], timeout: '60s' };
  }

  override host(service: number): string {
    return `bench-${service}.service.consul`;
  }

  override async start(): Promise<void> {
    this.#server = await startConsul({ config: { limits: { http_max_conns_per_client: 1_000 } } });
  }

  override async stop(): Promise<void> {
    await this.#agent.destroy();
    await this.#server?.stop();
  }

  override async kill(): Promise<void> {
    await this.server.kill();
  }

  override async readAll(): Promise<void> {
    const names = Object.keys((await this.#ask('GET', '/v1/catalog/services')).body as object);
    const limit = pLimit(32);
    await Promise.all(names.map((name) => limit(() => this.#ask('GET', `/v1/health/service/${name}`))));
  }

  override async watch(services: readonly number[], told: Told): Promise<() => void> {
    const ending = new AbortController();
    await Promise.all(
      services.map(async (service) => {
        let index = '0';
        const look = async (): Promise<void> => {
          const path = `/v1/health/service/bench-${service}?index=${index}&wait=60s`;
          const answer = await this.#ask('GET', path, undefined, ending.signal);
          index = answer.index;
          told(service, (answer.body as unknown[]).length, performance.now());
        };
        await look();
        const follow = async (): Promise<void> => {
          while (!ending.signal.aborted) await look();
        };
        follow().catch(() => undefined);
      }),
    );
    return () => ending.abort();
  }

  protected override async write(service: number, before: readonly Place[], after: readonly Place[]): Promise<void> {
    const number = Math.floor(service / servicesPerNode);
    const node = `node-${number}`;
    let made = this.#nodes.get(number);
    if (made === undefined) {
      made = this.#ask('PUT', '/v1/catalog/register', { Node: node, Address: `10.200.${number >> 8}.${number & 255}` });
      this.#nodes.set(number, made);
    }
    await made;
    const operation = (verb: 'set' | 'delete', { address, port }: Place) => ({
      Service: {
        Verb: verb,
        Node: node,
        Service: {
          ID: `bench-${service}-${address}-${port}`,
          Service: `bench-${service}`,
          Address: address,
          Port: port,
          Meta: { application: `app-${service}`, version: '1.0' },
        },
      },
    });
    const operations = [
      ...without(after, before).map((one) => operation('set', one)),
      ...without(before, after).map((one) => operation('delete', one)),
    ];
    for (let first = 0; first < operations.length; first += mostOperations)
      await this.#ask('PUT', '/v1/txn', operations.slice(first, first + mostOperations));
  }

  async #ask(method: 'GET' | 'PUT', path: string, body?: unknown, signal?: AbortSignal) {
    const answer = await request(`http://127.0.0.1:${this.server.port}${path}`, {
      method,
      dispatcher: this.#agent,
      body: body === undefined ? null : JSON.stringify(body),
      signal: signal ?? null,
      headersTimeout: 90_000,
    });
    const text = await answer.body.text();
    if (answer.statusCode >= 300)
      throw new Error(`${method} ${path} answered ${answer.statusCode}: ${text.slice(0, 200)}`);
    return { body: JSON.parse(text) as unknown, index: String(answer.headers['x-consul-index'] ?? '0') };
  }
}
