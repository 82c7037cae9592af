import { setMaxListeners } from 'node:events';
import { pino } from 'pino';
import { z } from 'zod';
import { nacos } from '#adapters/nacos/index.js';
import type { Instance } from '#model/service.js';
import type { Placed, PublishedInstance, PublishedService, Target, TargetKind, Written } from '#publish/contract.js';
import { marked } from '#publish/mark.js';
import type { Nacos } from '#test/servers/nacos.js';

const kind = nacos.target as TargetKind;

/** An instance that is published, with its mark. */
export function instance(address: string, port: number, more: Partial<PublishedInstance> = {}): PublishedInstance {
  const mark = marked({ owner: 'a', run: '1', publication: 'p', host: 'orders.shop.svc.cluster.local' });
  const metadata = { ...more.metadata, ...mark };
  return { address, port, isUp: true, weight: 1, locality: undefined, ...more, metadata };
}

/** What an engine does: writes services into a server, remembers what was placed, and renews it. */
export class Publisher {
  /** Requests that write, so far. */
  requests = 0;
  readonly #target: Target;
  readonly #signal = new AbortController().signal;
  readonly #services = new Map<string, { readonly service: PublishedService; readonly written: Written }>();

  /** @param keys of the registry, beside its servers */
  constructor(server: Nacos, keys: Readonly<Record<string, unknown>> = {}) {
    const config = z.strictObject(nacos.fields).parse({ servers: [server.address], ...keys });
    setMaxListeners(0, this.#signal);
    const turn = async () => {
      this.requests++;
    };
    const log = pino({ level: process.env.PONTOON_TEST_LOG ?? 'silent' });
    this.#target = kind.target(config, { registry: 'n', owner: 'a', directory: undefined, log, turn });
  }

  /** @param settings of the publication's block */
  async write(
    name: string,
    settings: Readonly<Record<string, unknown>>,
    ...instances: readonly PublishedInstance[]
  ): Promise<Written> {
    const block = z.strictObject(kind.fields).parse(settings);
    const key = { registry: 'n', ...kind.key(name, block) };
    const service: PublishedService = { key, protocol: 'http', settings: block, instances };
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

  /** @returns false if something is lost: then all of it is written anew the next time */
  async renew(name: string): Promise<boolean | undefined> {
    const known = this.#services.get(name);
    const isKnown = known && (await this.#target.renew?.(known.service, known.written.placed, this.#signal));
    if (known !== undefined && isKnown === false)
      this.#services.set(name, { ...known, written: { placed: [], refused: [] } });
    return isKnown;
  }

  close(): Promise<void> {
    return this.#target.close();
  }
}

/** An instance as a source reads it, in the words of what was placed. */
export function asPlaced({ id, address, ports, weight, status, metadata }: Instance): Placed {
  const isUp = status === 'healthy' && weight > 0;
  return { id, instance: { address, port: ports[0]?.number ?? 0, isUp, weight, locality: undefined, metadata } };
}
