import type { ServiceKey } from '#model/service.js';

/** Something was registered, changed or withdrawn. */
export interface WriteEvent {
  readonly registry: string;
  readonly service: ServiceKey;
  /** Of the mesh service. */
  readonly host: string;
  readonly publication: string;
  /** What was done, for people. */
  readonly text: string;
  /** Why, for people. */
  readonly cause: string;
  /** ms from the registry's event that led to it until it was written; undefined where none did. */
  readonly took: number | undefined;
}

/** How writing into a registry is doing. */
export interface TargetStatus {
  readonly registry: string;
  readonly type: string;
  /**
   * `idle`: nothing is published there. `waiting`: the registry is not read yet, or cannot be. `standby`: another replica writes. `renewing`: nobody can be
   * elected, and leases are renewed. `stopped`: another process writes under the same owner.
   */
  readonly state: 'idle' | 'waiting' | 'standby' | 'renewing' | 'writing' | 'failing' | 'stopped';
  readonly reason: string | undefined;
  /** Services and instances of this owner that stand there. */
  readonly services: number;
  readonly instances: number;
  /** The instances by the publications that their marks name. */
  readonly placed: Readonly<Record<string, number>>;
  /** Services that are still to be compared or written. */
  readonly pending: number;
  /** Writes of a service, and those that failed. */
  readonly written: number;
  readonly failed: number;
  /** Instances that the registry did not take, and those at whose place something stands that is not ours. */
  readonly refused: number;
  readonly conflicts: number;
  /** What people should know of instances that it took, such as metadata that it has no room for. */
  readonly notes: number;
  readonly renewed: number;
  readonly renewalsFailed: number;
  /** Requests that write, without renewals. */
  readonly requests: number;
  /** ms since 1970; undefined if nothing was written yet. */
  readonly lastWriteAt: number | undefined;
}
