import { readFileSync } from 'node:fs';
import { Agent, request } from 'undici';

/** Where objects of a kind are: the path of the collection up to the namespace, and whether they are in one. */
const kinds = {
  Namespace: '/api/v1/namespaces',
  Node: '/api/v1/nodes',
  Service: '/api/v1/namespaces/NAMESPACE/services',
  Pod: '/api/v1/namespaces/NAMESPACE/pods',
  EndpointSlice: '/apis/discovery.k8s.io/v1/namespaces/NAMESPACE/endpointslices',
  PeerAuthentication: '/apis/security.istio.io/v1/namespaces/NAMESPACE/peerauthentications',
} as const;

export type WrittenKind = keyof typeof kinds;

interface Kubeconfig {
  readonly clusters: readonly [
    { readonly cluster: { readonly server: string; readonly 'certificate-authority': string } },
  ];
  readonly users: readonly [{ readonly user: { readonly token: string } }];
}

/** Writes objects as controllers and people do, by server-side apply: what is there already is changed. */
export class KubeWriter {
  readonly #server: string;
  readonly #token: string;
  readonly #agent: Agent;

  /** @param kubeconfig the file */
  constructor(kubeconfig: string) {
    const { clusters, users } = JSON.parse(readFileSync(kubeconfig, 'utf8')) as Kubeconfig;
    const [{ cluster }] = clusters;
    this.#server = cluster.server;
    this.#token = users[0].user.token;
    this.#agent = new Agent({ connect: { ca: readFileSync(cluster['certificate-authority']) }, connections: 8 });
  }

  async namespace(name: string, labels: Readonly<Record<string, string>> = {}): Promise<void> {
    await this.apply('Namespace', '', name, { metadata: { labels } });
  }

  /** @param part `status`, for what only a status says */
  async apply(kind: WrittenKind, namespace: string, name: string, object: object, part?: 'status'): Promise<void> {
    const apiVersion = /^\/apis?\/(.*?)\/(namespaces|nodes)/.exec(kinds[kind])?.[1];
    const { metadata = {}, ...rest } = object as { metadata?: object };
    const body = { apiVersion, kind, metadata: { ...metadata, name }, ...rest };
    const path = `${this.#path(kind, namespace, name)}${part === undefined ? '' : `/${part}`}`;
    await this.#send('PATCH', `${path}?fieldManager=${part ?? 'test'}&force=true`, body);
  }

  async delete(kind: WrittenKind, namespace: string, name: string): Promise<void> {
    await this.#send('DELETE', `${this.#path(kind, namespace, name)}?gracePeriodSeconds=0`);
  }

  /** A pod that runs at an address. */
  async pod(
    namespace: string,
    name: string,
    ip: string,
    more: { metadata?: object; spec?: object } = {},
  ): Promise<void> {
    await this.apply('Pod', namespace, name, {
      metadata: more.metadata ?? {},
      spec: { containers: [{ name: 'app', image: 'app' }], ...more.spec },
    });
    await this.running(namespace, name, ip);
  }

  /** The status of a pod that runs at an address, as its kubelet writes it. */
  async running(namespace: string, name: string, ip: string, more: object = {}): Promise<void> {
    const status = { phase: 'Running', podIP: ip, podIPs: [{ ip }], ...more };
    await this.apply('Pod', namespace, name, { status }, 'status');
  }

  /** Gives each line of a watch, until it is ended. @returns how to end it */
  async watch(path: string, heard: (event: unknown) => void): Promise<() => void> {
    const { body } = await request(`${this.#server}${path}`, {
      dispatcher: this.#agent,
      headers: { authorization: `Bearer ${this.#token}` },
      bodyTimeout: 0,
    });
    let rest = '';
    body.on('data', (chunk: Buffer) => {
      const lines = (rest + chunk.toString()).split('\n');
      rest = lines.pop() ?? '';
      for (const line of lines) heard(JSON.parse(line));
    });
    body.on('error', () => undefined);
    return () => void body.destroy();
  }

  async close(): Promise<void> {
    await this.#agent.destroy();
  }

  #path(kind: WrittenKind, namespace: string, name: string): string {
    return `${kinds[kind].replace('NAMESPACE', namespace)}/${name}`;
  }

  async #send(method: 'PATCH' | 'DELETE', path: string, body?: object): Promise<void> {
    const answer = await request(`${this.#server}${path}`, {
      method,
      dispatcher: this.#agent,
      headers: { authorization: `Bearer ${this.#token}`, 'content-type': 'application/apply-patch+yaml' },
      // JSON is YAML.
      ...(body === undefined ? {} : { body: JSON.stringify(body) }),
      headersTimeout: 20_000,
    });
    const text = await answer.body.text();
    if (answer.statusCode >= 300) throw new Error(`${method} ${path} answered ${answer.statusCode}: ${text}`);
  }
}
