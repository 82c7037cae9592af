import { createHash } from 'node:crypto';
import { compareText } from '#model/mesh.js';

/** Names and their addresses, IPv4 and IPv6. */
export type Addresses = ReadonlyMap<string, readonly string[]>;

/** A master file (RFC 1035) and its serial. */
export interface Zone {
  /** Without the dot at its end. */
  readonly origin: string;
  readonly hosts: number;
  /**
   * A hash of the content: the same in every replica, and another when the content is. Servers that read the file compare for equality; secondaries, which
   * compare for order, are not for this zone.
   */
  readonly serial: number;
  readonly text: string;
}

/** Names of a reserved domain: nobody is asked there. */
const nameServer = 'ns.pontoon.invalid.';
const mailbox = 'hostmaster.pontoon.invalid.';

/** The longest of the suffixes that a host ends with; undefined if there is none. */
export function originOf(host: string, suffixes: readonly string[]): string | undefined {
  return suffixes
    .filter((suffix) => host === suffix || host.endsWith(`.${suffix}`))
    .sort((a, b) => b.length - a.length)[0];
}

/**
 * The zone of an origin.
 * @param names all of them end with the origin
 * @param ttl s
 * @param comment the file's first line
 */
export function zoneOf(origin: string, names: Addresses, ttl: number, comment: string): Zone {
  const records = sorted(names).flatMap(([name, addresses]) => {
    const owner = name === origin ? '@' : name.slice(0, -origin.length - 1);
    return addresses.map((address) => `${owner} IN ${address.includes(':') ? 'AAAA' : 'A'} ${address}\n`);
  });
  const body = records.join('');
  const serial = createHash('sha256').update(`${origin} ${ttl}\n${body}`).digest().readUInt32BE(0);
  const text = [
    `; ${comment}`,
    `$ORIGIN ${origin}.`,
    `$TTL ${ttl}`,
    // Refresh, retry, expire; the last says how long a missing name may be remembered.
    `@ IN SOA ${nameServer} ${mailbox} ${serial} 3600 600 86400 ${ttl}`,
    `@ IN NS ${nameServer}`,
    body,
  ].join('\n');
  return { origin, hosts: names.size, serial, text };
}

/** A hosts file: a line for each address of each name. */
export function hostsText(names: Addresses, comment: string): string {
  const lines = sorted(names).flatMap(([name, addresses]) => addresses.map((address) => `${address} ${name}\n`));
  return `# ${comment}\n${lines.join('')}`;
}

function sorted(names: Addresses): [string, readonly string[]][] {
  return [...names].sort(([a], [b]) => compareText(a, b));
}
