import { setMaxListeners } from 'node:events';
import { pino } from 'pino';
import { z } from 'zod';
import { zookeeper } from '#adapters/zookeeper/index.js';
import type { Instance } from '#model/service.js';
import type { Placed, PublishedInstance, PublishedService, Target, TargetKind, Written } from '#publish/contract.js';
import { marked } from '#publish/mark.js';

const kind = zookeeper.target as TargetKind;

/** An instance that is published, with its mark. */
export function instance(address: string, port: number, more: Partial<PublishedInstance> = {}): PublishedInstance {
  const mark = marked({ owner: 'a', run: '1', publication: 'p', host: 'orders.shop.svc.cluster.local' });
  const metadata = { ...more.metadata, ...mark };
  return { address, port, isUp: true, weight: 100, locality: undefined, ...more, metadata };
}

/** What an engine does: writes services into ZooKeeper, remembers what was placed, and renews it. */
export class Publisher {
  /** Requests that write, so far. */
  requests = 0;
  readonly #target: Target;
  readonly #signal = new AbortController().signal;
  readonly #services = new Map<string, { readonly service: PublishedService; readonly written: Written }>();

  constructor(port: number, directory?: string) {
    const config = z.strictObject(zookeeper.fields).parse({ servers: [`127.0.0.1:${port}`] });
    setMaxListeners(0, this.#signal);
    const turn = async () => {
      this.requests++;
    };
    const log = pino({ level: process.env.PONTOON_TEST_LOG ?? 'silent' });
    this.#target = kind.target(config, { registry: 'zk', owner: 'a', directory, log, turn });
  }

  /** @param settings of the publication's block */
  async write(
    name: string,
    settings: Readonly<Record<string, unknown>>,
    ...instances: readonly PublishedInstance[]
  ): Promise<Written> {
    const block = z.strictObject(kind.fields).parse(settings);
    const key = { registry: 'zk', ...kind.key(name, block) };
    const service: PublishedService = { key, protocol: 'dubbo', settings: block, instances };
    const before = this.#services.get(name)?.written.placed ?? [];
    const written = await this.#target.write(service, before, this.#signal);
    this.#services.set(name, { service, written });
    return written;
  }

  /** Goes on with what another one has written. */
  takeOver(other: Publisher, name: string): void {
    const known = other.#services.get(name);
    if (known !== undefined) this.#services.set(name, known);
  }

  async renew(name: string): Promise<boolean | undefined> {
    const known = this.#services.get(name);
    return known && (await this.#target.renew?.(known.service, known.written.placed, this.#signal));
  }

  close(): Promise<void> {
    return this.#target.close();
  }
}

/** An instance as a source reads it, in the words of what was placed. */
export function asPlaced({ id, address, ports, weight, status, metadata, locality }: Instance): Placed {
  const isUp = status === 'UP' && weight > 0;
  return { id, instance: { address, port: ports[0]?.number ?? 0, isUp, weight, locality, metadata } };
}
