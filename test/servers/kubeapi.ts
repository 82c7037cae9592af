import { execFileSync } from 'node:child_process';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { Agent, request } from 'undici';
import { parseAllDocuments } from 'yaml';
import { installed } from '#test/servers/cache.js';
import { freePort } from '#test/servers/ports.js';
import { httpOk, until } from '#test/servers/probes.js';
import { Server, serverFolder, subfolder } from '#test/servers/process.js';

/** What a client says in the API server's words: who it is, and the token that proves it. */
export interface KubeUser {
  readonly name: string;
  readonly token: string;
}

/** May do everything. */
const ADMIN: KubeUser = { name: 'admin', token: 'the-token-of-the-admin' };

/** Options of {@link startKubeApi}. */
export interface KubeApiOptions {
  /** Further users. With them, only the admin may do what no role allows (RBAC); without, everybody may do everything. */
  readonly users?: readonly KubeUser[];
}

/** An etcd 3.4 on loopback; its data survives a restart. */
export class Etcd extends Server {
  readonly url: string;

  constructor(client: number, peer: number) {
    const folder = serverFolder('etcd');
    const url = `http://127.0.0.1:${client}`;
    const peerUrl = `http://127.0.0.1:${peer}`;
    super({
      name: 'etcd',
      command: join(installed('etcd'), 'etcd'),
      args: [
        ...['--data-dir', subfolder(folder, 'data'), '--unsafe-no-fsync'],
        ...['--listen-client-urls', url, '--advertise-client-urls', url],
        ...['--listen-peer-urls', peerUrl, '--initial-advertise-peer-urls', peerUrl],
        ...['--initial-cluster', `default=${peerUrl}`],
      ],
      folder,
      ready: () => httpOk(`${url}/health`),
    });
    this.url = url;
  }
}

/** A kube-apiserver 1.36 on loopback, with an etcd of its own. There are no controllers, and no nodes. */
export class KubeApi extends Server {
  readonly etcd: Etcd;
  readonly port: number;

