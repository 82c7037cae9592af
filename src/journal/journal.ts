import type { Catalog, CatalogChange } from '#catalog/catalog.js';
import type { Endpoint, MeshService } from '#model/mesh.js';
import { serviceId } from '#model/service.js';
import type { Cause } from '#sources/contract.js';
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

/** How the causes begin of what guards change by themselves. */
const guardCause = 'guard: ';

/** Entries that are kept, and changes of endpoints in them. */
const longest = 10_000;
const mostEndpoints = 200_000;

/** The last transitions of hosts and registries, each with its cause; bounded, and on disk where there is a directory for it. */
export class Journal {
  /** Oldest first; cut when there are twice as many as are kept. */
  #entries: Entry[];
  #endpoints: number;
  /** Registries whose first complete listing since the start has come. */
  readonly #listed = new Map<string, Cause>();
  readonly #catalog: Catalog;
  readonly #file: JournalFile | undefined;

  /** @param file where it is kept across restarts */
  constructor(catalog: Catalog, file?: JournalFile) {
    this.#catalog = catalog;
    this.#file = file;
    this.#entries = file?.load(longest) ?? [];
    this.#endpoints = endpointsOf(this.#entries);
    catalog.on('change', (change) => this.#changed(change));
  }

  /** Notes what became of a registry as a whole, or of the configuration; or what was done about a host outside the mesh. */
  note(registry: string, cause: string, text: string, host = ''): void {
    this.#add({ at: Date.now(), host, registry, cause, text, endpoints: [] });
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
    // What is there at a start would drown what changed before it.
    if (cause.what === 'snapshot') {
      const text = `known from before the start: ${before.size} services`;
      this.#add({ at: Date.now(), host: '', registry, cause: cause.what, text, endpoints: [] });
      return;
    }
    const view = this.#catalog.view(registry);
    const isListed = view?.complete === true || view?.isSettling === true;
    // A large listing comes in pieces, all of one cause.
    if (this.#listed.get(registry) === cause) return;
    if (view !== undefined && isListed && !view.isRestored && !this.#listed.has(registry)) {
      this.#listed.set(registry, cause);
      const text = `read for the first time: ${view.said.size} services`;
      this.#add({ at: Date.now(), host: '', registry, cause: cause.what, text, endpoints: [] });
      return;
    }
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
    if (cause === 'configuration') return 'by the configuration';
    if (cause.startsWith(guardCause)) return cause;
    const registries = [...new Set(origins.map(({ registry }) => registry))];
    const holds = registries.filter((registry) => this.#holds(registry, service, ids));
    if (holds.length > 0)
      return `${holds.join(', ')} has it still, and it is not needed or reached directly: see explain`;
    return `no longer in ${registries.join(', ')}`;
  }

  #holds(registry: string, service: MeshService | undefined, ids: ReadonlySet<string>): boolean {
    const view = this.#catalog.view(registry);
    const known = (service?.origins ?? []).flatMap((key) => view?.services.get(serviceId(key)) ?? []);
    return known.some(({ instances }) => instances.some(({ id }) => ids.has(id)));
  }

  #cut(): void {
    this.#entries = this.#entries.slice(-longest);
    this.#endpoints = endpointsOf(this.#entries);
    while (this.#endpoints > mostEndpoints) {
      const dropped = this.#entries.splice(0, Math.ceil(this.#entries.length / 10));
      this.#endpoints -= endpointsOf(dropped);
    }
  }

  #add(entry: Entry): void {
    this.#entries.push(entry);
    this.#endpoints += entry.endpoints.length;
    if (this.#entries.length >= 2 * longest || this.#endpoints >= 2 * mostEndpoints) this.#cut();
    this.#file?.append(entry);
  }
}

function endpointsOf(entries: readonly Entry[]): number {
  return entries.reduce((sum, { endpoints }) => sum + endpoints.length, 0);
}

/** @param endpoint `address:port`, with several ports as a list */
function isAt(endpoint: string, wanted: string): boolean {
  const colon = endpoint.lastIndexOf(':');
  const address = endpoint.slice(0, colon);
  const ports = endpoint.slice(colon + 1).split(',');
  return wanted === address || ports.some((port) => wanted === `${address}:${port}`);
}
