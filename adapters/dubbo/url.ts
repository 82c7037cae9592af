import { short } from '#model/address.js';
import type { Metadata } from '#model/service.js';
import { sharedText } from '#model/shared.js';

/** The parts of a Dubbo URL, `protocol://user:password@host:port/path?key=value&...`, with its user left out. */
export interface DubboUrl {
  readonly protocol: string;
  readonly host: string;
  /** As written; empty if there is none. */
  readonly port: string;
  readonly path: string;
  readonly params: Metadata;
}

/**
 * Undoes the encoding of a znode's name, once: Java's `URLEncoder`, in which `+` is a space and `%2B` a plus.
 * @throws Error if a percent sign is followed by anything but two hexadecimal digits of UTF-8
 */
export function decodeName(name: string): string {
  try {
    return decodeURIComponent(name.replaceAll('+', ' '));
  } catch {
    throw new Error(`"${short(name)}" is not percent-encoded UTF-8`);
  }
}

/**
 * Parses a URL in plain text, as `URL.toFullString` of Dubbo writes it: its parameters are not encoded, so nothing is decoded here.
 * @throws Error that shows what it is instead of a URL
 */
export function parseUrl(text: string): DubboUrl {
  const match = /^([A-Za-z][-A-Za-z0-9+.]*):\/\/([^/?]*)(?:\/([^?]*))?(?:\?(.*))?$/s.exec(text);
  if (match === null) throw new Error(`"${short(text)}" is not a URL`);
  const [, protocol = '', authority = '', path = '', query = ''] = match;
  const params = parseQuery(query);
  return { protocol: protocol.toLowerCase(), ...parseAuthority(authority), path, params };
}

function parseAuthority(authority: string): { host: string; port: string } {
  const place = authority.slice(authority.lastIndexOf('@') + 1);
  // Dubbo writes IPv6 addresses with and without brackets: the port is behind the last colon.
  const colon = place.endsWith(']') ? -1 : place.lastIndexOf(':');
  const host = sharedText(colon < 0 ? place : place.slice(0, colon));
  return { host, port: colon < 0 ? '' : place.slice(colon + 1) };
}

function parseQuery(query: string): Metadata {
  const pairs: [string, string][] = [];
  for (const pair of query.split('&')) {
    if (pair === '') continue;
    const equals = pair.indexOf('=');
    const value = sharedText(equals < 0 ? pair : pair.slice(equals + 1));
    pairs.push([equals < 0 ? value : pair.slice(0, equals), value]);
  }
  return Object.fromEntries(pairs);
}

/** One parameter, or its `default.` form, which Dubbo up to 2.6 writes for a provider's defaults; empty if there is neither. */
export function param(params: Metadata, key: string): string {
  return params[key] ?? params[`default.${key}`] ?? '';
}
