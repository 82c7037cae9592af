/** What a client has shown of itself, as far as its version matters. */
export interface ClientSigns {
  /** Its own word; istiod's config source client says none. */
  readonly said: string;
  readonly typeUrls: Iterable<string>;
  /** Whether a first request carried a nonce that no response had. */
  readonly madeUpNonce: boolean;
  readonly protocol: 'sotw' | 'delta';
}

/** What is done for a client because of its version. */
export interface Compatibility {
  /** Istio's version, as said, or what can be told by the types it asks for; empty if nothing can. */
  readonly version: string;
  /** For people: what Pontoon does for this client that others may not need. */
  readonly workarounds: readonly string[];
}

/** istiod as a config source's client sets no version of its own, and its library fills in this one. */
const noVersion = '65536.65536.65536';

/** From the types that a client asks for: the newest sign first. Releases of Istio 1. */
const signs: readonly { readonly url: RegExp; readonly least?: number; readonly below?: number }[] = [
  { url: /^extensions\.istio\.io\/v1alpha1\/TrafficExtension$/, least: 30 },
  { url: /^networking\.istio\.io\/v1\/ServiceEntry$/, least: 24 },
  { url: /^networking\.istio\.io\/v1alpha3\/ServiceEntry$/, below: 24 },
];

/** Tells a client's version, and what it gets because of it. What is unknown counts as old. */
export function compatibility({ said, typeUrls, madeUpNonce, protocol }: ClientSigns): Compatibility {
  const urls = [...typeUrls];
  const sign = signs.find(({ url }) => urls.some((one) => url.test(one)));
  const isSaid = said !== '' && said !== noVersion;
  const minor = isSaid ? Number(/^1\.(\d+)/.exec(said)?.[1] ?? Number.NaN) : Number.NaN;
  const isBelow = (limit: number): boolean =>
    Number.isNaN(minor) ? !(sign?.least !== undefined && sign.least >= limit) : minor < limit;
  const asked = urls.some((url) => url.endsWith('/ServiceEntry'));
  return {
    version: isSaid ? said : inferred(sign),
    workarounds: asked
      ? [
          ...(sign?.below === undefined ? [] : ['v1alpha3 type URL']),
          ...(madeUpNonce && protocol === 'sotw' ? ['time-stamp nonces'] : []),
          ...(isBelow(30) ? ['same-address label', 'name in one source only'] : []),
        ]
      : [],
  };
}

function inferred(sign: (typeof signs)[number] | undefined): string {
  if (sign?.least !== undefined) return `1.${sign.least} or later`;
  return sign?.below === undefined ? '' : `before 1.${sign.below}`;
}
