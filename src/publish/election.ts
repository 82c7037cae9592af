import { createHash } from 'node:crypto';
import type { ServedShards } from '#catalog/shards.js';
import type { Candidacy, Coordination } from '#coordination/contract.js';

/** Who writes into a registry. */
export interface Election extends Candidacy {
  /** Why the store of coordination does not answer; undefined while it does. */
  readonly error: string | undefined;
}

/** Takes part in the elections of writers, one per registry and range of shards. Coordination ends none before it ends itself, so each is begun once. */
export class Elections {
  readonly #coordination: Coordination;
  readonly #known = new Map<
    string,
    { readonly election: Election; heard: (isLeader: boolean) => void; leads: boolean }
  >();

  constructor(coordination: Coordination) {
    this.#coordination = coordination;
  }

  /** @param heard hears whether this process writes, instead of whoever heard it for this registry before */
  of(registry: string, serve: ServedShards | undefined, heard: (isLeader: boolean) => void): Election {
    const role = roleOf(registry, serve);
    const known = this.#known.get(role);
    if (known !== undefined) {
      known.heard = heard;
      queueMicrotask(() => known.leads && known.heard(true));
      return known.election;
    }
    const coordination = this.#coordination;
    let candidacy: Candidacy | undefined;
    const election: Election = {
      get isLeader() {
        return candidacy?.isLeader ?? false;
      },
      get error() {
        return coordination.error;
      },
    };
    const entry = { election, heard, leads: false };
    this.#known.set(role, entry);
    // A store may elect at once: who hears it has to know the election first.
    candidacy = coordination.campaign(role, (isLeader) => {
      entry.leads = isLeader;
      queueMicrotask(() => entry.heard(entry.leads));
    });
    return election;
  }
}

/** A name as every store takes it. */
function roleOf(registry: string, serve: ServedShards | undefined): string {
  const shards = serve === undefined ? '' : `-${serve.from}-${serve.to}-${serve.of}`;
  const plain = `publish-${registry}${shards}`;
  if (/^[a-z0-9-]{1,39}[a-z0-9]$/.test(plain)) return plain;
  return `publish-${createHash('sha256').update(plain).digest('hex').slice(0, 16)}`;
}
