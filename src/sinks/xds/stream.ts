import { type ResourceType, typeOfUrl } from '#istio/resource.js';
import type { Node, Status } from '#proto/xds/discovery.js';
import type { ChangedNames, ResourceSet } from './set.js';
import { compatibility } from './workarounds.js';

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

/** Where a client is connected, and as whom. */
export interface Connection {
  /** Unique in this process; part of the nonces. */
  readonly id: string;
  /** `address:port`. */
  readonly peer: string;
  /** The listener's address, as configured. */
  readonly listener: string;
  /** From 0. */
  readonly shard: number;
  /** The name in its certificate; undefined without mutual TLS. */
  readonly identity: string | undefined;
}

/** One client as the API shows it. */
export interface ClientState extends Connection {
  readonly protocol: 'sotw' | 'delta';
  readonly node: string;
  /** Istio's version, as the client says it, or what can be told of it by what it asks for. */
  readonly version: string;
  /** What it gets because of its version. */
  readonly workarounds: readonly string[];
  readonly connectedAt: number;
  readonly requests: number;
  /** Sent to it since it connected. */
  readonly bytes: number;
  /** ms for which the oldest change waits that it has not got; undefined if it has them all. */
  readonly pending: number | undefined;
  readonly subscriptions: readonly Readonly<Subscription>[];
}

/** A client asks for more than is kept for one. */
export class LimitError extends Error {
  override readonly name = 'LimitError';
}

/** istiod asks for some 20 types. */
const mostTypes = 64;
const longestTypeUrl = 256;
const longestNode = 256;
const longestRefusal = 1_000;

/** Where a stream's messages go. */
export interface StreamOutput {
  /** Takes an encoded response; the next one comes after {@link XdsStream.written}. */
  write(message: Buffer): void;
  /** The set that was just written holds these changes: registry → when the oldest was observed, in ms of `performance.now()`. */
  sent(changes: ReadonlyMap<string, number>): void;
}

/** A response without its nonce. */
export interface Composed {
  readonly version: string;
  /** Resources in the message. */
  readonly count: number;
  /** Whether it holds what the client has not got yet. */
  readonly isNews: boolean;
  readonly encode: (nonce: string) => Buffer;
}

/** What both protocols' requests have. */
export interface Request {
  readonly node: Node | undefined;
  readonly typeUrl: string;
  readonly responseNonce: string;
  readonly errorDetail: Status | undefined;
}

/** A conversation as its connection sees it, whichever its protocol. */
export type ClientStream<Asked = never> = Pick<
  XdsStream,
  'protocol' | 'node' | 'requests' | 'changed' | 'push' | 'hold' | 'written' | 'state'
> & { request(request: Asked): void };

/**
 * The conversation with one client, apart from I/O: what both protocols share, which is subscriptions, nonces, answers, and that a slow reader gets the
 * newest when it is ready for it, never a queue. See https://www.envoyproxy.io/docs/envoy/latest/api-docs/xds_protocol
 */
export abstract class XdsStream<Kept extends Subscription = Subscription, Asked extends Request = Request> {
  abstract readonly protocol: 'sotw' | 'delta';
  readonly connection: Connection;
  protected readonly set: ResourceSet;
  protected readonly subscriptions = new Map<string, Kept>();
  readonly #output: StreamOutput;
  readonly #connectedAt = Date.now();
  #node = '';
  #said = '';
  #madeUpNonce = false;
  #requests = 0;
  #nonces = 0;
  #bytes = 0;
  #busy = false;
  /** Type → registry → when the oldest of its changes was observed that this client has not got. */
  readonly #pending = new Map<ResourceType, Map<string, number>>();

  constructor(connection: Connection, set: ResourceSet, output: StreamOutput) {
    this.connection = connection;
    this.set = set;
    this.#output = output;
  }

  /** The client's own name for itself: empty before its first request. */
  get node(): string {
    return this.#node;
  }

  /** How many requests have come. */
  get requests(): number {
    return this.#requests;
  }

  /** Takes a request: a subscription, which is answered, or an ACK or NACK, which never is. @throws LimitError */
  request(request: Asked): void {
    this.#requests++;
    if (request.node !== undefined) {
      this.#node = request.node.id.slice(0, longestNode);
      const version: unknown = request.node.metadata?.ISTIO_VERSION;
      this.#said = typeof version === 'string' ? version.slice(0, longestNode) : '';
    }
    const known = this.subscriptions.get(request.typeUrl);
    const isAnswer = known !== undefined && this.#issued(request.responseNonce);
    if (!isAnswer && request.responseNonce !== '') this.#madeUpNonce = true;
    const subscription = known ?? this.#subscribe(request.typeUrl);
    if (isAnswer) answered(subscription, request);
    this.asked(subscription, request, { isFirst: known === undefined, isAnswer });
    this.push();
  }

