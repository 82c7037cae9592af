import { setTimeout as sleep } from 'node:timers/promises';
import { pino } from 'pino';
import { Catalog } from '#catalog/catalog.js';
import type { RegistryView } from '#catalog/view.js';
import { parseRanges, VipAllocator } from '#catalog/vip.js';
import { configSchema } from '#config/schema.js';
import { Projection } from '#istio/projection.js';
import type { Instance, RegistryService } from '#model/service.js';
import type { SourceStatus } from '#sources/supervisor.js';
import { until } from '#test/servers/probes.js';
import { catalogSettings, Registries } from '../../../src/registries.js';
import type { RegistryKeys } from './registry.js';

/** What Pontoon does between a registry and Istio, without the way there. */
export class Bridge {
  readonly view: RegistryView;
  /** Changes of Istio resources so far. */
  pushes = 0;
  /** Called at each change of the catalog. */
  changed: () => void = () => undefined;
  readonly #catalog: Catalog;
  readonly #registries: Registries;

  constructor(type: string, keys: RegistryKeys, name = 'r') {
    const config = configSchema.parse({ registries: [{ name, type, ...keys }] });
    this.#catalog = new Catalog(catalogSettings(config), new VipAllocator(parseRanges(['240.0.0.0/8'])));
    this.#catalog.on('change', () => this.changed());
    new Projection(this.#catalog).on('change', () => this.pushes++);
    const log = pino({ level: process.env.PONTOON_TEST_LOG ?? 'silent' });
    this.#registries = new Registries(this.#catalog, log);
    void this.#registries.apply(config);
    this.view = this.#catalog.views()[0] as RegistryView;
  }

  get status(): SourceStatus {
    return this.#registries.supervisors()[0]?.status() as SourceStatus;
  }

  /** The service of that name, in whatever case the registry writes it. */
  service(name: string): RegistryService | undefined {
    return [...this.view.services.values()].find(({ key }) => key.name.toLowerCase() === name);
  }

  instances(name: string): readonly Instance[] {
    return this.service(name)?.instances ?? [];
  }

  /** `address:port` of its instances, in order. */
  addresses(name: string): string[] {
    return this.instances(name)
      .map(({ address, ports }) => `${address}:${ports[0]?.number}`)
      .sort();
  }

  /** Waits for something that the source writes. */
  async until(what: string, condition: () => boolean, timeoutMs = 60_000): Promise<void> {
    await until(what, condition, timeoutMs, 10).catch((error: Error) => {
      throw new Error(`${error.message}; state ${JSON.stringify(this.status)}`);
    });
  }

  /** Waits until a service has these instances and no others. */
  async sees(name: string, ...addresses: readonly string[]): Promise<void> {
    const wanted = [...addresses].sort().join(' ');
    await this.until(`${name} to be ${wanted}`, () => this.addresses(name).join(' ') === wanted).catch(
      (error: Error) => {
        throw new Error(`${error.message}; it is ${this.addresses(name).join(' ')}`);
      },
    );
  }

  /** Tries until it works, as the engine does. @throws the last error */
  async succeeds<T>(work: () => Promise<T>, timeoutMs = 30_000): Promise<T> {
    const end = performance.now() + timeoutMs;
    for (;;)
      try {
        return await work();
      } catch (error) {
        if (performance.now() > end) throw error;
        await sleep(200);
      }
  }

  /** Waits until nothing has changed for a while. */
  async quiet(ms: number): Promise<void> {
    let last = -1;
    let since = performance.now();
    await this.until(`no change for ${ms} ms`, () => {
      if (this.pushes !== last) since = performance.now();
      last = this.pushes;
      return performance.now() - since >= ms;
    });
  }

  async stop(): Promise<void> {
    await this.#registries.stop();
    this.#catalog.close();
  }
}
