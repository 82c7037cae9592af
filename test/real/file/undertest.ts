import { type FSWatcher, readFileSync, watch } from 'node:fs';
import type { RegistryUnderTest, TestInstance } from '#test/real/contract/registry.js';
import { TestFolder } from './folder.js';

/** A folder with a file for each service, for the contract suite. */
export class FilesUnderTest implements RegistryUnderTest {
  readonly title = 'a folder of files';
  readonly type = 'file';
  readonly needs = [];
  readonly idleRequestsPerMinute = 0;
  readonly #folder = new TestFolder();
  readonly #services = new Map<string, Map<string, TestInstance>>();

  async start(): Promise<void> {
    this.#folder.write('none.yaml', 'services: []');
  }

  async stop(): Promise<void> {}

  keys() {
    return { path: this.#folder.path };
  }

  async register(service: string, instance: TestInstance): Promise<void> {
    const instances = this.#services.get(service) ?? new Map<string, TestInstance>();
    this.#services.set(service, instances.set(placeOf(instance), instance));
    this.#write(service, [...instances.values()]);
  }

  async deregister(service: string, instance: TestInstance): Promise<void> {
    const instances = this.#services.get(service);
    instances?.delete(placeOf(instance));
    this.#write(service, [...(instances?.values() ?? [])]);
  }

  async registerMany(services: readonly string[], instance: TestInstance): Promise<void> {
    this.#folder.replace('many.json', textOf(services, [instance]));
  }

  async malform(service: string): Promise<void> {
    await this.register(service, { address: '10.1.2.99', port: 70_000, metadata: {} });
  }

  async repeat(service: string, instances: readonly TestInstance[]): Promise<void> {
    this.#write(service, [...instances].reverse());
  }

  /** A file that cannot be read, as it is malformed, is the like of a server whose credentials are wrong. */
  async guarded() {
    const folder = new TestFolder();
    const secret = 'what-nobody-may-read';
    folder.write('wrong.yaml', `services: [{ name: "${secret}" instances: [] }]`);
    folder.write('right.yaml', textOf(['guarded'], []));
    const keys = (name: string) => ({ path: folder.file(name) });
    return { right: keys('right.yaml'), wrong: keys('wrong.yaml'), secret, stop: async () => undefined };
  }

  async watch(service: string, seen: (mark: string | undefined) => void) {
    const name = `${service}.json`;
    const look = (): void => {
      const { services } = JSON.parse(readFileSync(this.#folder.file(name), 'utf8')) as {
        services: { instances: TestInstance[] }[];
      };
      seen(services[0]?.instances[0]?.metadata.mark);
    };
    const watcher: FSWatcher = watch(this.#folder.path, (_, changed) => {
      if (changed === name) look();
    });
    look();
    return () => watcher.close();
  }

  #write(service: string, instances: readonly TestInstance[]): void {
    this.#folder.replace(`${service}.json`, textOf([service], instances));
  }
}

const placeOf = ({ address, port }: TestInstance) => `${address}:${port}`;

function textOf(services: readonly string[], instances: readonly TestInstance[]): string {
  return JSON.stringify({ services: services.map((name) => ({ name, instances })) });
}
