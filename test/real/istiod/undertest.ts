import { Sidecar } from '#test/e2e/sidecar.js';
import type { RegistryUnderTest, TestInstance } from '#test/real/contract/registry.js';
import { type Istiod, startIstiod } from '#test/servers/istiod.js';
import { type EntryEndpoint, EntryFolder } from './folder.js';
import { startSecuredIstiod } from './secured.js';

/** Of an endpoint's labels istiod tells proxies those only that telemetry needs: this one as the version. */
const told = 'service.istio.io/canonical-revision';

/** A real istiod with ServiceEntries in a folder, for the contract suite. */
export class IstiodUnderTest implements RegistryUnderTest {
  readonly title = 'istiod 1.31';
  readonly type = 'istiod';
  readonly needs = ['istiod', 'etcd', 'kube-apiserver'];
  readonly idleRequestsPerMinute = 130;
  readonly #folder = new EntryFolder();
  readonly #services = new Map<string, Map<string, EntryEndpoint>>();
  #istiod: Istiod | undefined;

  async start(): Promise<void> {
    this.#folder.write('none', {});
    this.#istiod = await startIstiod({ configSources: [this.#folder.configSource] });
  }

  async stop(): Promise<void> {
    await this.#istiod?.stop();
  }

  server() {
    return { process: this.#server, port: Number(this.#server.xdsAddress.split(':')[1]) };
  }

  keys(port: number) {
    // A host of its own: under its own nothing would be sent to Istio.
    return { servers: [`127.0.0.1:${port}`], heartbeat: '1s', host: '{{ service.name }}.istiod' };
  }

  shown(): string {
    return 'version';
  }

  async register(service: string, instance: TestInstance): Promise<void> {
    const endpoints = this.#services.get(service) ?? new Map<string, EntryEndpoint>();
    this.#services.set(service, endpoints.set(placeOf(instance), endpointOf(instance)));
    this.#write(service);
  }

  async deregister(service: string, instance: TestInstance): Promise<void> {
    this.#services.get(service)?.delete(placeOf(instance));
    this.#write(service);
  }

  async registerMany(services: readonly string[], instance: TestInstance): Promise<void> {
    const entry = { endpoints: [endpointOf(instance)] };
    this.#folder.write('many', Object.fromEntries(services.map((service) => [service, entry])));
  }

  /** A proxy on the same machine could dial a socket's path. */
  async malform(service: string): Promise<void> {
    const path = 'unix:///run/app.sock';
    const endpoints = this.#services.get(service) ?? new Map<string, EntryEndpoint>();
    this.#services.set(service, endpoints.set(path, { address: path }));
    this.#write(service);
  }

  async repeat(service: string): Promise<void> {
    const endpoints = [...(this.#services.get(service)?.values() ?? [])].reverse();
    this.#folder.write(service, { [service]: { endpoints, annotations: { touched: String(Date.now()) } } });
  }

  async guarded() {
    const secured = await startSecuredIstiod();
    const secret = 'the-token-of-nobody';
    const keys = { servers: [secured.istiod.secureAddress], tls: { ca: secured.ca }, heartbeat: '1s' };
    return {
      right: { ...keys, token: await secured.token() },
      wrong: { ...keys, token: secret },
      secret,
      stop: () => secured.stop(),
    };
  }

  /** As a sidecar sees it. */
  async watch(service: string, seen: (mark: string | undefined) => void) {
    const sidecar = new Sidecar(this.#server.xdsAddress);
    sidecar.changed = () => seen(sidecar.versions(service, 80)?.[0]);
    return () => sidecar.close();
  }

  #write(service: string): void {
    const endpoints = [...(this.#services.get(service)?.values() ?? [])];
    this.#folder.write(service, { [service]: { endpoints } });
  }

  get #server(): Istiod {
    if (this.#istiod === undefined) throw new Error('not started');
    return this.#istiod;
  }
}

const placeOf = ({ address, port }: TestInstance) => `${address}:${port}`;

function endpointOf({ address, port, metadata }: TestInstance): EntryEndpoint {
  const [revision = ''] = Object.values(metadata);
  return { address, ports: { http: port }, labels: { [told]: revision } };
}
