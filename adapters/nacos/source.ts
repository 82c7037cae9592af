import { setTimeout as sleep } from 'node:timers/promises';
import { ExponentialBackoff } from 'cockatiel';
import { asError } from '#model/reason.js';
import type { Source, SourceContext, SourceOutput } from '#sources/contract.js';
import { type Connect, controllerWithin, type NacosClient, type Watcher } from './client.js';
import { ConnectionReset } from './connection.js';
import { type DubboOptions, DubboServices } from './dubbo.js';
import { type Decode, Services } from './services.js';

/** ms between two attempts to connect, jittered: the first and the most. */
const retry = { initialDelay: 200, maxDelay: 15_000 };

/** ms between two looks at a list whose changes the server tells. */
const watchedInterval = 60_000;
/** ms, at least, between two looks at the list, however often it changes. */
const leastInterval = 500;

export interface NacosSourceOptions {
  readonly context: SourceContext;
  readonly connect: Connect;
  readonly decode: Decode;
  /** Undefined: what Dubbo registers is not read. */
  readonly dubbo?: Pick<DubboOptions, 'configGroup'> | undefined;
  /** ms between two looks at the list of services. */
  readonly pollInterval: number;
}

/**
 * Lists the services, subscribes to each, and follows list and changes. When the servers are lost, what is known stays; it connects anew,
 * subscribes to everything again, and is live when all of it has been answered.
 */
export class NacosSource implements Source {
  readonly #options: NacosSourceOptions;

  constructor(options: NacosSourceOptions) {
    this.#options = options;
  }

  async run(out: SourceOutput, signal: AbortSignal): Promise<void> {
    const { context, decode, dubbo: wanted } = this.#options;
    const dubbo = wanted && new DubboServices({ ...context, ...wanted }, out);
    const services = new Services(context.registry, dubbo ?? out, decode);
    const backoff = new ExponentialBackoff(retry);
    let pause = backoff.next();
    out.state({ kind: 'connecting' });
    while (!signal.aborted) {
      try {
        await this.#session(services, dubbo, out, signal, () => {
          pause = backoff.next();
        });
      } catch (reason) {
        if (signal.aborted) return;
        const error = asError(reason);
        // A server that sends us to another one has not left us without one.
        if (!(error instanceof ConnectionReset))
          out.state({ kind: (dubbo ?? services).committed ? 'stale' : 'failed', error });
      }
      await sleep(pause.duration, undefined, { signal }).catch(() => {});
      pause = pause.next(undefined);
    }
  }

  /** @throws Error: why the session ended; never returns */
  async #session(
    services: Services,
    dubbo: DubboServices | undefined,
    out: SourceOutput,
    signal: AbortSignal,
    synced: () => void,
  ): Promise<never> {
    const { connect, pollInterval } = this.#options;
    const least = Math.min(leastInterval, pollInterval);
    const end = controllerWithin(signal);
    const session = end.signal;
    const news = new News();
    const watcher: Watcher = {
      changed: (service, ask) => services.changed(service, ask),
      listed: () => news.came(),
      configured: (name) => dubbo?.configured(name),
      alive: () => (dubbo ?? out).alive(),
      lost: (reason) => end.abort(reason),
    };
    let client: NacosClient | undefined;
    try {
      client = await connect(watcher, session);
      dubbo?.attach(client, session, (reason) => end.abort(reason));
      if (!(dubbo ?? services).committed) out.state({ kind: 'syncing' });
      await services.sync(client, session);
      await dubbo?.listed;
      session.throwIfAborted();
      synced();
      for (let error: Error | undefined; ; ) {
        const watched = error === undefined && (await client.watchList()) && !services.unread;
        await sleep(least, undefined, { signal: session });
        await news.wait(watched ? Math.max(watchedInterval, pollInterval) : pollInterval - least, session);
        const before = error;
        error = await services.poll().then(() => undefined, asError);
        session.throwIfAborted();
        if (error !== undefined) out.state({ kind: 'stale', error });
        else if (before !== undefined) out.state({ kind: 'live' });
      }
    } catch (error) {
      // What fails because the session ended says less than why it did.
      end.abort(error);
      throw end.signal.reason;
    } finally {
      await client?.close();
    }
  }
}

/** Something may have come since it was last waited for. */
class News {
  #some = false;
  #tell = () => {};

  came(): void {
    this.#some = true;
    this.#tell();
  }

  /** Waits for news, but no longer than `timeout` ms. @throws the reason of the signal */
  async wait(timeout: number, signal: AbortSignal): Promise<void> {
    if (!this.#some) {
      const told = controllerWithin(signal);
      this.#tell = () => told.abort();
      await sleep(timeout, undefined, { signal: told.signal }).catch(() => {});
      told.abort();
      signal.throwIfAborted();
    }
    this.#some = false;
  }
}
