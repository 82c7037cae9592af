import { Pool } from 'undici';
import type { Lane } from './lane.js';
import type { RegistryName, Service } from './services.js';

/** A request that takes longer has failed, in ms. */
export const lateMs = 1_000;
const tickMs = 10;

/** Requests at a steady pace through one Envoy, in turn to all services of one registry. */
export interface Stream {
  readonly lane: Lane;
  readonly registry: RegistryName;
  readonly perSecond: number;
}

/** What became of one request. */
export type Tell = (stream: Stream, service: Service, ok: boolean) => void;

/** Sends requests when they are due, whether or not earlier ones have been answered. Nothing is tried again. */
export class Load {
  readonly #streams: readonly Stream[];
  readonly #tell: Tell;
  readonly #pools = new Map<Lane, Pool>();
  readonly #sent = new Map<Stream, number>();
  readonly #left = new Set<string>();
  #timer: NodeJS.Timeout | undefined;

  constructor(streams: readonly Stream[], tell: Tell) {
    this.#streams = streams;
    this.#tell = tell;
    const options = { connections: 64, connectTimeout: lateMs, headersTimeout: lateMs, bodyTimeout: lateMs };
    for (const { lane } of streams) if (!this.#pools.has(lane)) this.#pools.set(lane, new Pool(lane.url, options));
  }

  start(): void {
    const begun = performance.now();
    this.#timer = setInterval(() => {
      for (const stream of this.#streams) this.#catchUp(stream, performance.now() - begun);
    }, tickMs);
  }

  /** Nobody calls this service any more. */
  leave(service: string): void {
    this.#left.add(service);
  }

  async stop(): Promise<void> {
    clearInterval(this.#timer);
    await Promise.all([...this.#pools.values()].map((pool) => pool.destroy()));
  }

  #catchUp(stream: Stream, elapsedMs: number): void {
    const { lane, registry, perSecond } = stream;
    const services = lane.services.filter((service) => service.registry === registry && !this.#left.has(service.name));
    const due = Math.floor((elapsedMs * perSecond) / 1_000);
    let sent = this.#sent.get(stream) ?? 0;
    for (; sent < due; sent++) {
      const service = services[sent % services.length];
      if (service !== undefined) void this.#send(stream, service);
    }
    this.#sent.set(stream, sent);
  }

  async #send(stream: Stream, service: Service): Promise<void> {
    const begun = performance.now();
    const ok = await this.#answered(stream.lane, service);
    this.#tell(stream, service, ok && performance.now() - begun <= lateMs);
  }

  async #answered(lane: Lane, service: Service): Promise<boolean> {
    try {
      const headers = { 'x-host': lane.host(service) };
      const response = await this.#pools.get(lane)?.request({ path: '/', method: 'GET', headers });
      await response?.body.dump();
      return response?.statusCode === 200;
    } catch {
      return false;
    }
  }
}
