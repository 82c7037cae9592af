import { type ResourceType, typeOfUrl } from '#istio/resource.js';
import { type DiscoveryRequest, DiscoveryResponse } from '#proto/xds/discovery.js';
import type { ResourceSet } from './set.js';

/** How one type of resource stands with one client. Times are ms since 1970. */
export interface Subscription {
  readonly typeUrl: string;
  /** Undefined for types that Pontoon makes none of: they are answered with an empty set, once. */
  readonly type: ResourceType | undefined;
  /** What is to be sent: an answer to a subscription, even if it is as it was. */
  due: boolean;
  sent:
    | {
        readonly version: string;
        readonly count: number;
        readonly bytes: number;
        readonly nonce: string;
        readonly at: number;
      }
    | undefined;
  acknowledged: { readonly version: string; readonly at: number } | undefined;
  /** How often a response was sent, acknowledged and refused. */
  readonly counts: { sent: number; acknowledged: number; refused: number };
  /** The client's words, if it refused the last response. */
  refused: string | undefined;
}

/** One client as the API shows it. */
export interface ClientState {
  readonly id: string;
  readonly peer: string;
  readonly node: string;
  /** Istio's version, as the client says it. */
  readonly version: string;
  readonly connectedAt: number;
  readonly requests: number;
  readonly subscriptions: readonly Readonly<Subscription>[];
}

const emptyVersion = '0';

/**
 * The state-of-the-world protocol with one client, as istiod's config source client speaks it; apart from I/O.
 * See https://www.envoyproxy.io/docs/envoy/latest/api-docs/xds_protocol
 */
export class XdsStream {
  readonly #id: string;
  readonly #peer: string;
  readonly #set: ResourceSet;
  readonly #write: (message: Buffer) => void;
  readonly #connectedAt = Date.now();
  readonly #subscriptions = new Map<string, Subscription>();
  #node = '';
  #version = '';
  #requests = 0;
  #nonces = 0;
  #writing = false;

  /**
   * @param id unique in this process; part of the nonces
   * @param write takes an encoded DiscoveryResponse; the next one comes after {@link written}
   */
  constructor(id: string, peer: string, set: ResourceSet, write: (message: Buffer) => void) {
    this.#id = id;
    this.#peer = peer;
    this.#set = set;
    this.#write = write;
  }

  /** Takes a request: a subscription, which is answered, or an ACK or NACK, which never is. */
  request(request: DiscoveryRequest): void {
    this.#requests++;
    if (request.node !== undefined) {
      this.#node = request.node.id;
      const version: unknown = request.node.metadata?.ISTIO_VERSION;
      this.#version = typeof version === 'string' ? version : '';
    }
    let subscription = this.#subscriptions.get(request.typeUrl);
    if (subscription !== undefined && this.#issued(request.responseNonce)) {
      this.#answered(subscription, request);
      return;
    }
    // A nonce that this stream never issued is a new subscription: istiod's first requests carry a time stamp there.
    if (subscription === undefined) {
      subscription = {
        typeUrl: request.typeUrl,
        type: typeOfUrl(request.typeUrl),
        due: true,
        sent: undefined,
        acknowledged: undefined,
        refused: undefined,
        counts: { sent: 0, acknowledged: 0, refused: 0 },
      };
      this.#subscriptions.set(request.typeUrl, subscription);
    }
    subscription.due = true;
    this.push();
  }

  /** Sends what is due: the newest set, of each type whose content changed since it was sent. @returns whether a resource type was sent */
  push(): boolean {
    let sent = false;
    for (const subscription of this.#subscriptions.values()) {
      if (this.#writing) break;
      if (subscription.type === undefined) {
        if (subscription.due) this.#send(subscription, emptyVersion, 0, new Uint8Array());
        continue;
      }
      if (!this.#set.ready) continue;
      const { version, count, fields } = this.#set.snapshot(subscription.type);
      if (!subscription.due && subscription.sent?.version === version) continue;
      this.#send(subscription, version, count, fields);
      sent = true;
    }
    return sent;
  }

  /** The last message is on its way: what has changed meanwhile goes out, as one. */
  written(): void {
    this.#writing = false;
    this.push();
  }

  state(): ClientState {
    return {
      id: this.#id,
      peer: this.#peer,
      node: this.#node,
      version: this.#version,
      connectedAt: this.#connectedAt,
      requests: this.#requests,
      subscriptions: [...this.#subscriptions.values()],
    };
  }

  #issued(nonce: string): boolean {
    const [stream, number] = nonce.split('/');
    return stream === this.#id && Number(number) <= this.#nonces;
  }

  #answered(subscription: Subscription, request: DiscoveryRequest): void {
    const { sent } = subscription;
    // An answer to an older response says nothing about the newest one.
    if (sent === undefined || request.responseNonce !== sent.nonce) return;
    if (request.errorDetail === undefined) {
      subscription.counts.acknowledged++;
      subscription.acknowledged = { version: sent.version, at: Date.now() };
      subscription.refused = undefined;
    } else {
      subscription.counts.refused++;
      subscription.refused = request.errorDetail.message;
    }
  }

  #send(subscription: Subscription, version: string, count: number, fields: Uint8Array): void {
    const nonce = `${this.#id}/${++this.#nonces}`;
    const rest = DiscoveryResponse.encode(
      DiscoveryResponse.fromPartial({
        versionInfo: version,
        typeUrl: subscription.typeUrl,
        nonce,
        controlPlane: { identifier: 'pontoon' },
      }),
    ).finish();
    const message = Buffer.concat([fields, rest]);
    subscription.due = false;
    subscription.counts.sent++;
    subscription.sent = { version, count, bytes: message.length, nonce, at: Date.now() };
    this.#writing = true;
    this.#write(message);
  }
}
