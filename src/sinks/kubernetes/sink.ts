import { setMaxListeners } from 'node:events';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Logger } from 'pino';
import { isServed } from '#catalog/shards.js';
import type { IstioConfig, Serve } from '#config/istio.js';
import type { Candidacy, Coordination } from '#coordination/contract.js';
import type { Projection, ProjectionChange } from '#istio/projection.js';
import type { EncodedResource } from '#istio/resource.js';
import { follow } from '#kubernetes/collection.js';
import { KubeClient } from '#kubernetes/kubeclient.js';
import { reasonOf } from '#model/reason.js';
import type { ResourceFilter, Sink } from '#sinks/contract.js';
import { Backoff, fork } from '#sources/pace.js';
import { Covered } from './covered.js';
import { Ledger } from './ledger.js';
import type { ManifestOptions } from './manifest.js';
import { seen } from './manifest.js';
import { ServiceEntryObjects } from './objects.js';
import type { Problem } from './problem.js';
import { Writer } from './writer.js';

/** What a {@link KubernetesSink} needs beside the projection. */
export interface KubernetesSinkOptions {
  readonly config: NonNullable<IstioConfig['kubernetes']>;
  /** `state.owner`. */
  readonly owner: string;
  /** Which shards are ours; all unless given. What has our mark and lies in another is not touched. */
  readonly serve?: Serve | undefined;
  readonly takes: ResourceFilter;
  /** Is called when {@link KubernetesSink.covers} says something else about a host. */
  readonly covered: (host: string) => void;
  readonly coordination: Coordination;
  /** Whether every registry has been read: before that, what is in the cluster and unknown here may still come. */
  readonly isComplete: () => boolean;
  readonly log: Logger;
}

/** How the objects in a cluster are doing. Times are ms since 1970. */
export interface KubernetesStatus {
  /** `waiting` for registries; `standby` while another replica writes; `connecting` until all is read; `writing`. */
  readonly state: 'waiting' | 'standby' | 'connecting' | 'writing';
  /** Why the API server cannot be asked now. */
  readonly error: string | undefined;
  /** `networking.istio.io/v1`, once it is known. */
  readonly apiVersion: string | undefined;
  /** Services that are to be objects. */
  readonly services: number;
  /** Those of them that have no object yet, or none that the cluster takes. */
  readonly uncovered: number;
  /** Objects of ours in the cluster, and ServiceEntries of others. */
  readonly objects: number;
  readonly others: number;
  /** Services that wait to be compared or written. */
  readonly pending: number;
  /** Since the start. */
  readonly written: number;
  readonly deleted: number;
  readonly requests: number;
  readonly lastWriteAt: number | undefined;
  readonly problems: readonly Problem[];
}

/** ms that a start waits for what is in the cluster. */
const LONGEST_OPEN_MS = 10_000;
/** ms after which a watch that goes on has told what was missed meanwhile. */
const CAUGHT_UP_MS = 1_000;

/** One of our objects, as it was last seen. */
export interface ObjectStatus {
  /** `namespace/name`. */
  readonly object: string;
  readonly resourceVersion: string;
}

/**
 * ServiceEntry objects in a cluster, by server-side apply, for istiods that read no config source, for ambient, and for references of the Gateway API. One
 * replica writes. What is ours is told by its labels, so that nothing has to be remembered over a restart.
 */
export class KubernetesSink implements Sink {
  readonly #options: KubernetesSinkOptions;
  readonly #ours: ManifestOptions;
  readonly #ledger: Ledger;
  readonly #covered: Covered;
  readonly #writer: Writer;
  readonly #candidacy: Candidacy;
  #isReady = false;
  #leads = false;
  #isClosed = false;
  readonly #reading = new AbortController();
  #read: Promise<void> = Promise.resolve();
  /** Ends what is read in one version. */
  #following: AbortController | undefined;
  /** Ends the writing, while there is any. */
  #writing: AbortController | undefined;
  #before: Promise<void> = Promise.resolve();
  #resuming: NodeJS.Timeout | undefined;
  /** Settles the start: all is listed, or cannot be. */
  #opened = (): void => undefined;
  #objects: ServiceEntryObjects | undefined;
  #client: KubeClient | undefined;
  #isListed = false;
  #error: string | undefined;

