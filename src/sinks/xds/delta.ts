import { BinaryWriter, WireType } from '@bufbuild/protobuf/wire';
import type { EncodedResource } from '#istio/resource.js';
import { type DeltaDiscoveryRequest, DeltaDiscoveryResponse, Resource } from '#proto/xds/discovery.js';
import type { ChangedNames } from './set.js';
import { type Composed, LimitError, type Subscription, XdsStream } from './stream.js';

const wildcard = '*';
/** Names of one type that a client may ask for beside the wildcard, and say that it has. */
const mostNames = 100_000;
/** Namespace and name of a Kubernetes object. */
const longestName = 320;

/** What is kept of a subscription over its stream. */
interface DeltaSubscription extends Subscription {
  /** All resources, beside those that are asked for by name. */
  isWildcard: boolean;
  readonly names: Set<string>;
  /** What the client has: versions by name. */
  readonly held: Map<string, string>;
  /** Names about which there may be something to say. */
  readonly open: Set<string>;
  /** Names that are answered even if they are as they were. */
  readonly asked: Set<string>;
}

/** The delta protocol: each response says what changed, and what is gone. The work is that of the change, not that of the set. */
export class DeltaStream extends XdsStream<DeltaSubscription, DeltaDiscoveryRequest> {
  override readonly protocol = 'delta';

  protected override kept(subscription: Subscription): DeltaSubscription {
    const kept = { isWildcard: false, names: new Set<string>(), held: new Map<string, string>() };
    return { ...subscription, ...kept, open: new Set(), asked: new Set() };
  }

  protected override asked(
    subscription: DeltaSubscription,
    request: DeltaDiscoveryRequest,
    { isFirst }: { readonly isFirst: boolean },
  ): void {
    const { names, held, open } = subscription;
    const subscribe = request.resourceNamesSubscribe;
    const initial = new Map(isFirst ? Object.entries(request.initialResourceVersions) : []);
    if (names.size + subscribe.length + initial.size > mostNames)
      throw new LimitError(`more than ${mostNames} names of one type`);
    if (isFirst) subscription.due = true;
    if (subscription.type === undefined) {
      if (subscribe.length > 0) subscription.due = true;
      return;
    }
    // Nothing named in the first request means everything.
    if (subscribe.includes(wildcard) || (isFirst && subscribe.length === 0)) {
      subscription.isWildcard = true;
      for (const name of this.set.of(subscription.type).resources.keys()) open.add(name);
    }
    for (const name of subscribe)
      if (name !== wildcard && name.length <= longestName) {
        names.add(name);
        open.add(name);
        // Even one that it had: it may have dropped it.
        if (!initial.has(name)) subscription.asked.add(name);
      }
    // What it has from before its connection was lost: it is sent what differs, and told what is gone.
    for (const [name, version] of initial)
      if (name.length <= longestName && (subscription.isWildcard || names.has(name))) {
        held.set(name, version);
        open.add(name);
      }
    for (const name of request.resourceNamesUnsubscribe) unsubscribe(subscription, name);
  }

  protected override note(names: ChangedNames): void {
    for (const { type, isWildcard, names: wanted, open } of this.subscriptions.values())
      for (const name of (type === undefined ? undefined : names.get(type)) ?? [])
        if (isWildcard || wanted.has(name)) open.add(name);
  }

  protected override compose(subscription: DeltaSubscription): Composed | undefined {
    const { type, due, open, asked, held } = subscription;
    const set = type === undefined ? undefined : this.set.of(type);
    const changed: EncodedResource[] = [];
    const removed: string[] = [];
    let isNews = false;
    for (const name of open) {
      const resource = set?.resources.get(name);
      const before = held.get(name);
      if (before !== resource?.version) isNews = true;
      else if (!asked.has(name)) continue;
      if (resource === undefined) {
        held.delete(name);
        removed.push(name);
      } else {
        held.set(name, resource.version);
        changed.push(resource);
      }
    }
    open.clear();
    asked.clear();
    if (!due && changed.length + removed.length === 0) return undefined;
    const version = set?.version ?? '0';
    return {
      version,
      count: changed.length,
      isNews,
      encode: (nonce) =>
        Buffer.concat([
          ...changed.flatMap(resourceField),
          DeltaDiscoveryResponse.encode({
            systemVersionInfo: version,
            resources: [],
            typeUrl: subscription.typeUrl,
            nonce,
            removedResources: removed,
            controlPlane: { identifier: 'pontoon' },
          }).finish(),
        ]),
    };
  }
}

function unsubscribe(subscription: DeltaSubscription, name: string): void {
  const { names, held, open, asked } = subscription;
  if (name === wildcard) {
    subscription.isWildcard = false;
    for (const one of held.keys()) if (!names.has(one)) held.delete(one);
    for (const one of open) if (!names.has(one)) open.delete(one);
  } else if (names.delete(name)) {
    if (subscription.isWildcard) {
      // It is in the set of all, or not: the client cannot know.
      open.add(name);
      asked.add(name);
    } else {
      held.delete(name);
      open.delete(name);
      asked.delete(name);
    }
  }
}

/** One `resources` field of a DeltaDiscoveryResponse. What a resource is encoded into once for the whole set is, byte for byte, a field of this one too. */
function resourceField({ name, version, field }: EncodedResource): Uint8Array[] {
  const head = Resource.encode({ name, version, resource: undefined }).finish();
  const tag = new BinaryWriter()
    .tag(2, WireType.LengthDelimited)
    .uint32(head.length + field.length)
    .finish();
  return [tag, head, field];
}
