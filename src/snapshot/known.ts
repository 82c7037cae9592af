import type { ServedShards } from '#catalog/shards.js';
import type { MeshService } from '#model/mesh.js';
import type { RegistryService } from '#model/service.js';
import type { Answer } from '#probe/prober.js';

/** An instance that a hold keeps in the mesh, although its registry does not list it as usable any more. */
export interface KnownHeld {
  /** Of its service: see `serviceId`. The instance itself is among the service's instances. */
  readonly service: string;
  /** Of the instance: see `instancePlace`. */
  readonly place: string;
  /** What became of it in the registry: `gone`, or the status that its registry gives it. */
  readonly why: string;
  /** What it said when it was last asked, if it was. */
  readonly answer?: Answer;
}

/** A hold, and the time that it still has. */
export interface KnownHold {
  readonly scope: 'registry' | 'service';
  /** The id of the service, of a hold of one service. */
  readonly service: string | undefined;
  /** Begun at: ms since 1970. */
  readonly since: number;
  /** ms until the last of it leaves by time; 0 if it goes on past that. */
  readonly left: number;
  /** How many of its instances have turned out dead. */
  readonly dead: number;
  readonly reason: string;
  readonly instances: readonly KnownHeld[];
}

/** What is known of one registry, as guarded. */
export interface KnownRegistry {
  readonly name: string;
  /** The adapter's type: a registry of another type is another one. */
  readonly type: string;
  /** Fingerprint of the keys of its source: what another configuration does not read is no loss. */
  readonly source: string;
  readonly services: readonly RegistryService[];
  readonly holds: readonly KnownHold[];
}

/** A mesh service without endpoints: it keeps its ports and its shape, and its deletion its time. */
export interface KnownEmpty {
  readonly service: MeshService;
  /** ms until it is deleted; undefined while a registry holds it. */
  readonly left: number | undefined;
}

/** All that a Pontoon knows and that has to outlive it. */
export interface Known {
  /** ms since 1970. */
  readonly savedAt: number;
  /** The shards that it is about; all, unless given. */
  readonly serve?: ServedShards;
  readonly registries: readonly KnownRegistry[];
  readonly empty: readonly KnownEmpty[];
}
