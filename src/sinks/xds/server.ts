import { randomBytes } from 'node:crypto';
import { ServerCredentials } from '@grpc/grpc-js';
import { EventEmitter } from 'eventemitter3';
import type { Logger } from 'pino';
import { hostPortText } from '#config/fields.js';
import type { Projection, ProjectionChange } from '#istio/projection.js';
import type { EncodedResource, ResourceType } from '#istio/resource.js';
import type { ResourceFilter, Sink } from '#sinks/contract.js';
import { type CertificateStatus, ListenerCertificates, type TlsFiles } from './certificates.js';
import { type DoorLimits, type Refused, XdsDoor } from './door.js';
import { admission } from './identity.js';
import { ShardedSets } from './set.js';
import type { ClientState } from './stream.js';

/** Where a listener listens, and what it serves. */
export interface XdsListenerOptions {
  readonly host: string;
  /** That of shard 0; the others follow. 0 takes free ones. */
  readonly port: number;
  /** A power of two; 1 unless given. */
  readonly shards?: number;
  /** Plaintext without it. */
  readonly tls?: (TlsFiles & { readonly allow: readonly string[] }) | undefined;
  readonly log: Logger;
  /** Which resources it serves; all, unless given. */
  readonly filter?: ResourceFilter;
  /** Whether all is known of a type; of all, unless given. Of the others nothing is answered: see {@link XdsListener.look}. */
  readonly mayShow?: (type: ResourceType) => boolean;
  readonly limits?: Partial<DoorLimits>;
}

/** Changes of one registry reached a client. Both in ms of `performance.now()`. */
export interface Sent {
  readonly registry: string;
  readonly observedAt: number;
  readonly sentAt: number;
}

/** A listener as the API shows it. */
export interface ListenerStatus {
  /** As configured. */
  readonly listen: string;
  readonly shards: number;
  /** Ports that are open. */
  readonly open: readonly { readonly shard: number; readonly port: number; readonly resources: number }[];
  readonly streams: number;
  /** Responses sent, and their bytes, since the start. */
  readonly pushes: number;
  readonly bytes: number;
  /** Clients that were sent away, by the reason. */
  readonly refused: Readonly<Partial<Record<Refused, number>>>;
  /** Undefined without TLS. */
  readonly certificate: CertificateStatus | undefined;
}

const limits: DoorLimits = { maxStreams: 32, silence: 30_000, stall: 120_000 };

/**
 * An address where Istio finds its configuration: one port with the complete set, or consecutive ones with a shard each, which are config sources of their
 * own. Shards open and close one by one while it runs; their sets follow the projection, whether open or not.
 */
export class XdsListener extends EventEmitter<{ sent: [Sent] }> implements Sink {
  readonly #options: XdsListenerOptions;
  readonly #sets: ShardedSets;
  readonly #doors = new Map<number, XdsDoor>();
  readonly #certificates: ListenerCertificates | undefined;
  readonly #refused: Partial<Record<Refused, number>> = {};
  #pushes = 0;
  #bytes = 0;
  readonly #instance = randomBytes(4).toString('hex');

  /** @throws Error if the certificate cannot be used */
  constructor(projection: Projection, options: XdsListenerOptions) {
    super();
    const { tls, log, shards = 1, filter, mayShow } = options;
    this.#options = options;
    this.#sets = new ShardedSets(shards, filter, mayShow);
    try {
      this.#certificates = tls === undefined ? undefined : new ListenerCertificates(tls, log);
    } catch (error) {
      throw new Error(`istio.xds: ${hostPortText(options)}: ${(error as Error).message}`, { cause: error });
    }
    projection.on('change', (change) => this.#changed(change));
  }

  /** `host:port` of all that are open, in the order of their shards. */
  get addresses(): string[] {
    const { host } = this.#options;
    return this.#open().map(([, { port }]) => hostPortText({ host, port }));
  }

  /**
   * Opens the ports of these shards; all unless given. Those that are open stay so. Nothing is shown behind them before {@link ready}.
   *
   * @throws Error naming the first address that cannot be bound; then none of these is open
   */
  async open(shards: Iterable<number> = this.#sets.sets.keys()): Promise<void> {
    const added = [...shards].filter((shard) => !this.#doors.has(shard));
    for (const shard of added) this.#doors.set(shard, this.#door(shard));
    const results = await Promise.allSettled(added.map((shard) => this.#doors.get(shard)?.open()));
    const failed = results.find((result) => result.status === 'rejected');
    if (failed === undefined) return;
    await this.close(added);
    throw failed.reason;
  }

  /** From now on the sets of these shards are complete and may be shown; those of all that are open unless given. */
  ready(shards: Iterable<number> = this.#doors.keys()): void {
    for (const shard of shards) this.#doors.get(shard)?.ready();
  }

  /** Of a type all is known now. */
  known(): void {
    for (const door of this.#doors.values()) door.look();
  }

  /** Ends the streams of these shards and closes their ports, all unless given. */
  async close(shards?: Iterable<number>): Promise<void> {
    if (shards === undefined) this.#certificates?.close();
    const closing = [...(shards ?? this.#doors.keys())].map((shard) => {
      const door = this.#doors.get(shard);
      this.#doors.delete(shard);
      return door?.close();
    });
    await Promise.all(closing);
  }

  /** What its filter says of these resources may be something else now. */
  filtered(resources: readonly EncodedResource[]): void {
    const now = performance.now();
    for (const [shard, names] of this.#sets.apply({ set: resources, removed: [] }))
      this.#doors.get(shard)?.changed(names, resources[0]?.mesh.registries[0] ?? '', now);
  }

  clients(): ClientState[] {
    return this.#open().flatMap(([, door]) => door.clients());
  }

  status(): ListenerStatus {
    return {
      listen: hostPortText(this.#options),
      shards: this.#sets.sets.length,
      open: this.#open().map(([shard, { port }]) => ({ shard, port, resources: this.#sets.sets[shard]?.size ?? 0 })),
      streams: this.#open().reduce((sum, [, door]) => sum + door.streams, 0),
      pushes: this.#pushes,
      bytes: this.#bytes,
      refused: { ...this.#refused },
      certificate: this.#certificates?.status(),
    };
  }

  #open(): [number, XdsDoor][] {
    return [...this.#doors].sort(([a], [b]) => a - b);
  }

  #door(shard: number): XdsDoor {
    const set = this.#sets.sets[shard];
    const { host, port, tls, log } = this.#options;
    const listener = hostPortText(this.#options);
    if (set === undefined) throw new Error(`${listener} has no shard ${shard} of ${this.#sets.sets.length}`);
    return new XdsDoor(set, {
      host,
      port: port === 0 ? 0 : port + shard,
      shard,
      listener,
      credentials: this.#certificates?.credentials ?? ServerCredentials.createInsecure(),
      admission: tls?.clientCa === undefined ? undefined : admission(tls.allow),
      limits: { ...limits, ...this.#options.limits },
      log,
      instance: this.#instance,
      sent: (changes) => {
        const sentAt = performance.now();
        for (const [registry, observedAt] of changes) this.emit('sent', { registry, observedAt, sentAt });
      },
      pushed: (bytes) => {
        this.#pushes++;
        this.#bytes += bytes;
      },
      refused: (reason) => {
        this.#refused[reason] = (this.#refused[reason] ?? 0) + 1;
      },
    });
  }

  #changed(change: ProjectionChange): void {
    for (const [shard, names] of this.#sets.apply(change))
      this.#doors.get(shard)?.changed(names, change.registry, change.cause.observedAt);
  }
}
