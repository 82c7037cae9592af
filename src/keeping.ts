import type { Logger } from 'pino';
import type { Catalog } from '#catalog/catalog.js';
import type { Config } from '#config/schema.js';
import { SnapshotFile, type SnapshotStatus } from '#snapshot/file.js';
import type { Known } from '#snapshot/known.js';
import { fetchFromPeers, type PeerServer, startPeerServer } from '#snapshot/peers.js';
import { SharedSnapshot } from '#snapshot/shared.js';

/** ms after which another replica's knowledge is better than an own snapshot. */
const young = 10 * 60_000;

/** What is known, kept over the end of this process: on disk, and for other replicas. */
export class Keeping {
  readonly #config: Config['state'];
  readonly #log: Logger;
  readonly #file: SnapshotFile | undefined;
  /** What is known now, for whoever asks. */
  readonly snapshot: SharedSnapshot;
  #peers: PeerServer | undefined;
  #from: 'disk' | 'peer' | undefined;

  /** @param known what is known now; undefined while that is not complete */
  constructor(config: Config['state'], known: () => Known | undefined, log: Logger) {
    const { directory } = config;
    this.#config = config;
    this.snapshot = new SharedSnapshot(known);
    this.#log = log;
    this.#file = directory === undefined ? undefined : new SnapshotFile({ directory, known, log });
  }

  /** What this process begins with, before it serves anybody; undefined if nobody knows anything. @throws Error if a certificate cannot be read */
  async remembered(): Promise<Known | undefined> {
    const { peers, tls } = this.#config;
    const own = this.#file?.load();
    const age = own === undefined ? undefined : Date.now() - own.savedAt;
    const isYoung = age !== undefined && age >= 0 && age < young;
    const theirs = isYoung || peers.length === 0 ? undefined : await fetchFromPeers({ peers, tls, log: this.#log });
    const isTheirs = theirs !== undefined && theirs.savedAt > (own?.savedAt ?? 0);
    const known = isTheirs ? theirs : own;
    if (known === undefined) return undefined;
    const from = isTheirs ? 'peer' : 'disk';
    this.#from = from;
    const services = known.registries.reduce((sum, { services }) => sum + services.length, 0);
    this.#log.info({ from, savedAt: new Date(known.savedAt).toISOString(), services }, 'goes on with what was known');
    return known;
  }

  /** Where what was known at the start came from. */
  get rememberedFrom(): 'disk' | 'peer' | undefined {
    return this.#from;
  }

  /** Keeps the catalog from now on. @throws Error if `state.listen` cannot be listened on */
  async start(catalog: Catalog): Promise<void> {
    const { listen, tls } = this.#config;
    catalog.on('change', () => this.#file?.changed());
    catalog.on('hold', () => this.#file?.now());
    // Even if nothing changes any more: how old it is tells how long nobody was there.
    this.#file?.changed();
    if (listen !== undefined)
      this.#peers = await startPeerServer({ listen, tls, snapshot: this.snapshot, log: this.#log });
  }

  /** How the snapshot on disk is doing; undefined without `state.directory`. */
  status(): SnapshotStatus | undefined {
    return this.#file?.status();
  }

  async close(): Promise<void> {
    await this.#peers?.close();
    await this.#file?.close();
  }
}
