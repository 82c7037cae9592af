import { once } from 'node:events';
import { setTimeout as sleep } from 'node:timers/promises';
import { isDeepStrictEqual } from 'node:util';
import { KubeClient } from '#kubernetes/kubeclient.js';
import { asError, reasonOf } from '#model/reason.js';
import type { RegistryService, ServiceKey } from '#model/service.js';
import { cause, type Source, type SourceContext, type SourceOutput } from '#sources/contract.js';
import { fork } from '#sources/pace.js';
import { Cluster, istioNamespace, serviceOf } from './cluster.js';
import { decodeNode, decodePod, decodeService, decodeSlice, networkLabel } from './decode.js';
import { decodePeerAuthentication } from './mtls.js';
import { type Reading, type ReadingOutput, read } from './reading.js';

/** Where to read, and what. */
export interface KubernetesConfig {
  readonly kubeconfig?: string | undefined;
  readonly context?: string | undefined;
  readonly cluster: string;
  readonly clusterDomain: string;
  readonly trustDomain: string;
  readonly namespaces?: readonly string[] | undefined;
  readonly selector?: string | undefined;
  /** Whether PeerAuthentications are read. */
  readonly mtls: 'read' | 'ignore';
  /** ms. */
  readonly heartbeat: number;
}

/** Reads a cluster's Services, EndpointSlices, Pods and Nodes by list and watch. */
export class KubernetesSource implements Source {
  readonly #config: KubernetesConfig;
  readonly #context: SourceContext;

  constructor(config: KubernetesConfig, context: SourceContext) {
    this.#config = config;
    this.#context = context;
  }

