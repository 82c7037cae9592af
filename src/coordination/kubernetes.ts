import { KubeClient, KubeError } from '#kubernetes/kubeclient.js';
import { electByLease, type Lease, type LeaseStore, type LeaseVersion } from './lease.js';
import type { Store, Version } from './store.js';
import type { Term } from './term.js';

/** Of the usual leader elections in Kubernetes. */
const LEASE_MS = 15_000;
/** ms for an answer: two of them fit into the time in which a leader has to renew its lease. */
const TIMEOUT_MS = 4_000;
/** Seconds of one watch, after which it begins anew: so long a dead connection goes unnoticed at most. */
const WATCH_S = 60;
/** The key of a ConfigMap that holds the document. */
const KEY = 'document.json';

/** What is used of Kubernetes' objects. */
interface KubeObject {
  readonly metadata?: { readonly resourceVersion?: string };
}
interface ConfigMap extends KubeObject {
  readonly data?: Readonly<Record<string, string>>;
}
interface KubeLease extends KubeObject {
  readonly spec?: {
    readonly holderIdentity?: string | null;
    readonly leaseDurationSeconds?: number;
    readonly acquireTime?: string;
    readonly renewTime?: string;
    readonly leaseTransitions?: number;
  };
}

/** A kind of objects: its group, and what a collection of it is called. */
interface Kind {
  readonly apiVersion: string;
  readonly kind: string;
  readonly root: string;
  readonly plural: string;
}
const CONFIG_MAP: Kind = { apiVersion: 'v1', kind: 'ConfigMap', root: '/api/v1', plural: 'configmaps' };
const LEASE: Kind = {
  apiVersion: 'coordination.k8s.io/v1',
  kind: 'Lease',
  root: '/apis/coordination.k8s.io/v1',
  plural: 'leases',
};

export interface KubernetesOptions {
  /** A file; the pod's own account if not given. */
  readonly kubeconfig?: string | undefined;
  /** The context's or the pod's own if not given. */
  readonly namespace?: string | undefined;
  /** Prefix of the objects' names. */
  readonly name: string;
}

/** Documents as ConfigMaps, written by their resource version; leaders by Leases, as other programs in Kubernetes do. `<name>-<document>`, `<name>-<role>`. */
export class KubernetesStore implements Store {
  readonly #options: KubernetesOptions;
  readonly #me: string;
  #client: KubeClient | undefined;

  /** @param me unique among replicas */
  constructor(options: KubernetesOptions, me: string) {
    this.#options = options;
    this.#me = me;
  }