  constructor(projection: Projection, options: KubernetesSinkOptions) {
    this.#options = options;
    const { config, owner, serve, coordination } = options;
    const { fieldManager, oversized } = config;
    this.#ours = { owner, fieldManager, oversized };
    this.#ledger = new Ledger((host) => this.#covered.look(host));
    this.#covered = new Covered(this.#ledger, options.covered);
    this.#writer = new Writer(this.#ledger, projection, {
      ...this.#ours,
      rate: config.rate,
      resync: config.resync,
      isComplete: options.isComplete,
      serves: (host) => isServed(host, serve),
      mayWrite: () => this.#candidacy.isLeader,
      unknown: () => this.#following?.abort(new Error('ServiceEntries are not served in this version any more')),
      log: options.log,
    });
    projection.on('change', (change) => this.#changed(change, projection));
    const role = serve === undefined ? 'istio-kubernetes' : `istio-kubernetes-${serve.from}-${serve.to}-${serve.of}`;
    this.#candidacy = coordination.campaign(role, (isLeader) => {
      this.#leads = isLeader;
      this.#look();
    });
  }

  /** Reads what is in the cluster, and hears of its changes from then on. Resolves when that is known, cannot be had, or takes too long. */
  async open(): Promise<void> {
    const { signal } = this.#reading;
    const isOpen = new Promise<void>((resolve) => {
      this.#opened = resolve;
    });
    this.#read = this.#run(signal);
    const patience = new AbortController();
    await Promise.race([isOpen, sleep(LONGEST_OPEN_MS, undefined, { signal: patience.signal }).catch(() => undefined)]);
    patience.abort();
  }

  /** Whether a resource has its object in the cluster. */
  covers(resource: Pick<EncodedResource, 'host' | 'name'>): boolean {
    return this.#covered.has(resource);
  }

  ready(): void {
    this.#isReady = true;
    this.#look();
  }

  async close(): Promise<void> {
    this.#isClosed = true;
    this.#reading.abort();
    this.#look();
    await Promise.all([this.#read, this.#before]);
    clearTimeout(this.#resuming);
    this.#covered.close();
    this.#client?.close();
  }

  status(): KubernetesStatus {
    const { ours, others } = this.#ledger.counts();
    return {
      state: this.#state(),
      error: this.#error ?? this.#writer.error,
      apiVersion: this.#objects?.apiVersion,
      services: this.#writer.services,
      uncovered: [...this.#writer.hosts()].filter((host) => this.#ledger.ofHost(host).length === 0).length,
      objects: ours,
      others,
      requests: this.#client?.requests ?? 0,
      ...this.#writer.status(),
    };
  }

  /** Our objects about a host, and what is wrong with them. */
  object(host: string): { readonly objects: readonly ObjectStatus[]; readonly problems: readonly Problem[] } {
    return {
      objects: this.#ledger.ofHost(host).map(({ id, resourceVersion }) => ({ object: id, resourceVersion })),
      problems: this.#writer.problemsOf(host),
    };
  }

  #state(): KubernetesStatus['state'] {
    if (!this.#isReady) return 'waiting';
    if (!this.#leads) return 'standby';
    return this.#isListed ? 'writing' : 'connecting';
  }

  #changed({ set, removed }: ProjectionChange, projection: Projection): void {
    for (const { host, mesh } of set.filter(this.#options.takes)) this.#writer.wants(host, mesh.registries);
    for (const resource of set) if (!this.#options.takes(resource)) this.#writer.forgoes(resource.host);
    const gone = new Set(removed.map(({ host }) => host));
    for (const { host } of set) gone.delete(host);
    // Of several entries of one host some may be left.
    for (const host of gone)
      if (projection.entries(host).length === 0) this.#writer.forgoes(host);
      else this.#writer.look(host);
  }

  /** Begins to write when this replica is to, and ends it when it is not. */
  #look(): void {
    const isDue = this.#isReady && this.#leads && this.#isListed && !this.#isClosed;
    if (isDue && this.#writing === undefined) {
      const ending = new AbortController();
      // Each write listens to it.
      setMaxListeners(0, ending.signal);
      this.#writing = ending;
      this.#before = this.#before.then(() => {
        if (!ending.signal.aborted) this.#writer.start(ending.signal);
      });
    } else if (!isDue && this.#writing !== undefined) {
      this.#writing.abort();
      this.#writing = undefined;
      this.#before = this.#before.then(() => this.#writer.stop());
    }
  }

  /** Reads all, and hears of changes, until the signal aborts. Does not throw. */
  async #run(signal: AbortSignal): Promise<void> {
    const backoff = new Backoff();
    while (!signal.aborted)
      try {
        this.#client ??= await KubeClient.load(this.#options.config.kubeconfig);
        this.#objects = await ServiceEntryObjects.open(this.#client, this.#ours, signal);
        this.#writer.use(this.#objects);
        const { controller, release } = fork(signal);
        this.#following = controller;
        await this.#follow(this.#objects, controller.signal).finally(release);
      } catch (error) {
        if (!signal.aborted) this.#lost(error);
        await backoff.pause(signal).catch(() => undefined);
      }
  }

  async #follow(objects: ServiceEntryObjects, signal: AbortSignal): Promise<void> {
    const ledger = this.#ledger;
    await follow(
      objects.client,
      objects.collection,
      {
        begin: () => ledger.begin(),
        listed: (object) => ledger.listed(seen(object, this.#ours)),
        end: () => {
          const hosts = ledger.end();
          for (const host of hosts) if (this.#isListed) this.#writer.repair(host);
          this.#isListed = true;
          this.#covered.known(this.#writer.hosts());
          this.#opened();
          this.#back(0);
          this.#look();
        },
        changed: (object) => {
          const now = seen(object, this.#ours);
          const before = ledger.get(now.id);
          if (!ledger.put(now)) return;
          // Whose it was, and whose it is.
          if (before?.isOurs) this.#writer.repair(before.host);
          if (now.isOurs) this.#writer.repair(now.host);
          else this.#writer.freed(now.id);
        },
        removed: (object) => {
          const gone = seen(object, this.#ours);
          if (!ledger.drop(gone)) return;
          if (gone.isOurs) this.#writer.repair(gone.host);
          else this.#writer.freed(gone.id);
        },
        alive: () => undefined,
        lost: (error) => this.#lost(error),
        back: () => this.#back(CAUGHT_UP_MS),
      },
      signal,
    );
  }

  #lost(error: unknown): void {
    const reason = reasonOf(error);
    if (this.#error === undefined)
      this.#options.log.warn({ reason }, "Kubernetes' API server cannot be asked; its objects stay as they are");
    this.#error = reason;
    clearTimeout(this.#resuming);
    this.#writer.pause();
    this.#opened();
  }

  /** @param after ms until what was missed is known */
  #back(after: number): void {
    if (this.#error === undefined) return;
    this.#options.log.info("Kubernetes' API server answers again");
    this.#error = undefined;
    clearTimeout(this.#resuming);
    this.#resuming = setTimeout(() => this.#writer.resume(), after);
  }
}
