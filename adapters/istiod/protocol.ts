import {
  DeltaDiscoveryRequest,
  DeltaDiscoveryResponse,
  DiscoveryRequest,
  DiscoveryResponse,
  type Node,
} from '#proto/xds/discovery.js';

const service = '/envoy.service.discovery.v3.AggregatedDiscoveryService';
const typeUrls = {
  clusters: 'type.googleapis.com/envoy.config.cluster.v3.Cluster',
  endpoints: 'type.googleapis.com/envoy.config.endpoint.v3.ClusterLoadAssignment',
} as const;

export type Told = keyof typeof typeUrls;

/** gRPC's code of an argument that is none. */
const invalidArgument = 3;

/** What one response says. */
export interface Response {
  /** Undefined for a type that was not asked for. */
  readonly type: Told | undefined;
  /** Encoded resources. */
  readonly resources: readonly Uint8Array[];
  /** Names of resources that are gone. */
  readonly removed: readonly string[];
  /** Whether what it does not name is gone. */
  readonly isAll: boolean;
}

/**
 * A conversation over ADS, apart from I/O: makes requests, reads responses, and keeps nonces and subscriptions. Clusters are asked for as a whole, endpoints by
 * the names of their clusters. See https://www.envoyproxy.io/docs/envoy/latest/api-docs/xds_protocol
 */
export interface Protocol {
  /** The method of gRPC. */
  readonly method: string;
  /** Asks for the clusters, and says who asks: comes first on a stream. */
  begin(): Uint8Array;
  /** @throws Error if it cannot be decoded */
  read(message: Uint8Array): Response;
  /** Takes the response that was read last, or refuses it. @param error what is wrong with it */
  answer(error?: string): Uint8Array;
  /** Asks for the endpoints of further clusters, and of some no more. */
  watch(added: readonly string[], removed: readonly string[]): Uint8Array;
}

/** Only changes are told. */
export class DeltaProtocol implements Protocol {
  readonly method = `${service}/DeltaAggregatedResources`;
  readonly #node: Node;
  #last: Pick<DeltaDiscoveryResponse, 'typeUrl' | 'nonce'> = { typeUrl: '', nonce: '' };

  constructor(node: Node) {
    this.#node = node;
  }

  begin(): Uint8Array {
    return deltaRequest({ node: this.#node, typeUrl: typeUrls.clusters, resourceNamesSubscribe: ['*'] });
  }

  read(message: Uint8Array): Response {
    const response = DeltaDiscoveryResponse.decode(message);
    this.#last = response;
    return {
      type: toldBy(response.typeUrl),
      resources: response.resources.flatMap(({ resource }) => resource?.value ?? []),
      removed: response.removedResources,
      isAll: false,
    };
  }

  answer(error?: string): Uint8Array {
    const { typeUrl, nonce } = this.#last;
    return deltaRequest({ typeUrl, responseNonce: nonce, errorDetail: statusOf(error) });
  }

  // On a request of its own: istiod takes no subscriptions with an answer.
  watch(added: readonly string[], removed: readonly string[]): Uint8Array {
    return deltaRequest({
      typeUrl: typeUrls.endpoints,
      resourceNamesSubscribe: [...added],
      resourceNamesUnsubscribe: [...removed],
    });
  }
}

/** All clusters are told at each change of one; endpoints alone. */
export class StateProtocol implements Protocol {
  readonly method = `${service}/StreamAggregatedResources`;
  readonly #node: Node;
  readonly #watched = new Set<string>();
  /** By the type URL: the last that was taken, and the last that came. */
  readonly #taken = new Map<string, Pick<DiscoveryResponse, 'versionInfo' | 'nonce'>>();
  #last: Pick<DiscoveryResponse, 'typeUrl' | 'versionInfo' | 'nonce'> = { typeUrl: '', versionInfo: '', nonce: '' };

  constructor(node: Node) {
    this.#node = node;
  }

  begin(): Uint8Array {
    return stateRequest({ node: this.#node, typeUrl: typeUrls.clusters });
  }

  read(message: Uint8Array): Response {
    const response = DiscoveryResponse.decode(message);
    this.#last = response;
    const type = toldBy(response.typeUrl);
    return {
      type,
      resources: response.resources.map(({ value }) => value),
      removed: [],
      isAll: type === 'clusters',
    };
  }

  answer(error?: string): Uint8Array {
    const { typeUrl, versionInfo, nonce } = this.#last;
    const before = this.#taken.get(typeUrl);
    this.#taken.set(typeUrl, { versionInfo: error === undefined ? versionInfo : (before?.versionInfo ?? ''), nonce });
    return this.#request(typeUrl, error);
  }

  watch(added: readonly string[], removed: readonly string[]): Uint8Array {
    for (const name of removed) this.#watched.delete(name);
    for (const name of added) this.#watched.add(name);
    return this.#request(typeUrls.endpoints);
  }

  #request(typeUrl: string, error?: string): Uint8Array {
    const { versionInfo, nonce } = this.#taken.get(typeUrl) ?? { versionInfo: '', nonce: '' };
    return stateRequest({
      typeUrl,
      versionInfo,
      responseNonce: nonce,
      resourceNames: typeUrl === typeUrls.endpoints ? [...this.#watched] : [],
      errorDetail: statusOf(error),
    });
  }
}

function toldBy(typeUrl: string): Told | undefined {
  return (Object.keys(typeUrls) as Told[]).find((told) => typeUrls[told] === typeUrl);
}

function statusOf(error: string | undefined) {
  return error === undefined ? undefined : { code: invalidArgument, message: error };
}

function deltaRequest(request: Partial<DeltaDiscoveryRequest>): Uint8Array {
  return DeltaDiscoveryRequest.encode(DeltaDiscoveryRequest.fromPartial(request)).finish();
}

function stateRequest(request: Partial<DiscoveryRequest>): Uint8Array {
  return DiscoveryRequest.encode(DiscoveryRequest.fromPartial(request)).finish();
}
