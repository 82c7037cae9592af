import type { ServerDuplexStream } from '@grpc/grpc-js';
import picomatch from 'picomatch';

/** gRPC's word on a connection: the client's certificate is there only if it is one of the listener's authority. */
type AuthContext = ReturnType<ServerDuplexStream<unknown, unknown>['getAuthContext']>;

/** Decides by a client's certificate who it is, and whether it may come in. */
export type Admission = (
  context: AuthContext,
) => { readonly name: string } | { readonly refused: keyof typeof refusals };

/** What clients that may not come in are told. */
export const refusals = {
  'no certificate':
    "expected a client certificate of this listener's authority (tls.clientCa), found none that is valid",
  'not allowed': "none of the SPIFFE URIs and DNS names of the client's certificate is allowed here (tls.allow)",
} as const;

/** @param allow globs of SPIFFE URIs and DNS names, in which `*` stops at `/` or `.`, `**` does not; empty: any certificate of the listener's authority */
export function admission(allow: readonly string[]): Admission {
  const options = { dot: true, nonegate: true, noextglob: true };
  const matches = picomatch(allow.map(segments), options);
  const isAllowed = (name: string): boolean => allow.length === 0 || matches(segments(name));
  return ({ sslPeerCertificate }) => {
    if (sslPeerCertificate === undefined) return { refused: 'no certificate' };
    const { subjectaltname = '', subject } = sslPeerCertificate;
    const names = alternativeNames(subjectaltname);
    const name = names.find((one) => isAllowed(one));
    if (name !== undefined) return { name };
    return allow.length === 0 ? { name: String(subject?.CN ?? '') } : { refused: 'not allowed' };
  };
}

/** A DNS name with its labels as a path has folders; URIs as they are. */
function segments(name: string): string {
  return name.includes('/') ? name : name.replaceAll('.', '/');
}

/**
 * The SPIFFE URIs and DNS names of a certificate's `subjectAltName`, as Node writes it: `URI:spiffe://a/b, DNS:c`. It writes values with a comma in
 * quotes; no name of these kinds has one, and it could be made to look like two: then there are none.
 */
export function alternativeNames(text: string): string[] {
  if (text.includes('"')) return [];
  const names = text.split(', ');
  const ofKind = (kind: string): string[] =>
    names.filter((name) => name.startsWith(kind)).map((name) => name.slice(kind.length));
  return [...ofKind('URI:').filter((uri) => uri.startsWith('spiffe://')), ...ofKind('DNS:')];
}
