import { contains, ipOf, type Range, rangeOf } from './cidr.js';

/** Networks by name, with the addresses that lie in each, in CIDR notation. */
export type Networks = Readonly<Record<string, { readonly cidrs?: readonly string[] | undefined }>>;

const parsed = new WeakMap<Networks, readonly { readonly name: string; readonly range: Range }[]>();

/** The network that an address lies in: of several the one with the narrowest range. A DNS name lies in none. */
export function networkOf(address: string, networks: Networks | undefined): string | undefined {
  const known = networks === undefined ? [] : ranges(networks);
  const ip = known.length === 0 ? undefined : ipOf(address);
  return ip && known.find(({ range }) => contains(range, ip))?.name;
}

function ranges(networks: Networks) {
  let known = parsed.get(networks);
  if (known === undefined) {
    known = Object.entries(networks)
      .flatMap(([name, { cidrs = [] }]) => cidrs.map((cidr) => ({ name, range: rangeOf(cidr) })))
      .sort((a, b) => b.range[1] - a.range[1]);
    parsed.set(networks, known);
  }
  return known;
}
