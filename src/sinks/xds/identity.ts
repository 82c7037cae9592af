import type { AuthContext } from '@grpc/grpc-js/build/src/auth-context.js';
import picomatch from 'picomatch';


/** Who may use a listener. */
export type Admission = (context: AuthContext) => { readonly name: string } | { readonly refused: Refusal };

export type Refusal = 'no certificate' | 'not allowed';

/**
 * Who a client is, by the certificate that it showed, and whether it may come in.
 *
 * @param allow globs of SPIFFE URIs and DNS names, in which `*` stops at `/` in a URI; empty: any certificate of the listener's authority
 */
export function admission(allow: readonly string[]): Admission {
  // A dot is a letter as any other here: names never begin with one.
  const isAllowed = allow.length === 0 ? () => true : picomatch([...allow], { dot: true });
  return ({ sslPeerCertificate }) => {
    if (sslPeerCertificate === undefined) return { refused: 'no certificate' };
    const names = alternativeNames(sslPeerCertificate.subjectaltname ?? '');
    const name = names.find((one) => isAllowed(one)) ?? (allow.length === 0 ? '(no name)' : undefined);
    return name === undefined ? { refused: 'not allowed' } : { name };
  };
}

/**
 * The SPIFFE URIs and DNS names of a certificate's `subjectAltName`, as Node writes it: `URI:spiffe://a/b, DNS:c`. A value with a comma or a quote is
 * written in quotes there, and is left out: no name of these kinds has one, and it could pass for two.
 */
export function alternativeNames(text: string): string[] {
  if (text.includes('"')) return [];
  const names = text.split(', ');
  const ofKind = (kind: string): string[] =>
    names.filter((name) => name.startsWith(kind)).map((name) => name.slice(kind.length));
  return [...ofKind('URI:').filter((uri) => uri.startsWith('spiffe://')), ...ofKind('DNS:')];
}