  async read(name: string, signal: AbortSignal): Promise<Version> {
    return versionOf(await this.#get(CONFIG_MAP, name, signal));
  }

  async next(name: string, known: Version, signal: AbortSignal): Promise<Version> {
    return versionOf(await this.#next(CONFIG_MAP, name, known.mark, WATCH_S, signal));
  }

  async write(name: string, text: string, known: Version, signal: AbortSignal): Promise<boolean> {
    return (await this.#put(CONFIG_MAP, name, { data: { [KEY]: text } }, known.mark, signal)) !== undefined;
  }

  elect(role: string, term: Term, answered: () => void, signal: AbortSignal): Promise<void> {
    return electByLease(this.#lease(role), this.#me, LEASE_MS, term, answered, signal);
  }

  async close(): Promise<void> {}

  #lease(role: string): LeaseStore {
    return {
      read: async (signal) => leaseOf(await this.#get(LEASE, role, signal)),
      next: async (known, ms, signal) => {
        const seconds = Math.min(WATCH_S, Math.ceil(ms / 1_000));
        return leaseOf(await this.#next(LEASE, role, known.mark, seconds, signal));
      },
      write: async (lease, known, signal) => {
        const written = await this.#put(LEASE, role, { spec: specOf(lease) }, known.mark, signal);
        return written === undefined ? undefined : leaseOf(written);
      },
    };
  }

  async #get(kind: Kind, name: string, signal: AbortSignal): Promise<KubeObject | undefined> {
    const { client, path, object } = await this.#place(kind, name);
    try {
      const request = { method: 'GET', path: `${path}/${object}`, timeout: TIMEOUT_MS } as const;
      return (await client.ask(request, signal)) as KubeObject;
    } catch (error) {
      if (statusOf(error) === 404) return undefined;
      throw error;
    }
  }

  /** Waits until it is another one than `known`, for some seconds at most. */
  async #next(
    kind: Kind,
    name: string,
    known: unknown,
    seconds: number,
    signal: AbortSignal,
  ): Promise<KubeObject | undefined> {
    const { client, path, object } = await this.#place(kind, name);
    const isOther = (now: unknown) => (now as KubeObject | undefined)?.metadata?.resourceVersion !== known;
    await client.watch(path, object, seconds, isOther, signal);
    // What a watch tells may be older than what is known, and what was deleted before it began it does not tell.
    return this.#get(kind, name, signal);
  }

  /** @returns the object as it is now; undefined if it is another one than `known` by now */
  async #put(
    kind: Kind,
    name: string,
    content: object,
    known: unknown,
    signal: AbortSignal,
  ): Promise<KubeObject | undefined> {
    const { client, path, object } = await this.#place(kind, name);
    try {
      if (known !== undefined) {
        const body = { metadata: { resourceVersion: known }, ...content };
        const request = { method: 'PATCH', path: `${path}/${object}`, body, timeout: TIMEOUT_MS } as const;
        return (await client.ask(request, signal)) as KubeObject;
      }
      const { apiVersion, kind: named } = kind;
      const metadata = { name: object, labels: { 'app.kubernetes.io/managed-by': 'pontoon' } };
      const body = { apiVersion, kind: named, metadata, ...content };
      return (await client.ask({ method: 'POST', path, body, timeout: TIMEOUT_MS }, signal)) as KubeObject;
    } catch (error) {
      const status = statusOf(error);
      // Of a namespace that is not there, the next look tells nothing: so it is said here.
      if (status === 409 || (status === 404 && known !== undefined)) return undefined;
      throw error;
    }
  }

  async #place({ root, plural }: Kind, name: string) {
    this.#client ??= await KubeClient.load(this.#options.kubeconfig);
    const namespace = this.#options.namespace ?? this.#client.namespace;
    const path = `${root}/namespaces/${encodeURIComponent(namespace)}/${plural}`;
    return { client: this.#client, path, object: `${this.#options.name}-${name}` };
  }
}

function versionOf(object: KubeObject | undefined): Version {
  return { text: (object as ConfigMap | undefined)?.data?.[KEY], mark: object?.metadata?.resourceVersion };
}

function leaseOf(object: KubeObject | undefined): LeaseVersion {
  const spec = (object as KubeLease | undefined)?.spec;
  const mark = object?.metadata?.resourceVersion;
  if (spec === undefined) return { lease: undefined, mark };
  const lease = {
    holder: spec.holderIdentity ?? '',
    duration: (spec.leaseDurationSeconds ?? 0) * 1_000 || LEASE_MS,
    acquiredAt: Date.parse(spec.acquireTime ?? '') || 0,
    renewedAt: Date.parse(spec.renewTime ?? '') || 0,
    transitions: spec.leaseTransitions ?? 0,
  };
  return { lease, mark };
}

function specOf({ holder, duration, acquiredAt, renewedAt, transitions }: Lease): NonNullable<KubeLease['spec']> {
  return {
    // An empty one is refused; null takes it away.
    holderIdentity: holder === '' ? null : holder,
    leaseDurationSeconds: Math.ceil(duration / 1_000),
    acquireTime: microTime(acquiredAt),
    renewTime: microTime(renewedAt),
    leaseTransitions: transitions,
  };
}

/** Kubernetes' MicroTime has six digits, no less. */
function microTime(ms: number): string {
  return new Date(ms).toISOString().replace('Z', '000Z');
}

function statusOf(error: unknown): number | undefined {
  return error instanceof KubeError ? error.status : undefined;
}
