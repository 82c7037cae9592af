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

/** Where a stream's messages go. */
export interface StreamOutput {
  /** Takes an encoded DiscoveryResponse; the next one comes after {@link XdsStream.written}. */
  write(message: Buffer): void;
  /** The set that was just written holds these changes: registry → when the oldest was observed, in ms of `performance.now()`. */
  sent(changes: ReadonlyMap<string, number>): void;
}

/**
 * The state-of-the-world protocol with one client, as istiod's config source client speaks it; apart from I/O.
 * See https://www.envoyproxy.io/docs/envoy/latest/api-docs/xds_protocol
 */
export class XdsStream {
  readonly #id: string;
  readonly #peer: string;
  readonly #set: ResourceSet;
  readonly #output: StreamOutput;
  readonly #connectedAt = Date.now();
  readonly #subscriptions = new Map<string, Subscription>();
  #node = '';
  #version = '';
  #requests = 0;
  #nonces = 0;
  #writing = false;
  /** Registry → when the oldest of its changes was observed that this client has not got. */
  readonly #pending = new Map<string, number>();

  /**
   * @param id unique in this process; part of the nonces
   */
  constructor(id: string, peer: string, set: ResourceSet, output: StreamOutput) {
    this.#id = id;
    this.#peer = peer;
    this.#set = set;
    this.#output = output;
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

  /** A change of a registry is in the set; it goes out with the next push. @param observedAt as in {@link Cause} */
  changed(registry: string, observedAt: number): void {
    this.#pending.set(registry, Math.min(observedAt, this.#pending.get(registry) ?? observedAt));
  }

  /** Sends what is due: the newest set, of each type whose content changed since it was sent. */
  push(): void {
    for (const subscription of this.#subscriptions.values()) {
      if (this.#writing) break;
      if (subscription.type === undefined) {
        if (subscription.due) this.#send(subscription, emptyVersion, 0, new Uint8Array());
        continue;
      }
      if (!this.#set.ready) continue;
      const { version, count, fields } = this.#set.snapshot(subscription.type);
      const news = subscription.sent?.version !== version;
      const changes = new Map(this.#pending);
      // What is sent now, or was taken back before it was sent, waits no more.
      this.#pending.clear();
      if (!subscription.due && !news) continue;
      this.#send(subscription, version, count, fields);
      if (news) this.#output.sent(changes);
    }
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
    this.#output.write(message);
  }
}
