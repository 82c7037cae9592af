import type { ServiceKey } from '#model/service.js';
import type { Source, SourceContext, SourceOutput } from '#sources/contract.js';
import { ZooKeeper } from './client.js';
import { Following } from './follow.js';
import { Reader } from './reader.js';
import type { ZooKeeperConfig } from './schema.js';

/** Reads one ZooKeeper ensemble. A lost connection is waited for; an ended session ends the run, and the next one lists everything anew. */
export class ZooKeeperSource implements Source {
  readonly #config: ZooKeeperConfig;
  readonly #context: SourceContext;
  readonly #told = new Map<string, readonly ServiceKey[]>();

  constructor(config: ZooKeeperConfig, context: SourceContext) {
    this.#config = config;
    this.#context = context;
  }

  async run(out: SourceOutput, signal: AbortSignal): Promise<void> {
    signal.throwIfAborted();
    const over = new AbortController();
    let isListed = false;
    let fail: (error: Error) => void = () => undefined;
    const ended = new Promise<never>((_, reject) => {
      fail = reject;
    });
    const aborted = new Promise<void>((resolve) =>
      signal.addEventListener('abort', () => resolve(), { once: true, signal: over.signal }),
    );
    out.state({ kind: 'connecting' });
    const client = new ZooKeeper(this.#config, {
      lost: (error) => out.state({ kind: 'stale', error }),
      back: () => out.state({ kind: isListed ? 'live' : 'syncing' }),
      ended: (error) => fail(error),
      alive: () => out.alive(),
    });
    const following = new Following(client);
    let reader: Reader | undefined;
    const read = async () => {
      await client.open();
      out.state({ kind: 'syncing' });
      reader = new Reader(this.#readerOptions(), following, out, this.#told, fail);
      await reader.start();
      isListed = true;
      await ended;
    };
    try {
      await Promise.race([aborted, ended, read()]);
    } finally {
      over.abort();
      reader?.stop();
      await client.close();
    }
  }

  #readerOptions() {
    const { dubbo, applications } = this.#config;
    return {
      registry: this.#context.registry,
      includes: this.#context.includes,
      dubbo: dubbo?.root,
      services: applications?.root,
      metadata: applications?.metadata ?? dubbo?.root ?? '/dubbo',
    };
  }
}
