import { randomUUID } from 'node:crypto';
import type { Coordination, Json } from '#coordination/contract.js';

/** What an operator ends by hand: the holds of a registry, or of its services of one name; or the waiting for a registry at a first start. */
export interface Release {
  readonly what: 'holds' | 'start';
  readonly registry: string;
  readonly service?: string | undefined;
}

interface Entry extends Release {
  readonly id: string;
  /** ms since 1970. */
  readonly at: number;
}

const document = 'releases';
/** Releases that are kept for replicas that were away. */
const most = 50;
/** ms by which the clocks of replicas may differ. */
const skew = 60_000;

/**
 * Releases, shared by all replicas. A replica that is away hears of them when it starts; holds that began later than a release are not touched by it.
 */
export class Releases {
  readonly #coordination: Coordination;
  readonly #apply: (release: Release, before: number) => void;
  readonly #heard = new Set<string>();

  /** @param apply ends what began before a time, in ms since 1970 */
  constructor(coordination: Coordination, apply: (release: Release, before: number) => void) {
    this.#coordination = coordination;
    this.#apply = apply;
  }

  /** Hears from now on what other replicas release, and what they released before. */
  start(): void {
    this.#coordination.watch(document, (content) => this.#hear(content));
  }

  /** Releases here at once, and everywhere as soon as the store answers. */
  release(release: Release): void {
    const entry: Entry = { ...release, id: randomUUID(), at: Date.now() };
    this.#heard.add(entry.id);
    this.#apply(release, Number.POSITIVE_INFINITY);
    const { id, at, what, registry, service = null } = entry;
    const json: Json = { id, at, what, registry, service };
    // Closed before the store answered: the release holds here alone.
    this.#coordination
      .update(document, (content) => {
        const known = Array.isArray(content) ? content : [];
        // A write whose answer was lost is made again.
        const isThere = entriesOf(known).some((one) => one.id === id);
        return isThere ? known : [...known, json].slice(-most);
      })
      .catch(() => undefined);
  }

  #hear(content: Json | undefined): void {
    for (const entry of entriesOf(content)) {
      if (this.#heard.has(entry.id)) continue;
      this.#heard.add(entry.id);
      this.#apply(entry, entry.at + skew);
    }
  }
}

/** What another version wrote there is left out. */
function entriesOf(content: Json | undefined): Entry[] {
  if (!Array.isArray(content)) return [];
  return content.flatMap((entry: Json) => {
    if (typeof entry !== 'object' || entry === null || !('id' in entry)) return [];
    const { id, at, what, registry, service } = entry;
    if (typeof id !== 'string' || typeof at !== 'number' || typeof registry !== 'string') return [];
    if (what !== 'holds' && what !== 'start') return [];
    return [{ id, at, what, registry, service: typeof service === 'string' ? service : undefined }];
  });
}
