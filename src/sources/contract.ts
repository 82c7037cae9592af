import type { Logger } from 'pino';
import type { z } from 'zod';
import type { Protocol } from '#model/protocol.js';
import type { RegistryService, ServiceKey, ServiceName } from '#model/service.js';
import type { Foreseen } from '#policy/foresight.js';
import type { TargetKind } from '#publish/contract.js';

/** Why something changed, and when the registry told us. Travels with the change to the last stage. */
export interface Cause {
  /** Text for people: "znode added", "poll", "push". */
  readonly what: string;
  /** `performance.now()` when the registry's answer or event arrived: monotonic ms. */
  readonly observedAt: number;
}

/** A cause that was observed now. */
export function cause(what: string): Cause {
  return { what, observedAt: performance.now() };
}

/**
 * How a source is doing. `live`: complete and current. `stale`: what is known stays in use, but the registry cannot be asked now.
 * `failed`: it never came.
 */
export type SourceState =
  | { readonly kind: 'connecting' }
  | { readonly kind: 'syncing' }
  | { readonly kind: 'live' }
  | { readonly kind: 'stale'; readonly error: Error }
  | { readonly kind: 'failed'; readonly error: Error };

/**
 * A complete listing, given in chunks. After `commit`, what was not added is gone, except what `update` or `unreadable` touched since the
 * listing was begun. A listing that is dropped without `commit` changes nothing.
 */
export interface Listing {
  add(services: readonly RegistryService[]): void;
  commit(cause: Cause): void;
}

/** Where a source writes what it reads. It never sees the views that this fills. */
export interface SourceOutput {
  listing(): Listing;
  update(changed: readonly RegistryService[], removed: readonly ServiceKey[], cause: Cause): void;
  /** The service, or every one of that name, exists and cannot be read: its last known content stays, and the error is shown. */
  unreadable(key: ServiceKey | ServiceName, error: Error): void;
  /** A proof of life: an event, a heartbeat, an empty poll answer. */
  alive(): void;
  /**
   * `commit` makes a source live by itself; a source calls this when it loses its registry and keeps trying by itself (stale), and when it
   * is back without a new listing (live).
   */
  state(state: SourceState): void;
}

/**
 * Reads one registry. `run` goes on until the signal aborts, and then resolves soon, with all connections closed. If it throws, the
 * supervisor backs off and runs it again; everything it has written stays.
 */
export interface Source {
  run(out: SourceOutput, signal: AbortSignal): Promise<void>;
}

/** What a source is given beside its own configuration. */
export interface SourceContext {
  /** The registry's name: `ServiceKey.registry` of all that is read. */
  readonly registry: string;
  readonly log: Logger;
  /** Whether a service of this name is wanted (`include` and `exclude`); others are not even read. */
  readonly includes: (serviceName: string) => boolean;
  /** Whether a service may be in the mesh here, where one process serves some shards only; others need not be read, and may be. All may, unless given. */
  readonly mayServe?: (service: Foreseen) => boolean;
}

/** What the pipeline needs to know of one kind of service that an adapter reads. */
export interface ServiceKind {
  /** Host template, unless the configuration has one: text with CEL between `{{ }}`. */
  readonly host: string;
  /** The weight that means "as any other". */
  readonly nominalWeight: number;
  /** What its services speak where nothing says so. */
  readonly protocol: Protocol;
  /** Whether the mesh knows such services by itself under that host: they keep it, be it under the cluster's own domain, and are not sent to Istio. */
  readonly native?: boolean;
  /**
   * Whether they may be our own ones that come back, since they are what istiod has from everybody: they give way to services of other registries with their
   * host, and those of Istio's namespace that is ours are left out.
   */
  readonly echoes?: boolean;
  /** Whether they are no services, but what runs at an address: pods. Instances of other services at these addresses take on what they say. */
  readonly workloads?: boolean;
}

/** One kind of registry. adapters/index.ts lists them all. */
export interface Adapter<Fields extends z.ZodRawShape = z.ZodRawShape> {
  /** The `type` in the configuration. */
  readonly type: string;
  /** One line for people: what it reads. */
  readonly description: string;
  /** Its own configuration keys; those that all registries share come from src/config. */
  readonly fields: Fields;
  /** The kinds of service that it reads, by `RegistryService.kind`. */
  readonly kinds: Readonly<Record<string, ServiceKind>>;
  /** Whether what is lost may be a fault of the registry: not where people write what it says. */
  readonly guarded: boolean;
  /** Whether its sources read service by service, and leave out those that {@link SourceContext.mayServe} does not name. */
  readonly selective?: true;
  /** Whether what is sent to Istio waits for its registries at the first start, unless the configuration says otherwise; it does, unless given. */
  readonly required?: false;
  /** Without a proof of life for this long, in ms, a source is stale. */
  readonly staleAfter: number;
  /** How it is written to, where it can be. */
  readonly target?: TargetKind;
  /** Makes a source. Does no I/O. */
  source(config: z.output<z.ZodObject<Fields>>, context: SourceContext): Source;
}

/** Keeps the type of the configuration between an adapter's fields and its source, and widens the result for the list. */
export function defineAdapter<Fields extends z.ZodRawShape>(adapter: Adapter<Fields>): Adapter {
  return adapter as unknown as Adapter;
}
