import { isIPv4 } from 'node:net';
import ipaddr from 'ipaddr.js';

export type AddressKind = 'ipv4' | 'ipv6' | 'dns';

/** Where an instance can be dialled. */
export interface Address {
  readonly kind: AddressKind;
  /** Normalised: IPv6 compressed and without brackets, IPv4-mapped IPv6 as IPv4, DNS names in lower case without the last dot. */
  readonly text: string;
}

/** A DNS label as Kubernetes takes it: RFC 1123, in lower case. */
export const dnsLabel = /^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$/;

/**
 * Reads an instance's address.
 * @throws Error that says what was found and why it cannot be dialled: empty, with a zone (`fe80::1%eth0`, for which Envoy rejects the
 * whole service), unspecified (0.0.0.0), a multicast or broadcast address, or neither an IP address nor a DNS name.
 */
export function parseAddress(input: string): Address {
  const text = input.trim().replace(/^\[(.*)\]$/, '$1');
  if (isPlain(text)) return { kind: 'ipv4', text };
  if (text === '') throw new Error('no address');
  if (text.includes('%')) throw new Error(`address "${input}" has a zone: only this machine could dial it`);
  if (ipaddr.isValid(text) && (text.includes(':') || ipaddr.IPv4.isValidFourPartDecimal(text))) {
    const ip = ipaddr.process(text);
    const range = ip.range();
    if (range === 'unspecified' || range === 'multicast' || range === 'broadcast')
      throw new Error(`address "${input}" is ${range}: nothing can be dialled there`);
    return { kind: ip.kind(), text: ip.toString() };
  }
  const name = text.toLowerCase().replace(/\.$/, '');
  const labels = name.split('.');
  const numeric = /^\d+$/.test(labels.at(-1) ?? '');
  if (name.length > 253 || numeric || !labels.every((label) => dnsLabel.test(label)))
    throw new Error(`address "${short(input)}" is neither an IP address nor a DNS name`);
  return { kind: 'dns', text: name };
}

/** Whether it is an IPv4 address as most are, about which nothing is to be said. */
function isPlain(text: string): boolean {
  const first = Number.parseInt(text, 10);
  return first > 0 && first < 224 && isIPv4(text);
}

/** The kind of an address that {@link parseAddress} gave. */
export function addressKind(address: string): AddressKind {
  if (address.includes(':')) return 'ipv6';
  return isIPv4(address) ? 'ipv4' : 'dns';
}

/**
 * Reads a port number given as a number or as decimal digits.
 * @throws Error if it is not a whole number from 1 to 65535
 */
export function parsePort(input: unknown): number {
  const number = typeof input === 'string' && /^\d+$/.test(input.trim()) ? Number(input) : input;
  if (typeof number !== 'number' || !Number.isInteger(number) || number < 1 || number > 65535)
    throw new Error(`port ${short(JSON.stringify(input) ?? 'missing')} is not a whole number from 1 to 65535`);
  return number;
}

/** Whether a host is this very machine: `localhost`, 127.0.0.0/8 or ::1, in brackets or not. */
export function isLoopback(host: string): boolean {
  return /^(localhost|127(\.\d+){3}|\[?::1\]?)$/.test(host);
}

/** At most 100 characters of what was found, for messages. */
export function short(text: string): string {
  return text.length <= 100 ? text : `${text.slice(0, 97)}...`;
}
