import ipaddr from 'ipaddr.js';

/** A range of addresses. */
export type Range = ReturnType<typeof ipaddr.parseCIDR>;

/** An address, parsed. */
export type Ip = ReturnType<typeof ipaddr.parse>;

const parsed = new Map<string, Range>();

/** Reads CIDR notation, each text once. @throws Error if it is none */
export function rangeOf(text: string): Range {
  let range = parsed.get(text);
  if (range === undefined) {
    range = ipaddr.parseCIDR(text);
    parsed.set(text, range);
  }
  return range;
}

/** An address to compare with ranges; undefined for a DNS name, which lies in none. */
export function ipOf(address: string): Ip | undefined {
  return ipaddr.isValid(address) ? ipaddr.parse(address) : undefined;
}

export function contains(range: Range, ip: Ip): boolean {
  return ip.kind() === range[0].kind() && ip.match(range);
}
