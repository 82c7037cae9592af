import type { Catalog, CatalogChange } from '#catalog/catalog.js';
import type { Endpoint, MeshService } from '#model/mesh.js';
import { serviceId } from '#model/service.js';
import { type Entry, hostEntry } from './entry.js';
import type { JournalFile } from './file.js';

/** What is asked for; all that is given has to hold. */
export interface JournalQuery {
  readonly host?: string | undefined;
  /** An endpoint's address, or `address:port`. */
  readonly instance?: string | undefined;
  readonly registry?: string | undefined;
  /** ms since 1970. */
  readonly since?: number | undefined;
  readonly until?: number | undefined;
  /** Most entries to answer with. */
  readonly limit?: number | undefined;
}

/** Entries that are kept. */
const longest = 10_000;

/** The last transitions of hosts and registries, each with its cause; bounded, and on disk where there is a directory for it. */
export class Journal {
  /** Oldest first; at most twice {@link longest}, and cut to it then. */
  #entries: Entry[];
  readonly #catalog: Catalog;
  readonly #file: JournalFile | undefined;

  /** @param file where it is kept across restarts */
  constructor(catalog: Catalog, file?: JournalFile) {
    this.#catalog = catalog;
    this.#file = file;
    this.#entries = file?.load(longest) ?? [];
    catalog.on('change', (change) => this.#changed(change));
  }

  /** Notes what became of a registry as a whole, or of the configuration. */
  note(registry: string, cause: string, text: string): void {
    this.#add({ at: Date.now(), host: '', registry, cause, text, endpoints: [] });
  }

  /** The newest entries first. */
  query({ host, instance, registry, since = 0, until = Number.POSITIVE_INFINITY, limit = 200 }: JournalQuery): Entry[] {
    const found: Entry[] = [];
    for (let index = this.#entries.length - 1; index >= 0 && found.length < limit; index--) {
      const entry = this.#entries[index];
      if (entry === undefined || entry.at < since || entry.at > until) continue;
      if (host !== undefined && entry.host !== host.toLowerCase()) continue;
      if (registry !== undefined && entry.registry !== registry) continue;
      if (instance !== undefined && !entry.endpoints.some(({ endpoint }) => isAt(endpoint, instance))) continue;
      found.push(entry);
    }
    return found;
  }

  #changed({ before, registry, cause }: CatalogChange): void {
    // Steps of a warm-up follow from what is noted.
    if (cause.what === 'warm-up') return;
    for (const [host, was] of before) {
      const is = this.#catalog.services.get(host);
      const entry = hostEntry(was, is, (endpoint) => this.#whyGone(endpoint, was, cause.what));
      if (entry !== undefined) this.#add({ at: Date.now(), host, registry, cause: cause.what, ...entry });
    }
  }

  /** What the registry's service says of the instance now. */
  #whyGone({ origins }: Endpoint, service: MeshService | undefined, cause: string): string {
    const ids = new Set(origins.map(({ instance }) => instance));
    for (const key of service?.origins ?? []) {
      const left = this.#catalog.contribution(serviceId(key))?.leftOut.find(({ record }) => ids.has(record));
      if (left !== undefined) return left.reason;
    }
    return cause === 'configuration'
      ? 'by the configuration'
      : `no longer in ${origins.map(({ registry }) => registry).join(', ')}`;
  }

  #add(entry: Entry): void {
    this.#entries.push(entry);
    if (this.#entries.length >= 2 * longest) this.#entries = this.#entries.slice(-longest);
    this.#file?.append(entry);
  }
}

function isAt(endpoint: string, wanted: string): boolean {
  return endpoint === wanted || endpoint.slice(0, endpoint.lastIndexOf(':')) === wanted;
}
