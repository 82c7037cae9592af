import { Client, type ClientDuplexStream, credentials } from '@grpc/grpc-js';
import { ServiceEntry } from '#proto/istio/networking.js';
import { DeltaDiscoveryRequest, DiscoveryRequest } from '#proto/xds/discovery.js';
import { countEndpoints, readResource, readResponse } from './scan.js';

export interface ClientOptions {
  /** `host:port` of each shard. */
  readonly addresses: readonly string[];
  readonly protocol?: 'sotw' | 'delta';
  /** v1 unless given. */
  readonly typeUrl?: string;
  /** A resource came that is another than before, or went: so many endpoints, at this time of `performance.now()`. */
  readonly changed?: (host: string, endpoints: number, at: number) => void;
}

interface Held {
  readonly version: string;
  readonly body: Uint8Array;
}

type Stream = ClientDuplexStream<Uint8Array, Buffer>;

const service = '/envoy.service.discovery.v3.AggregatedDiscoveryService';
const same = (bytes: Uint8Array) => Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);

/**
 * A config source client that does what istiod's does: one connection per source, a subscription to all ServiceEntries, an ACK for each response. It looks at what
 * changed only, so that it can stand for ten of them.
 */
export class MeshClient {
  /** Responses that came, and their bytes. */
  pushes = 0;
  bytes = 0;
  readonly #options: ClientOptions;
  readonly #clients: Client[] = [];
  readonly #streams: Stream[] = [];
  /** By shard, then by the resource's name, which is the host's within its namespace. */
  readonly #held: Map<string, Held>[];
  readonly #synced = new Set<number>();
  #wake: (() => void) | undefined;

  constructor(options: ClientOptions) {
    this.#options = options;
    this.#held = options.addresses.map(() => new Map());
    for (const [shard, address] of options.addresses.entries()) this.#open(shard, address);
  }

  /** Resolves when every shard has answered, to the time of the last one. */
  async synced(): Promise<number> {
    while (this.#synced.size < this.#held.length)
      await new Promise<void>((resolve) => {
        this.#wake = resolve;
      });
    return performance.now();
  }

  get services(): number {
    return this.#held.reduce((sum, { size }) => sum + size, 0);
  }

  /** `address:port` of all endpoints, by host. */
  endpoints(): Map<string, Set<string>> {
    const all = new Map<string, Set<string>>();
    for (const { body } of this.#held.flatMap((held) => [...held.values()])) {
      const { hosts, endpoints } = ServiceEntry.decode(body);
      const places = endpoints.flatMap(({ address, ports }) =>
        Object.values(ports).map((port) => `${address}:${port}`),
      );
      for (const host of hosts) all.set(host, new Set([...(all.get(host) ?? []), ...places]));
    }
    return all;
  }

  /** Takes nothing any more: what comes stays with the sender. */
  pause(): void {
    for (const stream of this.#streams) stream.pause();
  }

  resume(): void {
    for (const stream of this.#streams) stream.resume();
  }

  close(): void {
    for (const stream of this.#streams) stream.cancel();
    for (const client of this.#clients) client.close();
  }

  #open(shard: number, address: string): void {
    const { protocol = 'sotw' } = this.#options;
    const client = new Client(address, credentials.createInsecure(), {
      'grpc.max_receive_message_length': -1,
      'grpc.use_local_subchannel_pool': 1,
    });
    const method = protocol === 'sotw' ? 'StreamAggregatedResources' : 'DeltaAggregatedResources';
    const stream = client.makeBidiStreamRequest(`${service}/${method}`, same, (bytes: Buffer) => bytes);
    this.#clients.push(client);
    this.#streams.push(stream);
    stream.on('data', (bytes: Buffer) => {
      const at = performance.now();
      this.pushes++;
      this.bytes += bytes.length;
      const { version, nonce, resources, removed } = readResponse(bytes, protocol);
      stream.write(this.#request(version, nonce));
      this.#take(shard, resources, removed, at);
      this.#synced.add(shard);
      this.#wake?.();
    });
    stream.on('error', () => undefined);
    stream.write(this.#request('', ''));
  }

  #request(version: string, nonce: string): Uint8Array {
    const { protocol, typeUrl = 'networking.istio.io/v1/ServiceEntry' } = this.#options;
    const node = { id: 'istiod-bench', cluster: '', metadata: { ISTIO_VERSION: '1.31.0' }, userAgentName: '' };
    const common = { node, typeUrl, responseNonce: nonce, errorDetail: undefined };
    if (protocol !== 'delta')
      return DiscoveryRequest.encode({ ...common, versionInfo: version, resourceNames: [] }).finish();
    return DeltaDiscoveryRequest.encode(DeltaDiscoveryRequest.fromPartial(common)).finish();
  }

  #take(shard: number, resources: readonly Uint8Array[], removed: readonly string[], at: number): void {
    const { protocol = 'sotw', changed } = this.#options;
    const before = this.#held[shard] ?? new Map<string, Held>();
    const now = protocol === 'sotw' ? new Map<string, Held>() : before;
    for (const bytes of resources) {
      const { name, version, body } = readResource(bytes, protocol);
      const isNews = before.get(name)?.version !== version;
      now.set(name, { version, body });
      if (isNews) changed?.(hostOf(name), countEndpoints(body), at);
    }
    const gone = protocol === 'sotw' ? [...before.keys()].filter((name) => !now.has(name)) : removed;
    for (const name of gone) {
      before.delete(name);
      changed?.(hostOf(name), 0, at);
    }
    this.#held[shard] = now;
  }
}

function hostOf(name: string): string {
  return name.slice(name.indexOf('/') + 1);
}
