import ipaddr from 'ipaddr.js';

/** Networks by name, with the addresses that lie in each, in CIDR notation. */
export type Networks = Readonly<Record<string, { readonly cidrs?: readonly string[] | undefined }>>;

type Range = ReturnType<typeof ipaddr.parseCIDR>;

const parsed = new WeakMap<Networks, readonly { readonly name: string; readonly range: Range }[]>();

/** The network that an address lies in: of several the one with the narrowest range. A DNS name lies in none. */
export function networkOf(address: string, networks: Networks | undefined): string | undefined {
  if (networks === undefined || !ipaddr.isValid(address)) return undefined;
  const found = ipaddr.parse(address);
  return ranges(networks).find(({ range }) => range[0].kind() === found.kind() && found.match(range))?.name;
}

function ranges(networks: Networks) {
  let known = parsed.get(networks);
  if (known === undefined) {
    known = Object.entries(networks)
      .flatMap(([name, { cidrs = [] }]) => cidrs.map((cidr) => ({ name, range: ipaddr.parseCIDR(cidr) })))
      .sort((a, b) => b.range[1] - a.range[1]);
    parsed.set(networks, known);
  }
  return known;
}
