import type { Logger } from 'pino';
import type { z } from 'zod';
import type { Protocol } from '#model/protocol.js';
import type { Metadata, Note, Rejection, ServiceKey } from '#model/service.js';

/** One instance as it is to stand in a registry. */
export interface PublishedInstance {
  /** IPv4, IPv6 (without brackets) or DNS name. */
  readonly address: string;
  readonly port: number;
  /** Whether callers are to take it. If not, it stands there as the registry's own kind of "out of service". */
  readonly isUp: boolean;
  /** In the registry's own scale, where {@link TargetKind.nominalWeight} means "as any other". Above 0. */
  readonly weight: number;
  /** `region/zone/subzone`. */
  readonly locality: string | undefined;
  /** What its own registry says of it, as the publication chooses, and the mark (src/publish/mark.ts). */
  readonly metadata: Metadata;
}

/** One service as it is to stand in a registry. */
export interface PublishedService<Settings = unknown> {
  /** As a source of the registry reads it back. */
  readonly key: ServiceKey;
  readonly protocol: Protocol;
  /** The publication's block of the target's type, its templates filled in. */
  readonly settings: Settings;
  /** In the order of address and port; none: the service is to be withdrawn. */
  readonly instances: readonly PublishedInstance[];
}

/** An instance of ours that stands in a registry. */
export interface Placed {
  /** `Instance.id`, as a source of the registry reads it back. */
  readonly id: string;
  readonly instance: PublishedInstance;
}

/** What came of writing a service. */
export interface Written {
  /** All of ours that stands there now. */
  readonly placed: readonly Placed[];
  /** Instances that the registry did not take, each with its reason; the rest is written all the same. */
  readonly refused: readonly Rejection[];
  /** What people should know of instances that were written, such as metadata that the registry does not take. */
  readonly notes?: readonly Note[];
}

/** What a target is given beside its registry's configuration. */
export interface TargetContext {
  /** Name of the registry. */
  readonly registry: string;
  readonly owner: string;
  /** Directory for what has to survive a restart, such as a session's id; undefined if there is none. It exists. */
  readonly directory: string | undefined;
  readonly log: Logger;
  /** Waits until one more request that writes may be sent (`writes.rate`). Renewals do not ask. @throws the signal's reason */
  readonly turn: (signal: AbortSignal) => Promise<void>;
}

/**
 * Writes into one registry. The engine (src/publish) decides what stands where, when, and who writes; it retries, counts and remembers. A target knows the wire.
 * It never touches what is not in `before`, `placed` or its own: an instance of another owner, or that registered itself, at the same place is a refusal.
 * Connections are opened when they are needed first. All methods throw when the registry cannot be asked.
 */
export interface Target<Settings = unknown> {
  /**
   * Makes ours among a service's instances exactly these: registers, changes what differs (weight, metadata, health), and withdraws the rest. What is to be
   * withdrawn goes last. Of one service there is never a second call at a time.
   * @param before what of ours stands there; some of it may be gone already, or may come from another run, without anything remembered here
   */
  write(service: PublishedService<Settings>, before: readonly Placed[], signal: AbortSignal): Promise<Written>;
  /**
   * Renews the leases of a service's instances. Called each {@link TargetKind.renewEvery} ms for each service, spread over that time.
   * @returns false if the registry does not know some of them any more: then they are written anew
   */
  renew?(service: PublishedService<Settings>, placed: readonly Placed[], signal: AbortSignal): Promise<boolean>;
  /** Closes connections. What is registered stays, as long as its lease does. */
  close(): Promise<void>;
}

/** How an adapter writes. `Fields`: the keys of a publication's own block, named as the adapter's type; strings in it may be templates over `mesh`. */
export interface TargetKind<Fields extends z.ZodRawShape = z.ZodRawShape> {
  /** All of them optional, or with a default. */
  readonly fields: Fields;
  /** Template of the service's name, unless the publication has one (`as`): text with CEL between `{{ }}`, over `mesh`. */
  readonly as: string;
  readonly nominalWeight: number;
  /** Whether the registry knows weights; if not, a change of weight alone is none. */
  readonly hasWeights: boolean;
  /** Whether instances keep the metadata that they are written with, as they do unless given: if not, the mark is lost, and what is ours is told by the ledger alone. */
  readonly keepsMetadata?: boolean;
  /** ms that may pass until a source reads what was written, or reads no more what was withdrawn. */
  readonly seenWithin: number;
  /** ms between renewals; undefined where nothing has to be renewed. May depend on the block. */
  renewEvery?(settings: z.output<z.ZodObject<Fields>>): number | undefined;
  /** Where a service of that name stands: all of its key but the registry. @throws Error if the registry takes no such name */
  key(name: string, settings: z.output<z.ZodObject<Fields>>): Omit<ServiceKey, 'registry'>;
  /** Makes a target. Does no I/O. @param config the registry's configuration */
  target(config: unknown, context: TargetContext): Target<z.output<z.ZodObject<Fields>>>;
}

/** Keeps the types of a target's fields between its parts, and widens the result for the adapter. */
export function defineTarget<Fields extends z.ZodRawShape>(kind: TargetKind<Fields>): TargetKind {
  return kind as unknown as TargetKind;
}

/** What of a service's instances is to be written, and what is to go. */
export interface Difference {
  /** Not there yet, or otherwise. */
  readonly set: readonly PublishedInstance[];
  readonly gone: readonly Placed[];
  /** There as they should be. */
  readonly same: readonly Placed[];
}

/** Compares by address and port. What the registry, or another run, added to the metadata is no difference. */
export function difference(
  instances: readonly PublishedInstance[],
  before: readonly Placed[],
  { hasWeights, ignores = [] }: { readonly hasWeights: boolean; readonly ignores?: readonly string[] },
): Difference {
  const set: PublishedInstance[] = [];
  const same: Placed[] = [];
  const left = new Map(before.map((placed) => [placeOf(placed.instance), placed]));
  for (const instance of instances) {
    const place = placeOf(instance);
    const known = left.get(place);
    left.delete(place);
    const isSame =
      known !== undefined &&
      known.instance.isUp === instance.isUp &&
      (!hasWeights || known.instance.weight === instance.weight) &&
      Object.entries(instance.metadata).every(
        ([key, value]) => ignores.includes(key) || known.instance.metadata[key] === value,
      );
    if (isSame) same.push(known);
    else set.push(instance);
  }
  return { set, gone: [...left.values()], same };
}

/** What tells one instance of a service from the others. */
export function placeOf({ address, port }: Pick<PublishedInstance, 'address' | 'port'>): string {
  return `${address} ${port}`;
}