  async run(out: SourceOutput, signal: AbortSignal): Promise<void> {
    const client = await KubeClient.load(this.#config.kubeconfig, this.#config.context);
    out.state({ kind: 'syncing' });
    const run = new Run(this.#config, this.#context, out);
    const { controller, release } = fork(signal);
    try {
      const readings = run.readings.map(async (reading, index) => {
        try {
          await read(client, reading, run.output(index, reading), controller.signal);
          // One that may not be read is done; the others go on.
          if (!controller.signal.aborted) await once(controller.signal, 'abort');
        } catch (error) {
          // One fails, all begin anew.
          controller.abort(error);
        }
      });
      await Promise.all([...readings, this.#heartbeat(client, run, controller.signal)]);
      if (!signal.aborted) throw controller.signal.reason;
    } finally {
      run.close();
      release();
      client.close();
    }
  }

  /** Watches are silent for a minute and more: so the server is asked whether it is there. */
  async #heartbeat(client: KubeClient, run: Run, signal: AbortSignal): Promise<void> {
    const request = { method: 'GET', path: '/version', timeout: HEARTBEAT_TIMEOUT } as const;
    while (!signal.aborted) {
      try {
        await sleep(this.#config.heartbeat, undefined, { signal });
        await client.ask(request, signal);
        run.heartbeat(undefined);
      } catch (error) {
        if (!signal.aborted) run.heartbeat(asError(error));
      }
    }
  }
}

/** ms. */
const HEARTBEAT_TIMEOUT = 10_000;

/** What one run of the source knows, and has yet to tell. */
class Run {
  readonly readings: readonly Reading<unknown>[];
  readonly #context: SourceContext;
  readonly #out: SourceOutput;
  readonly #cluster: Cluster;
  readonly #services = new Set<string>();
  readonly #pods = new Set<string>();
  /** Readings that have not been complete yet. */
  readonly #awaited: Set<number>;
  readonly #lost = new Set<number>();
  #telling: NodeJS.Immediate | undefined;
  #isListed = false;

  constructor(config: KubernetesConfig, context: SourceContext, out: SourceOutput) {
    this.#context = context;
    this.#out = out;
    this.#cluster = new Cluster({ ...config, ...context });
    this.readings = this.#readings(config);
    this.#awaited = new Set(this.readings.keys());
  }

  close(): void {
    clearImmediate(this.#telling);
  }

  /** @param error undefined when the server answers */
  heartbeat(error: Error | undefined): void {
    if (error === undefined) this.#out.alive();
    this.#setLost(this.readings.length, error);
  }

  output(index: number, { collection }: Reading<unknown>): ReadingOutput {
    const { log } = this.#context;
    const { path } = collection;
    return {
      complete: () => {
        this.#awaited.delete(index);
        this.#schedule();
      },
      changed: () => this.#schedule(),
      alive: () => this.#out.alive(),
      lost: (error) => this.#setLost(index, error),
      refused: (error) => log.warn({ path, reason: reasonOf(error) }, 'may not be read: what it says is left out'),
      malformed: (id, error) =>
        log.warn({ path, object: id, reason: reasonOf(error) }, 'cannot be understood; what is known of it stays'),
    };
  }

  #readings({ namespaces, selector, mtls }: KubernetesConfig): Reading<unknown>[] {
    const cluster = this.#cluster;
    const scopes = namespaces === undefined ? [''] : [...new Set(namespaces)].map(scopeOf);
    const perScope = scopes.flatMap((scope) => [
      reading({
        collection: { path: `/api/v1${scope}/services`, labelSelector: selector },
        decode: decodeService,
        known: (id) => cluster.services.get(id),
        set: (id, service) => {
          if (service === undefined) cluster.services.delete(id);
          else cluster.services.set(id, service);
          this.#services.add(id);
        },
      }),
      reading({
        collection: { path: `/apis/discovery.k8s.io/v1${scope}/endpointslices` },
        decode: decodeSlice,
        known: (id) => cluster.slices.get(id),
        set: (id, slice) => {
          for (const one of [cluster.slices.get(id), slice]) if (one !== undefined) this.#services.add(serviceOf(one));
          cluster.setSlice(id, slice);
        },
      }),
      reading({
        collection: { path: `/api/v1${scope}/pods` },
        decode: decodePod,
        known: (id) => cluster.pods.get(id),
        set: (id, pod) => {
          const before = cluster.pods.get(id);
          cluster.setPod(id, pod);
          this.#pods.add(id);
          if (!isDeepStrictEqual(before?.labels, pod?.labels))
            for (const service of cluster.servicesOf(id)) this.#services.add(service);
        },
      }),
    ]);
    const policyScopes =
      mtls === 'ignore' ? [] : namespaces === undefined ? [''] : [...new Set([...scopes, scopeOf(istioNamespace)])];
    return [
      ...perScope,
      ...policyScopes.map((scope) =>
        reading({
          collection: { path: `/apis/security.istio.io/v1${scope}/peerauthentications` },
          optional: true,
          decode: decodePeerAuthentication,
          known: (id) => cluster.policies.get(id),
          set: (id, policy) => {
            cluster.policies.set(id, policy);
            for (const pod of cluster.podsUnder(id.split('/')[0] ?? '')) this.#pods.add(pod);
          },
        }),
      ),
      reading({
        collection: { path: '/api/v1/nodes', metadataOnly: true },
        optional: true,
        decode: decodeNode,
        known: (name) => cluster.nodes.get(name),
        set: (name, locality) => {
          if (locality === undefined) cluster.nodes.delete(name);
          else cluster.nodes.set(name, locality);
          for (const id of cluster.podsOn(name)) this.#pods.add(id);
        },
      }),
      reading({
        collection: {
          path: '/api/v1/namespaces',
          fieldSelector: `metadata.name=${istioNamespace}`,
          metadataOnly: true,
        },
        optional: true,
        decode: ({ metadata }) => metadata?.labels?.[networkLabel] || undefined,
        known: () => cluster.network,
        set: (_, network) => {
          cluster.network = network;
          for (const id of cluster.pods.keys()) this.#pods.add(id);
        },
      }),
    ];
  }

  #setLost(index: number, error: Error | undefined): void {
    if (error !== undefined) {
      this.#lost.add(index);
      this.#out.state({ kind: 'stale', error });
    } else if (this.#lost.delete(index) && this.#lost.size === 0 && this.#isListed) this.#out.state({ kind: 'live' });
  }

  /** What comes in one turn of the event loop is one change. */
  #schedule(): void {
    if (this.#awaited.size === 0) this.#telling ??= setImmediate(() => this.#tell());
  }

  #tell(): void {
    this.#telling = undefined;
    const [services, pods] = [[...this.#services], [...this.#pods]];
    this.#services.clear();
    this.#pods.clear();
    if (!this.#isListed) {
      this.#isListed = true;
      const listing = this.#out.listing();
      listing.add([...this.#cluster.all()]);
      listing.commit(cause('listed'));
      return;
    }
    const changed: RegistryService[] = [];
    const removed: ServiceKey[] = [];
    const take = (service: RegistryService | undefined, key: ServiceKey): void => {
      if (service === undefined) removed.push(key);
      else changed.push(service);
    };
    for (const id of services) take(this.#cluster.service(id), this.#cluster.serviceKey(id));
    for (const id of pods) take(this.#cluster.pod(id), this.#cluster.podKey(id));
    if (changed.length + removed.length > 0) this.#out.update(changed, removed, cause('watch'));
  }
}

/** The part of a collection's path that names its namespace. */
function scopeOf(namespace: string): string {
  return `/namespaces/${namespace}`;
}

/** Forgets the type of what is kept, which differs from reading to reading. */
function reading<Kept>(one: Reading<Kept>): Reading<unknown> {
  return one as unknown as Reading<unknown>;
}