  constructor(port: number, etcd: Etcd, { users = [] }: KubeApiOptions) {
    const folder = serverFolder('kube-apiserver');
    const file = (name: string) => join(folder, name);
    execFileSync('openssl', ['genrsa', '-out', file('accounts.key'), '2048'], { stdio: 'pipe' });
    const lines = [
      `${ADMIN.token},${ADMIN.name},${ADMIN.name},system:masters`,
      ...users.map(({ name, token }) => `${token},${name},${name}`),
    ];
    writeFileSync(file('tokens.csv'), `${lines.join('\n')}\n`);
    const flags = {
      'etcd-servers': etcd.url,
      'bind-address': '127.0.0.1',
      'advertise-address': '127.0.0.1',
      'secure-port': port,
      'cert-dir': subfolder(folder, 'certificates'),
      'service-cluster-ip-range': '10.96.0.0/16',
      'service-account-issuer': 'https://kubernetes.default.svc',
      'service-account-key-file': file('accounts.key'),
      'service-account-signing-key-file': file('accounts.key'),
      'token-auth-file': file('tokens.csv'),
      'authorization-mode': users.length === 0 ? 'AlwaysAllow' : 'RBAC',
      'disable-admission-plugins': 'ServiceAccount',
      'endpoint-reconciler-type': 'none',
      'enable-priority-and-fairness': false,
      v: 0,
    };
    super({
      name: 'kube-apiserver',
      command: join(installed('kube-apiserver'), 'kube-apiserver'),
      args: Object.entries(flags).map(([flag, value]) => `--${flag}=${value}`),
      folder,
      ready: async () => (await this.#ask('GET', '/readyz')).ok,
    });
    this.etcd = etcd;
    this.port = port;
  }

  /**
   * A kubeconfig file for a user, the admin unless given.
   * @param port where the client is to connect, if not to the server itself
   */
  kubeconfig({ name, token }: KubeUser = ADMIN, port = this.port): string {
    const path = join(this.folder, `kubeconfig-${name}-${port}.json`);
    // JSON is YAML, too.
    const config = {
      apiVersion: 'v1',
      kind: 'Config',
      clusters: [
        { name: 'test', cluster: { server: `https://127.0.0.1:${port}`, 'certificate-authority': this.#certificate } },
      ],
      users: [{ name, user: { token } }],
      contexts: [{ name: 'test', context: { cluster: 'test', user: name, namespace: 'default' } }],
      'current-context': 'test',
    };
    writeFileSync(path, JSON.stringify(config));
    return path;
  }

  /**
   * Creates an object, such as a Role, as the admin does.
   * @param path of the collection: `/apis/rbac.authorization.k8s.io/v1/namespaces/default/roles`
   * @returns the object as the server has made it
   * @throws Error with the server's answer if it refuses
   */
  async create(path: string, object: object): Promise<unknown> {
    const answer = await this.#ask('POST', path, object);
    if (!answer.ok) throw new Error(`POST ${path}: ${answer.text}`);
    return JSON.parse(answer.text);
  }

  /** Makes the kinds of Istio that end in a text known, as the CRDs of its release do. */
  async installIstio(kinds = ''): Promise<void> {
    const text = readFileSync(join(installed('istio-crds'), 'crds.yaml'), 'utf8');
    for (const document of parseAllDocuments(text)) {
      const crd = document.toJS() as {
        spec: { group: string; versions: { name: string }[]; names: { kind: string; plural: string } };
      };
      const { group, names } = crd.spec;
      if (!names.kind.endsWith(kinds)) continue;
      await this.create('/apis/apiextensions.k8s.io/v1/customresourcedefinitions', crd);
      const path = `/apis/${group}/${crd.spec.versions[0]?.name}/${names.plural}`;
      await until(`${names.kind} served`, async () => (await this.#ask('GET', path)).ok);
    }
  }

  /** The token of a service account, as its pods get it; good for an hour. @param audience the API server itself unless given */
  async accountToken(namespace: string, account: string, audience?: string): Promise<string> {
    const path = `/api/v1/namespaces/${namespace}/serviceaccounts/${account}/token`;
    const made = (await this.create(path, {
      spec: { expirationSeconds: 3_600, ...(audience === undefined ? {} : { audiences: [audience] }) },
    })) as { status: { token: string } };
    return made.status.token;
  }

  /**
   * Asks as the admin does.
   * @param type of the body; JSON unless given
   * @returns status and object of the answer
   */
  async ask(method: string, path: string, body?: object, type?: string): Promise<{ status: number; object: unknown }> {
    const { status, text } = await this.#ask(method, path, body, type);
    return { status, object: JSON.parse(text) };
  }

  override async stop(graceMs?: number): Promise<void> {
    await super.stop(graceMs);
    await this.etcd.stop();
  }

  override async start(): Promise<this> {
    if (!this.etcd.running) await this.etcd.start();
    return super.start();
  }

  /** The server's own, made at its first start, and the authority that it made for it. */
  get #certificate(): string {
    return join(this.folder, 'certificates', 'apiserver.crt');
  }

  async #ask(
    method: string,
    path: string,
    body?: object,
    type = 'application/json',
  ): Promise<{ ok: boolean; status: number; text: string }> {
    const agent = new Agent({ connect: { ca: readFileSync(this.#certificate) } });
    try {
      const answer = await request(`https://127.0.0.1:${this.port}${path}`, {
        method: method as 'GET',
        dispatcher: agent,
        headers: { authorization: `Bearer ${ADMIN.token}`, 'content-type': type },
        ...(body === undefined ? {} : { body: JSON.stringify(body) }),
        headersTimeout: 10_000,
      });
      return { ok: answer.statusCode < 300, status: answer.statusCode, text: await answer.body.text() };
    } finally {
      await agent.close();
    }
  }
}

/** Starts an etcd and a kube-apiserver and waits until both answer. */
export async function startKubeApi(options: KubeApiOptions = {}): Promise<KubeApi> {
  const etcd = new Etcd(await freePort(), await freePort());
  return new KubeApi(await freePort(), etcd, options).start();
}
