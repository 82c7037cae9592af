import { type DiscoveryRequest, DiscoveryResponse } from '#proto/xds/discovery.js';
import { type Composed, type Subscription, XdsStream } from './stream.js';

const emptyVersion = '0';

/** The state-of-the-world protocol, as istiod's config source client speaks it: each response is the whole set. */
export class SotwStream extends XdsStream<Subscription, DiscoveryRequest> {
  override readonly protocol = 'sotw';

  protected override kept(subscription: Subscription): Subscription {
    return subscription;
  }

  protected override asked(
    subscription: Subscription,
    _request: DiscoveryRequest,
    { isAnswer }: { readonly isAnswer: boolean },
  ): void {
    // A nonce that this stream never issued is a new subscription: istiod's first requests carry a time stamp there.
    if (!isAnswer) subscription.due = true;
  }

  protected override note(): void {
    // The version of the set says what changed.
  }

  protected override compose({ type, typeUrl, due, sent }: Subscription): Composed | undefined {
    const set = type === undefined ? undefined : this.set.of(type);
    const version = set?.version ?? emptyVersion;
    const isNews = sent?.version !== version;
    // A type that there is none of never changes.
    if (!due && !isNews) return undefined;
    return {
      version,
      count: set?.resources.size ?? 0,
      isNews,
      encode: (nonce) => {
        const rest = DiscoveryResponse.encode({
          versionInfo: version,
          resources: [],
          typeUrl,
          nonce,
          controlPlane: { identifier: 'pontoon' },
        }).finish();
        return Buffer.concat([...(set?.blocks ?? []), rest]);
      },
    };
  }
}
