import { setTimeout as sleep } from 'node:timers/promises';
import type { Term } from './term.js';

/** Who leads, as it stands in a store. The times are for people: replicas go by how long they themselves have seen no renewal. */
export interface Lease {
  /** Empty once it was given up. */
  readonly holder: string;
  /** ms for which others have to see no renewal before they may take it. */
  readonly duration: number;
  /** ms since 1970. */
  readonly acquiredAt: number;
  /** ms since 1970. */
  readonly renewedAt: number;
  /** How often it went to another holder. */
  readonly transitions: number;
}

export interface LeaseVersion {
  readonly lease: Lease | undefined;
  /** What the store tells versions by; another one after each renewal. */
  readonly mark: unknown;
}

/** The lease of one role in a store. All of it throws when the store does not answer, or once the signal aborts. */
export interface LeaseStore {
  read(signal: AbortSignal): Promise<LeaseVersion>;
  /** Waits until it is another one than `known`, for `ms` at most. */
  next(known: LeaseVersion, ms: number, signal: AbortSignal): Promise<LeaseVersion>;
  /** @returns what is in the store now; undefined if it is another one than `known` by now */
  write(lease: Lease, known: LeaseVersion, signal: AbortSignal): Promise<LeaseVersion | undefined>;
}

/** Parts of a lease's duration after which its holder renews it. */
const RENEWALS = 4;
/** ms that a replica that ends takes at most to give its lease up. */
const PARTING_MS = 1_000;

/**
 * The election by a lease, as Kubernetes' own parts hold it: who finds it free, or has seen no renewal for its duration, takes it by compare and swap.
 * @param me unique among replicas
 * @param duration ms
 */
export async function electByLease(
  store: LeaseStore,
  me: string,
  duration: number,
  term: Term,
  answered: () => void,
  signal: AbortSignal,
): Promise<void> {
  let seen = await store.read(signal);
  let seenAt = performance.now();
  try {
    for (;;) {
      answered();
      const { lease } = seen;
      if (lease?.holder !== me) term.end();
      const patience = lease === undefined || lease.holder === '' ? 0 : seenAt + lease.duration - performance.now();
      if (lease?.holder === me || patience <= 0) {
        const askedAt = performance.now();
        const written = await store.write(renewed(lease, me, duration), seen, signal);
        if (written !== undefined) term.renewed(askedAt, duration);
        seen = written ?? (await store.read(signal));
        seenAt = performance.now();
        if (written !== undefined) await sleep(duration / RENEWALS, undefined, { signal });
      } else {
        const next = await store.next(seen, patience, signal);
        if (next.mark !== seen.mark) seenAt = performance.now();
        seen = next;
      }
    }
  } finally {
    if (signal.aborted) {
      term.end();
      await giveUp(store, me, seen);
    }
  }
}

function renewed(lease: Lease | undefined, me: string, duration: number): Lease {
  const now = Date.now();
  if (lease?.holder === me) return { ...lease, duration, renewedAt: now };
  return { holder: me, duration, acquiredAt: now, renewedAt: now, transitions: (lease?.transitions ?? -1) + 1 };
}

/** Others need not wait then. */
async function giveUp(store: LeaseStore, me: string, seen: LeaseVersion): Promise<void> {
  if (seen.lease?.holder !== me) return;
  const ending = new AbortController();
  const timer = setTimeout(() => ending.abort(), PARTING_MS);
  await store.write({ ...seen.lease, holder: '', renewedAt: Date.now() }, seen, ending.signal).catch(() => undefined);
  clearTimeout(timer);
}
