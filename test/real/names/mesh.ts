import { rmSync } from 'node:fs';
import { pino } from 'pino';
import { Catalog } from '#catalog/catalog.js';
import type { RegistryView } from '#catalog/view.js';
import { parseRanges, VipAllocator } from '#catalog/vip.js';
import { Names } from '#dns/names.js';
import { Projection } from '#istio/projection.js';
import type { InstancePort } from '#model/service.js';
import { RegistryPolicy } from '#policy/contribution.js';
import type { ResourceFilter } from '#sinks/contract.js';
import { FilesSink } from '#sinks/files/sink.js';
import { cause } from '#sources/contract.js';
import { serverFolder } from '#test/servers/process.js';
import { instance, service } from '#test/unit/builders.js';

const kinds = {
  plain: { host: '{{ service.name }}', nominalWeight: 1, protocol: 'http' },
  dubbo: { host: '{{ service.name }}.dubbo', nominalWeight: 100, protocol: 'dubbo' },
} as const;

/** A directory that goes with this process. */
export function temporaryDirectory(): string {
  return serverFolder('names');
}

/** Catalog, projection and files sink over a directory, with one registry that the test fills. */
export class Mesh {
  readonly catalog: Catalog;
  readonly view: RegistryView;
  readonly projection: Projection;
  readonly names: Names;
  readonly sink: FilesSink;
  /** Whether every registry has been read. */
  isComplete = true;

  constructor(
    readonly directory: string,
    takes: ResourceFilter = () => true,
    ranges: readonly string[] = ['241.0.0.0/8'],
  ) {
    this.catalog = new Catalog({ namespace: 'shop', exportTo: ['*'], grace: 0 }, new VipAllocator(parseRanges(ranges)));
    this.view = this.catalog.add(new RegistryPolicy({ name: 'r', type: 'test', kinds }));
    this.projection = new Projection(this.catalog);
    const zones = ['eureka', 'dubbo'];
    this.names = new Names(this.projection, this.catalog, { ttl: 30_000, zones, takes });
    const log = pino({ level: 'silent' });
    const isComplete = () => this.isComplete;
    this.sink = new FilesSink(this.projection, { directory, takes, isComplete, names: this.names, log });
  }

  /** Puts a service with these instances (`address:port`) in place. */
  set(name: string, places: readonly string[], ports?: readonly InstancePort[], kind = 'plain'): void {
    const instances = places.map((place) => {
      const [address = '', port] = place.split(':');
      return instance(address, Number(port), ports === undefined ? {} : { ports });
    });
    this.view.update([service(name, instances, { kind })], [], cause('test'));
  }

  remove(name: string): void {
    this.view.update([], [service(name, []).key], cause('test'));
  }

  vips(host: string): readonly string[] {
    return this.catalog.services.get(host)?.vips ?? [];
  }

  async close(): Promise<void> {
    await this.sink.close();
    this.catalog.close();
    rmSync(this.directory, { recursive: true, force: true });
  }
}
