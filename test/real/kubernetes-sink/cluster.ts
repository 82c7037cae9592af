import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { parseAllDocuments } from 'yaml';
import { installed } from '#test/servers/cache.js';
import { type KubeApi, type KubeUser, startKubeApi } from '#test/servers/kubeapi.js';
import { until } from '#test/servers/probes.js';

const manifest = new URL('../../../../deploy/rbac.yaml', import.meta.url);
const rbac = '/apis/rbac.authorization.k8s.io/v1';
const collections: Readonly<Record<string, string>> = {
  ServiceAccount: '/api/v1/namespaces/pontoon/serviceaccounts',
  Role: `${rbac}/namespaces/pontoon/roles`,
  RoleBinding: `${rbac}/namespaces/pontoon/rolebindings`,
  ClusterRole: `${rbac}/clusterroles`,
  ClusterRoleBinding: `${rbac}/clusterrolebindings`,
};

/** A ServiceEntry in the cluster. */
export interface Entry {
  readonly metadata: {
    readonly name: string;
    readonly namespace: string;
    readonly uid: string;
    readonly resourceVersion: string;
    readonly labels?: Readonly<Record<string, string>>;
    readonly annotations?: Readonly<Record<string, string>>;
    readonly managedFields?: readonly { readonly manager: string; readonly operation: string }[];
  };
  readonly spec: {
    readonly hosts: readonly string[];
    readonly addresses?: readonly string[];
    readonly endpoints?: readonly { readonly address: string }[];
  };
  readonly status?: object;
}

/** A Kubernetes with Istio's CRDs, and an account in it that may do what the manifest grants. */
export class Cluster {
  readonly api: KubeApi;
  #account: KubeUser = { name: '', token: '' };

  private constructor(api: KubeApi) {
    this.api = api;
  }

  static async start(...namespaces: readonly string[]): Promise<Cluster> {
    const api = await startKubeApi({ users: [{ name: 'nobody', token: 'the-token-of-nobody' }] });
    const cluster = new Cluster(api);
    const crds = parseAllDocuments(readFileSync(join(installed('istio-crds'), 'crds.yaml'), 'utf8'));
    for (const crd of crds)
      await api.create('/apis/apiextensions.k8s.io/v1/customresourcedefinitions', crd.toJS() as object);
    for (const name of ['pontoon', ...namespaces]) await api.create('/api/v1/namespaces', { metadata: { name } });
    for (const document of parseAllDocuments(readFileSync(manifest, 'utf8'))) {
      const object = document.toJS() as { kind: string };
      await api.create(collections[object.kind] ?? '', object);
    }
    cluster.#account = { name: 'pontoon', token: await api.accountToken('pontoon', 'pontoon') };
    await until('ServiceEntries served', async () => (await api.ask('GET', path())).status === 200);
    return cluster;
  }

  /** A kubeconfig of Pontoon's account. */
  kubeconfig(port?: number): string {
    return this.api.kubeconfig(this.#account, port);
  }

  /** All, by `namespace/name`. */
  async entries(): Promise<Map<string, Entry>> {
    const { object } = await this.api.ask('GET', path());
    const { items } = object as { readonly items: readonly Entry[] };
    return new Map(items.map((entry) => [`${entry.metadata.namespace}/${entry.metadata.name}`, entry]));
  }

  /** Of all objects: another text when any of them was written. */
  async versions(): Promise<string> {
    const entries = [...(await this.entries())].map(([id, { metadata }]) => `${id} ${metadata.resourceVersion}`);
    return entries.sort().join('\n');
  }

  /** Waits until an object has these endpoints' addresses; undefined until there is none. */
  async has(id: string, addresses: readonly string[] | undefined): Promise<Entry | undefined> {
    let entry: Entry | undefined;
    const wanted = addresses && [...addresses].sort().join();
    await until(`${id} to have [${wanted ?? 'nothing'}]`, async () => {
      entry = (await this.entries()).get(id);
      const endpoints = entry && (entry.spec.endpoints ?? []).map(({ address }) => address);
      return endpoints?.sort().join() === wanted;
    });
    return entry;
  }

  /** Applies as another field manager, and by force. */
  async applyAs(manager: string, id: string, object: { metadata?: object; spec: object }): Promise<void> {
    const [namespace = '', name = ''] = id.split('/');
    const body = {
      apiVersion: 'networking.istio.io/v1',
      kind: 'ServiceEntry',
      ...object,
      metadata: { ...object.metadata, name },
    };
    const query = `?fieldManager=${manager}&force=true`;
    const { status, object: answer } = await this.api.ask(
      'PATCH',
      `${path(namespace)}/${name}${query}`,
      body,
      'application/apply-patch+yaml',
    );
    if (status >= 300) throw new Error(`apply of ${id}: ${JSON.stringify(answer)}`);
  }

  /** Has a version of ServiceEntries served, or no longer, as an upgrade of Istio's CRDs does. Returns when it is so. */
  async serve(version: string, served: boolean): Promise<void> {
    const crd = '/apis/apiextensions.k8s.io/v1/customresourcedefinitions/serviceentries.networking.istio.io';
    const { object } = await this.api.ask('GET', crd);
    const { versions } = (object as { readonly spec: { readonly versions: readonly { readonly name: string }[] } })
      .spec;
    const next = versions.map((one) => (one.name === version ? { ...one, served } : one));
    const { status } = await this.api.ask('PATCH', crd, { spec: { versions: next } }, 'application/merge-patch+json');
    if (status >= 300) throw new Error(`the CRD could not be changed: ${status}`);
    const collection = `/apis/networking.istio.io/${version}/serviceentries`;
    // A group that is not served is answered with a page.
    const isServed = () =>
      this.api.ask('GET', collection).then(
        ({ status }) => status === 200,
        () => false,
      );
    await until(`${version} ${served ? '' : 'no longer '}served`, async () => (await isServed()) === served);
  }

  async delete(id: string): Promise<void> {
    const [namespace = '', name = ''] = id.split('/');
    await this.api.ask('DELETE', `${path(namespace)}/${name}`);
  }
}

function path(namespace?: string): string {
  const root = '/apis/networking.istio.io/v1';
  return namespace === undefined ? `${root}/serviceentries` : `${root}/namespaces/${namespace}/serviceentries`;
}
