import { createHash } from 'node:crypto';
import ipaddr from 'ipaddr.js';
import { compareText } from '#model/mesh.js';

/** Hosts are divided into this many fixed buckets; a listener's shards are unions of them. */
export const bucketCount = 256;

/** The bucket of a host: 0 to 255, the same in every process and version. */
export function bucketOf(host: string): number {
  return digest(host).readUInt8(8);
}

/** A contiguous range of addresses; IPv4 or IPv6. */
interface Range {
  readonly bytes: 4 | 16;
  readonly start: bigint;
  readonly size: bigint;
}

/**
 * Reads ranges in CIDR notation. All of one family are one pool.
 * @throws Error if one is malformed, two overlap, or a family has fewer than 65,536 addresses
 */
export function parseRanges(cidrs: readonly string[]): Range[][] {
  const pools = new Map<number, Range[]>();
  for (const cidr of cidrs) {
    let parsed: [ipaddr.IPv4 | ipaddr.IPv6, number];
    try {
      parsed = ipaddr.parseCIDR(cidr);
    } catch {
      throw new Error(`"${cidr}" is not a range such as 240.0.0.0/4 or fd00::/64`);
    }
    const bytes = parsed[0].kind() === 'ipv4' ? 4 : 16;
    const size = 1n << BigInt(bytes * 8 - parsed[1]);
    const address = BigInt(`0x${Buffer.from(parsed[0].toByteArray()).toString('hex')}`);
    pools.set(bytes, [...(pools.get(bytes) ?? []), { bytes, start: (address / size) * size, size }]);
  }
  const result = [...pools.values()];
  for (const pool of result) {
    const size = pool.reduce((sum, range) => sum + range.size, 0n);
    for (const range of pool)
      for (const other of pool)
        if (range !== other && range.start < other.start + other.size && other.start < range.start + range.size)
          throw new Error(`${cidrs.join(', ')}: two of the ranges overlap`);
    if (size < 65_536n)
      throw new Error(`${cidrs.join(', ')}: ${size} addresses are too few, at least 65536 are needed`);
  }
  return result;
}

/** 240.0.0.0/4, the reserved range that Istio itself uses, without its first and last /8: some systems refuse those. */
export const defaultRanges: readonly string[] = [
  '241.0.0.0/8',
  '242.0.0.0/7',
  '244.0.0.0/6',
  '248.0.0.0/6',
  '252.0.0.0/7',
  '254.0.0.0/8',
];

interface Bucket {
  readonly hosts: Set<string>;
  places: ReadonlyMap<string, bigint>;
}

/**
 * Gives every host a virtual address that depends on the set of hosts alone, not on history: the host's hash chooses bucket and place. Of hosts that want
 * one place the one that sorts first keeps it, and the others probe on within the bucket.
 */
export class VipAllocator {
  readonly #pools: readonly (readonly Range[])[];
  readonly #buckets: readonly Bucket[] = Array.from({ length: bucketCount }, () => ({
    hosts: new Set(),
    places: new Map(),
  }));
  /** Places per bucket: of the smallest pool, so that one place serves all families. */
  readonly #places: bigint;

  constructor(pools: readonly (readonly Range[])[]) {
    this.#pools = pools;
    const sizes = pools.map((pool) => Number(pool.reduce((sum, range) => sum + range.size, 0n) / BigInt(bucketCount)));
    this.#places = BigInt(Math.min(2 ** 48, ...sizes));
  }

  /**
   * Takes hosts in and out.
   * @returns the hosts, beside the added ones, whose addresses changed by it
   */
  change(added: Iterable<string>, removed: Iterable<string>): Set<string> {
    const touched = new Set<Bucket>();
    const fresh = new Set(added);
    for (const host of fresh) {
      const bucket = this.#bucket(host);
      bucket.hosts.add(host);
      touched.add(bucket);
    }
    for (const host of removed) {
      const bucket = this.#bucket(host);
      bucket.hosts.delete(host);
      touched.add(bucket);
    }
    const moved = new Set<string>();
    for (const bucket of touched) {
      const before = bucket.places;
      bucket.places = this.#place(bucket.hosts);
      for (const [host, place] of bucket.places) if (before.get(host) !== place && !fresh.has(host)) moved.add(host);
    }
    return moved;
  }

  /** The host's addresses, one per family. Empty if there are no ranges, the host was not added, or its bucket is full. */
  addresses(host: string): string[] {
    const index = bucketOf(host);
    const place = this.#buckets[index]?.places.get(host);
    if (place === undefined) return [];
    return this.#pools.map((pool) => {
      let offset = BigInt(index) * this.#places + place;
      for (const range of pool) {
        if (offset < range.size) return format(range.start + offset, range.bytes);
        offset -= range.size;
      }
      throw new RangeError(`no address for ${host}`);
    });
  }

  #bucket(host: string): Bucket {
    return this.#buckets[bucketOf(host)] as Bucket;
  }

  #place(hosts: ReadonlySet<string>): Map<string, bigint> {
    const places = new Map<string, bigint>();
    const taken = new Set<bigint>();
    const late: [string, bigint][] = [];
    for (const host of [...hosts].sort(compareText)) {
      const wanted = digest(host).readBigUInt64BE(0) % this.#places;
      if (taken.has(wanted)) late.push([host, wanted]);
      else {
        places.set(host, wanted);
        taken.add(wanted);
      }
    }
    for (const [host, wanted] of late) {
      // A bucket that is full leaves its last hosts without an address.
      if (BigInt(taken.size) >= this.#places) break;
      let place = wanted;
      while (taken.has(place)) place = (place + 1n) % this.#places;
      places.set(host, place);
      taken.add(place);
    }
    return places;
  }
}

function digest(host: string): Buffer {
  return createHash('sha256').update(host).digest();
}

function format(value: bigint, bytes: 4 | 16): string {
  const hex = value.toString(16).padStart(bytes * 2, '0');
  return ipaddr.fromByteArray([...Buffer.from(hex, 'hex')]).toString();
}
