import type { ServiceKey } from '#model/service.js';
import { Prober } from '#probe/prober.js';
import { cause, type Source, type SourceContext, type SourceOutput } from '#sources/contract.js';
import { ZooKeeper } from './client.js';
import { DubboRegister } from './dubboregister.js';
import { Following } from './follow.js';
import { Instances } from './instances.js';
import { PersistentNodes } from './persistent.js';
import { Reader } from './reader.js';
import { namespaceOf, type Register, type RegisterListener } from './register.js';
import type { ZooKeeperConfig } from './schema.js';
import { sessionOptions } from './session.js';
import { SpringRegister } from './springregister.js';

/** In ms. */
export interface Pauses {
  /** Until a znode that could not be read is asked again; or an instance for its metadata, at first. */
  readonly unreadable: number;
  /** Between two connections to an instance in a persistent znode. */
  readonly probes: number;
}

const usualPauses: Pauses = { unreadable: 30_000, probes: 60_000 };

/** Reads one ZooKeeper ensemble. A lost connection is waited for; an ended session ends the run, and the next one lists everything anew. */
export class ZooKeeperSource implements Source {
  readonly #config: ZooKeeperConfig;
  readonly #context: SourceContext;
  readonly #pauses: Pauses;
  readonly #told = new Map<string, readonly ServiceKey[]>();

  constructor(config: ZooKeeperConfig, context: SourceContext, pauses: Pauses = usualPauses) {
    this.#config = config;
    this.#context = context;
    this.#pauses = pauses;
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
    const client = new ZooKeeper(sessionOptions(this.#config), {
      lost: (error) => out.state({ kind: 'stale', error }),
      back: () => out.state({ kind: isListed ? 'live' : 'syncing' }),
      ended: (error) => fail(error),
      alive: () => out.alive(),
    });
    const following = new Following(client, this.#pauses.unreadable);
    const persistent =
      this.#config.probe === 'off' ? undefined : new PersistentNodes(client, new Prober(), this.#pauses.probes);
    let reader: Reader | undefined;
    const read = async () => {
      await client.open();
      out.state({ kind: 'syncing' });
      const registers = this.#registers(following, persistent, {
        changed: (register, name, why) => reader?.changed(register, name, why),
        failed: fail,
      });
      reader = new Reader(this.#context.registry, registers, following, out, this.#told, fail);
      await reader.start();
      isListed = true;
      await ended;
    };
    try {
      await Promise.race([aborted, ended, read()]);
    } finally {
      over.abort();
      reader?.stop();
      persistent?.stop();
      await client.close();
    }
  }

  /** One for each root of Dubbo, and one for Spring Cloud. */
  #registers(following: Following, persistent: PersistentNodes | undefined, listener: RegisterListener): Register[] {
    const { dubbo, applications, springCloud } = this.#config;
    const { registry, includes, mayServe, log } = this.#context;
    const why = cause('first listing');
    const folders = new Map<string, Instances>();
    const instancesAt = (root: string) => {
      const instances = folders.get(root) ?? new Instances(following, root, persistent, why);
      folders.set(root, instances);
      return instances;
    };
    const [first = '/dubbo', ...others] = dubbo?.root ?? [];
    const metadata = applications?.metadata ?? first;
    // Applications belong to the root that holds their metadata; to the first one where it lies apart.
    const home = others.includes(metadata) ? metadata : first;
    const roots = dubbo === undefined && applications === undefined ? [] : [first, ...others];
    const registers: Register[] = roots.map((root) => {
      const instances = applications && root === home ? instancesAt(applications.root) : undefined;
      const options = { registry, root, metadata: root === home ? metadata : root, interfaces: dubbo !== undefined };
      // Group and version are in the znodes below the interface's.
      const isWanted = (name: string) =>
        includes(name) && (mayServe?.({ kind: 'dubbo', namespace: namespaceOf(root), name }) ?? true);
      return new DubboRegister(
        { ...options, instances, includes: isWanted, persistent, retry: this.#pauses.unreadable, log },
        following,
        why,
        listener,
      );
    });
    if (springCloud !== undefined)
      registers.push(new SpringRegister(registry, instancesAt(springCloud.root), includes, persistent, listener));
    return registers;
  }
}