  /** A change of a registry is in the set; it goes out with the next push. @param observedAt as in {@link Cause} */
  changed(names: ChangedNames, registry: string, observedAt: number): void {
    for (const { type } of this.subscriptions.values())
      if (type !== undefined && names.has(type)) {
        const changes = this.#pending.get(type) ?? new Map<string, number>();
        this.#pending.set(type, changes.set(registry, Math.min(observedAt, changes.get(registry) ?? observedAt)));
      }
    this.note(names);
  }

  /** Sends what is due, and what changed since it was sent. */
  push(): void {
    for (const subscription of this.subscriptions.values()) {
      if (this.#busy) break;
      const { type } = subscription;
      const isOurs = type !== undefined;
      if (isOurs && !this.set.isShown(type)) continue;
      const composed = this.compose(subscription);
      // What is sent now, or was taken back before it was sent, waits no more.
      const changes = isOurs ? this.#pending.get(type) : undefined;
      if (isOurs) this.#pending.delete(type);
      if (composed === undefined) continue;
      this.#send(subscription, composed);
      if (changes !== undefined && composed.isNews) this.#output.sent(changes);
    }
  }

  /** Nothing is to be sent for now, until {@link written}. */
  hold(): void {
    this.#busy = true;
  }

  /** The client is ready for another message: what has changed meanwhile goes out, as one. */
  written(): void {
    this.#busy = false;
    this.push();
  }

  state(): ClientState {
    const typeUrls = this.subscriptions.keys();
    const pending = [...this.#pending.values()].flatMap((changes) => [...changes.values()]);
    return {
      ...this.connection,
      protocol: this.protocol,
      node: this.#node,
      ...compatibility({ said: this.#said, typeUrls, madeUpNonce: this.#madeUpNonce, protocol: this.protocol }),
      connectedAt: this.#connectedAt,
      requests: this.#requests,
      bytes: this.#bytes,
      pending: pending.length === 0 ? undefined : performance.now() - Math.min(...pending),
      subscriptions: [...this.subscriptions.values()].map(
        ({ typeUrl, type, due, sent, acknowledged, counts, refused }) => ({
          typeUrl,
          type,
          due,
          sent,
          acknowledged,
          counts,
          refused,
        }),
      ),
    };
  }

  /** What is kept of a new subscription. */
  protected abstract kept(subscription: Subscription): Kept;

  /** What a request asks for beside its answer to a response. */
  protected abstract asked(
    subscription: Kept,
    request: Asked,
    what: { readonly isFirst: boolean; readonly isAnswer: boolean },
  ): void;

  /** Names whose resources have changed in the set. */
  protected abstract note(names: ChangedNames): void;

  /** The next message of a type; undefined if there is nothing to say. */
  protected abstract compose(subscription: Kept): Composed | undefined;

  #subscribe(typeUrl: string): Kept {
    if (typeUrl.length > longestTypeUrl || this.subscriptions.size >= mostTypes)
      throw new LimitError(
        `more than ${mostTypes} types on one stream, or a type URL of over ${longestTypeUrl} letters`,
      );
    const subscription = this.kept({
      typeUrl,
      type: typeOfUrl(typeUrl),
      due: false,
      sent: undefined,
      acknowledged: undefined,
      refused: undefined,
      counts: { sent: 0, acknowledged: 0, refused: 0 },
    });
    this.subscriptions.set(typeUrl, subscription);
    return subscription;
  }

  #issued(nonce: string): boolean {
    const [stream, number] = nonce.split('/');
    return stream === this.connection.id && Number(number) <= this.#nonces;
  }

  #send(subscription: Kept, { version, count, encode }: Composed): void {
    const nonce = `${this.connection.id}/${++this.#nonces}`;
    const message = encode(nonce);
    subscription.due = false;
    subscription.counts.sent++;
    subscription.sent = { version, count, bytes: message.length, nonce, at: Date.now() };
    this.#bytes += message.length;
    this.#busy = true;
    this.#output.write(message);
  }
}

function answered(subscription: Subscription, { responseNonce, errorDetail }: Request): void {
  const { sent } = subscription;
  // An answer to an older response says nothing about the newest one.
  if (sent?.nonce !== responseNonce) return;
  if (errorDetail === undefined) {
    subscription.counts.acknowledged++;
    subscription.acknowledged = { version: sent.version, at: Date.now() };
    subscription.refused = undefined;
  } else {
    subscription.counts.refused++;
    subscription.refused = errorDetail.message.slice(0, longestRefusal);
  }
}
