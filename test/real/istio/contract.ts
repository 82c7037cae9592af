import { Client, type ClientDuplexStream, credentials } from '@grpc/grpc-js';
import { Resource } from '#proto/istio/mcp.js';
import { ServiceEntry } from '#proto/istio/networking.js';
import { DiscoveryRequest, DiscoveryResponse } from '#proto/xds/discovery.js';

/** How an older istiod differs, as far as a config source can tell. */
export interface Contract {
  readonly version: string;
  /** Of networking.istio.io. */
  readonly group: 'v1alpha3' | 'v1';
  /** Whether a resource whose version it has is skipped; older ones took every copy for a change. */
  readonly skipsSame: boolean;
  /**
   * When a changed endpoint is pushed to proxies. `come and go`: endpoints are told apart by their address alone, and one that is known is pushed only when
   * its health changes. `changes`: they are told apart by address and port name, and a known one is pushed when anything of it changes.
   */
  readonly endpoints: 'come and go' | 'changes';
}

/** From istio.io/istio at these releases: pkg/adsc, pilot/pkg/xds/eds.go and pilot/pkg/model/endpointshards.go; its pull requests 50746 and 52963. */
export const contracts: readonly Contract[] = [
  { version: '1.14', group: 'v1alpha3', skipsSame: false, endpoints: 'come and go' },
  { version: '1.23', group: 'v1alpha3', skipsSame: true, endpoints: 'changes' },
  { version: '1.24', group: 'v1', skipsSame: true, endpoints: 'changes' },
  { version: '1.27', group: 'v1', skipsSame: true, endpoints: 'changes' },
];

const kinds = [
  'DestinationRule',
  'EnvoyFilter',
  'Gateway',
  'ServiceEntry',
  'Sidecar',
  'VirtualService',
  'WorkloadEntry',
];

interface Held {
  readonly version: string;
  readonly body: ServiceEntry;
}

/**
 * An istiod of an older release, as far as its config source's client goes: the order of its requests, nonces, answers to everything, never a refusal; what
 * it holds; and which changes it would push to proxies.
 */
export class OlderIstiod {
  readonly #contract: Contract;
  readonly #client: Client;
  readonly #stream: ClientDuplexStream<DiscoveryRequest, DiscoveryResponse>;
  readonly #answered = new Set<string>();
  readonly #entries = new Map<string, Held>();
  #isFirst = true;
  /** Responses that have come. */
  responses = 0;
  /** Names of resources that it took for changed, in order. */
  readonly changes: string[] = [];
  /** Hosts whose endpoints it pushed. */
  readonly pushed: string[] = [];

  constructor(address: string, contract: Contract) {
    this.#contract = contract;
    this.#client = new Client(address, credentials.createInsecure(), { 'grpc.max_receive_message_length': -1 });
    this.#stream = this.#client.makeBidiStreamRequest(
      '/envoy.service.discovery.v3.AggregatedDiscoveryService/StreamAggregatedResources',
      (request: DiscoveryRequest) => Buffer.from(DiscoveryRequest.encode(request).finish()),
      (bytes: Buffer) => DiscoveryResponse.decode(bytes),
    );
    this.#stream.on('data', (response: DiscoveryResponse) => this.#take(response));
    this.#stream.on('error', () => undefined);
    // A time stamp, as Go prints it, stands where a nonce belongs.
    const nonce = () => `${new Date().toISOString()} +0000 UTC m=+0.1`;
    for (const typeUrl of this.#asked) this.#send({ typeUrl, responseNonce: nonce() });
  }

  /** Whether all that it asks for has been answered: only then is it ready. */
  get isReady(): boolean {
    return this.#asked.every((typeUrl) => this.#answered.has(typeUrl));
  }

  get hosts(): string[] {
    return [...this.#entries.values()].flatMap(({ body }) => body.hosts).sort();
  }

  close(): void {
    this.#stream.cancel();
    this.#client.close();
  }

  get #asked(): string[] {
    const { group } = this.#contract;
    return [
      'core/v1alpha1/MeshConfig',
      // EnvoyFilter has no other version.
      ...kinds.map((kind) => `networking.istio.io/${kind === 'EnvoyFilter' ? 'v1alpha3' : group}/${kind}`),
    ];
  }

  #send(request: Partial<DiscoveryRequest>): void {
    const node = {
      id: 'sidecar~10.0.0.9~istiod.istio-system~istio-system.svc.cluster.local',
      metadata: { GENERATOR: 'api', ISTIO_VERSION: '65536.65536.65536' },
    };
    // Of the first requests only the very first says who asks; every answer does.
    const says = this.#isFirst || request.versionInfo !== undefined;
    this.#isFirst = false;
    this.#stream.write(DiscoveryRequest.fromPartial({ ...request, ...(says ? { node } : {}) }));
  }

  #take({ typeUrl, versionInfo, nonce, resources }: DiscoveryResponse): void {
    this.responses++;
    this.#answered.add(typeUrl);
    if (typeUrl.endsWith('/ServiceEntry')) this.#store(resources.map(({ value }) => Resource.decode(value)));
    this.#send({ typeUrl, versionInfo, responseNonce: nonce });
  }

  #store(resources: readonly Resource[]): void {
    const names = new Set<string>();
    for (const { metadata, body } of resources) {
      if (metadata === undefined || body === undefined) continue;
      const { name, version } = metadata;
      names.add(name);
      const before = this.#entries.get(name);
      if (this.#contract.skipsSame && version !== '' && before?.version === version) continue;
      const next = ServiceEntry.decode(body.value);
      this.#entries.set(name, { version, body: next });
      this.changes.push(name);
      if (before !== undefined && this.#isPushed(before.body, next)) this.pushed.push(...next.hosts);
    }
    for (const name of this.#entries.keys()) if (!names.has(name)) this.#entries.delete(name);
  }

  /** Whether endpoints that differ reach the proxies. */
  #isPushed(before: ServiceEntry, next: ServiceEntry): boolean {
    const byKey = (entry: ServiceEntry) =>
      new Map(
        entry.endpoints.flatMap((endpoint) =>
          Object.entries(endpoint.ports).map(([port, number]): [string, string] =>
            this.#contract.endpoints === 'come and go'
              ? [endpoint.address, '']
              : [`${endpoint.address}/${port}`, JSON.stringify({ ...endpoint, ports: number })],
          ),
        ),
      );
    const [old, now] = [byKey(before), byKey(next)];
    return [...now].some(([key, value]) => old.get(key) !== value) || [...old.keys()].some((key) => !now.has(key));
  }
}
