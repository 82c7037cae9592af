import { bucketCount, bucketOf } from './vip.js';

/** Which shards of how many a Pontoon serves: `from` to `to`, both among them. `of` is a power of two, at most 256. */
export interface ServedShards {
  readonly from: number;
  readonly to: number;
  readonly of: number;
}

/** The shard of a host: the same in every process. */
export function shardOf(host: string, of: number): number {
  return bucketOf(host) % of;
}

/** Whether a Pontoon serves a host. @param served undefined: all shards */
export function isServed(host: string, served: ServedShards | undefined): boolean {
  return served === undefined || isWithin(shardOf(host, served.of), served);
}

/** The shards, of a listener's `count`, that a Pontoon serves, in order. */
export function shardsWithin(count: number, served: ServedShards | undefined): number[] {
  const all = Array.from({ length: count }, (_, shard) => shard);
  return served === undefined ? all : all.filter((shard) => isWithin(shard, served));
}

/** The buckets of hosts that a Pontoon serves, in order: what shards of different numbers have in common. */
export function bucketsWithin(served: ServedShards | undefined): number[] {
  const all = Array.from({ length: bucketCount }, (_, bucket) => bucket);
  return served === undefined ? all : all.filter((bucket) => isWithin(bucket % served.of, served));
}

/** For people: why a host is in no mesh service here. Undefined if it is served. */
export function elsewhereText(host: string, served: ServedShards | undefined): string | undefined {
  if (served === undefined || isServed(host, served)) return undefined;
  const shard = shardOf(host, served.of);
  return `its host ${host} falls into shard ${shard} of ${served.of}, which this Pontoon does not serve (it serves ${shardsText(served)})`;
}

/** As in the configuration: `0-15/64`. */
export function shardsText({ from, to, of }: ServedShards): string {
  return `${from}-${to}/${of}`;
}

function isWithin(shard: number, { from, to }: ServedShards): boolean {
  return shard >= from && shard <= to;
}
