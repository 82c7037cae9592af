import pLimit from 'p-limit';
import type { RegistryUnderTest, TestInstance } from '#test/real/contract/registry.js';
import { NacosUnderTest } from '#test/real/nacos/undertest.js';
import type { NacosVersion } from '#test/servers/nacos.js';

/** How Dubbo registers a provider in Nacos: for an interface, or for its application, whose metadata is in the config centre. */
export type DubboLayout = 'interface' | 'application';

/** Dubbo's providers, written as Dubbo writes them, in a real Nacos that is read over gRPC. A service of the suite is an interface. */
export class DubboOnNacosUnderTest implements RegistryUnderTest {
  readonly title: string;
  readonly type = 'nacos';
  readonly needs: readonly string[];
  readonly idleRequestsPerMinute = 60;
  readonly #nacos: NacosUnderTest;
  readonly #layout: DubboLayout;
  readonly #published = new Set<string>();

  constructor(version: NacosVersion, layout: DubboLayout) {
    this.title = `Dubbo on Nacos ${version}, ${layout} level`;
    this.#nacos = new NacosUnderTest(version, 'grpc', this.idleRequestsPerMinute);
    this.needs = this.#nacos.needs;
    this.#layout = layout;
  }

  start = () => this.#nacos.start();
  stop = () => this.#nacos.stop();
  server = () => this.#nacos.server();
  keys = (port: number) => this.#nacos.keys(port);
  guarded = () => this.#nacos.guarded();

  async register(service: string, instance: TestInstance): Promise<void> {
    if (this.#layout === 'application') await this.#publish(service);
    await this.#nacos.register(this.#name(service), this.#written(service, instance));
  }

  async deregister(service: string, instance: TestInstance): Promise<void> {
    await this.#nacos.deregister(this.#name(service), instance);
  }

  async registerMany(services: readonly string[], instance: TestInstance): Promise<void> {
    const limit = pLimit(8);
    await Promise.all(services.map((service) => limit(() => this.register(service, instance))));
  }

  malform(service: string): Promise<void> {
    return this.#nacos.malform(this.#name(service));
  }

  async repeat(service: string, instances: readonly TestInstance[]): Promise<void> {
    for (const instance of [...instances].reverse()) await this.register(service, instance);
  }

  watch(service: string, seen: (mark: string | undefined) => void) {
    return this.#nacos.watch(this.#name(service), seen);
  }

  #name(service: string): string {
    return this.#layout === 'interface' ? `providers:${service}::` : `app-${service}`;
  }

  #written(service: string, { address, port, metadata }: TestInstance): TestInstance {
    const written =
      this.#layout === 'interface'
        ? { interface: service, path: service, protocol: 'dubbo', category: 'providers', side: 'provider' }
        : {
            'dubbo.endpoints': JSON.stringify([{ port, protocol: 'dubbo' }]),
            'dubbo.metadata.revision': 'one',
            'dubbo.metadata.storage-type': 'remote',
          };
    return { address, port, metadata: { ...written, ...metadata } };
  }

  async #publish(service: string): Promise<void> {
    const app = `app-${service}`;
    if (this.#published.has(app)) return;
    this.#published.add(app);
    const services = { [`${service}:dubbo`]: { name: service, protocol: 'dubbo', path: service, params: {} } };
    await this.#nacos.governance.publish(app, JSON.stringify({ app, revision: 'one', services }), 'one');
  }
}
