import type { Collection } from '#kubernetes/collection.js';
import { type KubeClient, KubeError } from '#kubernetes/kubeclient.js';
import { type Manifest, type ManifestOptions, type Seen, seen } from './manifest.js';

const GROUP = 'networking.istio.io';
/** What Istio has served, the newest first; the content is the same. */
const VERSIONS = ['v1', 'v1beta1', 'v1alpha3'];
/** ms for an answer. */
const TIMEOUT_MS = 15_000;

/** ServiceEntry objects in a cluster. */
export class ServiceEntryObjects {
  readonly client: KubeClient;
  /** `networking.istio.io/v1` */
  readonly apiVersion: string;
  readonly #options: ManifestOptions;

  private constructor(client: KubeClient, apiVersion: string, options: ManifestOptions) {
    this.client = client;
    this.apiVersion = apiVersion;
    this.#options = options;
  }

  /** @throws KubeError, also if the cluster has no Istio */
  static async open(client: KubeClient, options: ManifestOptions, signal: AbortSignal): Promise<ServiceEntryObjects> {
    const request = { method: 'GET', path: `/apis/${GROUP}`, timeout: TIMEOUT_MS } as const;
    const group = (await client.ask(request, signal).catch((error: unknown) => {
      if (!(error instanceof KubeError) || error.status !== 404) throw error;
      throw new KubeError("the cluster does not know Istio's resources: install its CRDs (the chart istio/base)", 404);
    })) as { readonly versions?: readonly { readonly version: string }[] };
    const served = group.versions?.map(({ version }) => version) ?? [];
    for (const version of VERSIONS.filter((one) => served.includes(one))) {
      const objects = new ServiceEntryObjects(client, `${GROUP}/${version}`, options);
      // A version that is served no more is still named for a while.
      if (await objects.#isServed(signal)) return objects;
    }
    throw new KubeError(`${GROUP} is served as ${served.join(', ')}; expected one of ${VERSIONS.join(', ')}`);
  }

  /** All of them, in every namespace: those of others are there to be told from ours. */
  get collection(): Collection {
    return { path: `/apis/${this.apiVersion}/serviceentries` };
  }

  /**
   * Writes an object as ours; nothing that another field manager holds.
   * @param known what is there: if that has been deleted or replaced meanwhile, nothing is written
   * @returns what it is now
   * @throws KubeError
   */
  async apply(
    { namespace, name, body }: Pick<Manifest, 'namespace' | 'name' | 'body'>,
    known: Seen | undefined,
    signal: AbortSignal,
  ): Promise<Seen> {
    const { fieldManager } = this.#options;
    const { metadata, ...rest } = body as { readonly metadata: object };
    const answer = await this.client.ask(
      {
        method: 'PATCH',
        apply: true,
        path: this.#path(namespace, name),
        query: { fieldManager },
        body: { apiVersion: this.apiVersion, ...rest, metadata: { ...metadata, uid: known?.uid } },
        timeout: TIMEOUT_MS,
      },
      signal,
    );
    return seen(answer as object, this.#options);
  }

  /** Gives an object of ours its hosts back, whoever changed them: without them it is about something else. @throws KubeError */
  async restoreHosts({ namespace, name, hosts }: Manifest, { uid }: Seen, signal: AbortSignal): Promise<void> {
    const { fieldManager } = this.#options;
    const body = { metadata: { uid }, spec: { hosts } };
    const path = this.#path(namespace, name);
    await this.client.ask({ method: 'PATCH', path, query: { fieldManager }, body, timeout: TIMEOUT_MS }, signal);
  }

  /** Deletes an object if it is still what it was when it was seen. @throws KubeError */
  async delete({ id, uid, resourceVersion }: Seen, signal: AbortSignal): Promise<void> {
    const [namespace = '', name = ''] = id.split('/');
    const body = { apiVersion: 'v1', kind: 'DeleteOptions', preconditions: { uid, resourceVersion } };
    const request = { method: 'DELETE', path: this.#path(namespace, name), body, timeout: TIMEOUT_MS } as const;
    await this.client.ask(request, signal).catch((error: unknown) => {
      if (!(error instanceof KubeError) || error.status !== 404) throw error;
    });
  }

  async #isServed(signal: AbortSignal): Promise<boolean> {
    const { path } = this.collection;
    try {
      await this.client.ask({ method: 'GET', path, query: { limit: '1' }, timeout: TIMEOUT_MS }, signal);
      return true;
    } catch (error) {
      if (error instanceof KubeError && error.status === 404) return false;
      throw error;
    }
  }

  #path(namespace: string, name: string): string {
    return `/apis/${this.apiVersion}/namespaces/${encodeURIComponent(namespace)}/serviceentries/${encodeURIComponent(name)}`;
  }
}
