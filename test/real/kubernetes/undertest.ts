import pLimit from 'p-limit';
import type { RegistryUnderTest, TestInstance } from '#test/real/contract/registry.js';
import { type KubeApi, startKubeApi } from '#test/servers/kubeapi.js';
import { KubeWriter } from '#test/servers/kubewriter.js';

const namespace = 'default';

interface PodEvent {
  readonly object?: { readonly metadata?: { readonly labels?: { readonly mark?: string } } };
}

/** A real API server for the contract suite: what controllers write elsewhere, the suite writes itself. */
export class KubernetesUnderTest implements RegistryUnderTest {
  readonly title = 'Kubernetes 1.36';
  readonly type = 'kubernetes';
  readonly needs = ['etcd', 'kube-apiserver'];
  readonly idleRequestsPerMinute = 150;
  #api: KubeApi | undefined;
  #writer: KubeWriter | undefined;
  /** Instances of each service, by port. */
  readonly #instances = new Map<string, Map<number, TestInstance>>();

  async start(): Promise<void> {
    this.#api = await startKubeApi();
    this.#writer = new KubeWriter(this.#server.kubeconfig());
  }

  async stop(): Promise<void> {
    await this.#writer?.close();
    await this.#api?.stop();
  }

  server() {
    return { process: this.#server, port: this.#server.port };
  }

  keys(port: number) {
    // A host of its own: under Kubernetes' own nothing would be sent to Istio.
    return { kubeconfig: this.#server.kubeconfig(undefined, port), heartbeat: '1s', host: '{{ service.name }}.k8s' };
  }

  async register(service: string, instance: TestInstance): Promise<void> {
    const instances = this.#instances.get(service) ?? new Map<number, TestInstance>();
    const isNew = instances.size === 0;
    this.#instances.set(service, instances.set(instance.port, instance));
    await this.#write.pod(namespace, podName(service, instance), instance.address, {
      metadata: { labels: instance.metadata },
    });
    await this.#writeSlice(service, instance.port);
    // Last, so that it appears at once with its instance.
    if (isNew) await this.#writeService(service);
  }

  async deregister(service: string, instance: TestInstance): Promise<void> {
    this.#instances.get(service)?.delete(instance.port);
    await this.#writeSlice(service, instance.port);
    await this.#write.delete('Pod', namespace, podName(service, instance));
  }

  async registerMany(services: readonly string[], instance: TestInstance): Promise<void> {
    const limit = pLimit(8);
    const write = async (service: string): Promise<void> => {
      this.#instances.set(service, new Map([[instance.port, instance]]));
      await this.#writeService(service);
      await this.#writeSlice(service, instance.port);
    };
    await Promise.all(services.map((service) => limit(() => write(service))));
  }

  async malform(service: string): Promise<void> {
    await this.#write.apply('EndpointSlice', namespace, `${service}-bad`, {
      metadata: { labels: { 'kubernetes.io/service-name': service } },
      addressType: 'FQDN',
      // A DNS name for Kubernetes, and none that can be resolved.
      endpoints: [{ addresses: ['no-name.7'] }],
      ports: [{ name: 'http', port: 80, protocol: 'TCP' }],
    });
  }

  async repeat(service: string, instances: readonly TestInstance[]): Promise<void> {
    for (const instance of [...instances].reverse()) {
      await this.#writeSlice(service, instance.port, { touched: String(Date.now()) });
      // As a kubelet does all the time: a status with nothing new for callers in it.
      const conditions = [{ type: 'Ready', status: 'True', lastProbeTime: new Date().toISOString() }];
      await this.#write.running(namespace, podName(service, instance), instance.address, { conditions });
    }
  }

  async guarded() {
    const secret = 'the-token-of-nobody';
    const keys = (kubeconfig: string) => ({ kubeconfig, heartbeat: '1s' });
    return {
      right: keys(this.#server.kubeconfig()),
      wrong: keys(this.#server.kubeconfig({ name: 'nobody', token: secret })),
      secret,
      stop: async () => undefined,
    };
  }

  async watch(service: string, seen: (mark: string | undefined) => void) {
    const path = `/api/v1/namespaces/${namespace}/pods?watch=1&resourceVersion=0`;
    const prefix = `${service}-`;
    return this.#write.watch(path, (event) => {
      const { metadata } = (event as PodEvent).object ?? {};
      if ((metadata as { name?: string } | undefined)?.name?.startsWith(prefix)) seen(metadata?.labels?.mark);
    });
  }

  async #writeService(service: string): Promise<void> {
    await this.#write.apply('Service', namespace, service, { spec: { ports: [{ name: 'http', port: 80 }] } });
  }

  /** One slice for each port: those of one slice have the same. */
  async #writeSlice(service: string, port: number, annotations = {}): Promise<void> {
    const instance = this.#instances.get(service)?.get(port);
    const targetRef = { kind: 'Pod', namespace, name: instance && podName(service, instance) };
    await this.#write.apply('EndpointSlice', namespace, `${service}-${port}`, {
      metadata: { labels: { 'kubernetes.io/service-name': service }, annotations },
      addressType: 'IPv4',
      endpoints:
        instance === undefined ? [] : [{ addresses: [instance.address], conditions: { ready: true }, targetRef }],
      ports: [{ name: 'http', port, protocol: 'TCP' }],
    });
  }

  get #server(): KubeApi {
    if (this.#api === undefined) throw new Error('not started');
    return this.#api;
  }

  get #write(): KubeWriter {
    if (this.#writer === undefined) throw new Error('not started');
    return this.#writer;
  }
}

function podName(service: string, { port }: TestInstance): string {
  return `${service}-${port}`;
}
