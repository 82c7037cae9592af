import { nameFilter } from '#config/fields.js';
import { asError, reasonOf } from '#model/reason.js';
import type { RegistryService, ServiceKey } from '#model/service.js';
import { type Cause, cause, type Source, type SourceContext, type SourceOutput } from '#sources/contract.js';
import { Turn } from '#sources/turn.js';
import { Connection, UnknownMethodError } from './connection.js';
import { decodeCluster, decodeEndpoints } from './decode.js';
import { Mesh } from './mesh.js';
import { nodeOf } from './node.js';
import { DeltaProtocol, type Protocol, type Response, StateProtocol } from './protocol.js';
import type { IstiodConfig, IstiodServer } from './schema.js';

/** ms; a stream that lasted less than this is not simply followed by the next one. */
const shortest = 5_000;

/** Reads what istiod tells its proxies: clusters, and the endpoints of each. */
export class IstiodSource implements Source {
  readonly #config: IstiodConfig;
  readonly #context: SourceContext;
  /** The one that answered last. */
  #current = 0;
  /** Servers that know no stream of changes. */
  readonly #withoutDelta = new Set<IstiodServer>();

  constructor(config: IstiodConfig, context: SourceContext) {
    this.#config = config;
    this.#context = context;
  }

  async run(out: SourceOutput, signal: AbortSignal): Promise<void> {
    // istiod ends streams every half an hour, and when it is rolled out: the next one takes over, and meanwhile nothing changes.
    out.state({ kind: 'syncing' });
    while (!signal.aborted) await this.#read(out, signal);
  }

  /** Reads one of the servers until its stream ends. @throws Error if none could be read */
  async #read(out: SourceOutput, signal: AbortSignal): Promise<void> {
    const { servers } = this.#config;
    const failures: string[] = [];
    for (let count = 0; count < servers.length; count++) {
      const server = servers[this.#current] as IstiodServer;
      const conversation = new Conversation(this.#config, this.#context, out);
      const begun = performance.now();
      try {
        await conversation.hold(server, this.#protocol(server), signal);
      } catch (error) {
        if (signal.aborted) return;
        if (error instanceof UnknownMethodError && !this.#withoutDelta.has(server)) {
          this.#withoutDelta.add(server);
          count--;
          continue;
        }
        if (conversation.isListed && performance.now() - begun > shortest) {
          this.#context.log.info({ reason: reasonOf(error) }, 'the stream has ended; the next one takes over');
          return;
        }
        failures.push(reasonOf(error));
      }
      this.#current = (this.#current + 1) % servers.length;
    }
    // Sorted: the same trouble is then said in the same words, whichever server was asked first.
    throw new Error(failures.sort().join('; '));
  }

  #protocol(server: IstiodServer): Protocol {
    const node = nodeOf(this.#config.node);
    return this.#config.delta && !this.#withoutDelta.has(server) ? new DeltaProtocol(node) : new StateProtocol(node);
  }
}

/** One stream, and what it has told. */
class Conversation {
  readonly #config: IstiodConfig;
  readonly #context: SourceContext;
  readonly #out: SourceOutput;
  readonly #mesh: Mesh;
  /** Whether the clusters have been told. */
  #isTold = false;
  /** Whether all was told, and given on. */
  isListed = false;

  constructor(config: IstiodConfig, context: SourceContext, out: SourceOutput) {
    this.#config = config;
    this.#context = context;
    this.#out = out;
    const [isHost, isNamespace] = [nameFilter(config.hosts, undefined), nameFilter(config.namespaces, undefined)];
    this.#mesh = new Mesh({
      registry: context.registry,
      isWanted: ({ host, namespace, service }) => isHost(host) && isNamespace(namespace) && context.includes(service),
    });
  }

  /** @throws Error when the stream has ended, with the reason */
  async hold(server: IstiodServer, protocol: Protocol, signal: AbortSignal): Promise<never> {
    signal.throwIfAborted();
    const onAlive = () => this.#out.alive();
    const connection = new Connection(server, { ...this.#config, method: protocol.method, onAlive });
    const close = () => connection.close();
    signal.addEventListener('abort', close);
    try {
      await connection.open();
      connection.send(protocol.begin());
      const messages = connection.messages();
      for (;;) {
        const { value } = await messages.next();
        const why = cause('push');
        const response = protocol.read(value);
        connection.send(protocol.answer(await this.#take(response)));
        const watching = this.#mesh.takeWatching();
        if (watching !== undefined) connection.send(protocol.watch(watching.added, watching.removed));
        await this.#tell(why);
      }
    } finally {
      signal.removeEventListener('abort', close);
      connection.close();
    }
  }

  /** Takes over what a response says. What cannot be decoded stays as it is. @returns what is wrong with it */
  async #take({ type, resources, removed, isAll }: Response): Promise<string | undefined> {
    if (type === undefined) return undefined;
    const turn = new Turn();
    const wrong: string[] = [];
    const left = new Set(isAll ? this.#mesh.clusters() : removed);
    for (const bytes of resources) {
      try {
        if (type === 'clusters') {
          const cluster = decodeCluster(bytes);
          if (cluster !== undefined) {
            left.delete(cluster.name);
            this.#mesh.setCluster(cluster);
          }
        } else {
          const { name, ...endpoints } = decodeEndpoints(bytes);
          this.#mesh.setEndpoints(name, endpoints);
        }
      } catch (error) {
        wrong.push(asError(error).message);
      }
      if (turn.isLong) await turn.next();
    }
    // With one that cannot be read nobody knows which are gone.
    if (type === 'clusters' && !(isAll && wrong.length > 0)) for (const name of left) this.#mesh.removeCluster(name);
    if (type === 'clusters') this.#isTold = true;
    if (wrong.length === 0) return undefined;
    const reason = `${wrong.length} of ${resources.length} ${type} cannot be decoded: ${wrong[0]}`;
    this.#context.log.warn({ reason }, 'what is known of them stays');
    return reason;
  }

  async #tell(why: Cause): Promise<void> {
    if (!this.#isTold) return;
    if (!this.isListed && !this.#mesh.isComplete) return;
    const turn = new Turn();
    const changed: RegistryService[] = [];
    const removed: ServiceKey[] = [];
    for (const change of this.#mesh.takeChanges()) {
      if (change.changed !== undefined) changed.push(change.changed);
      if (change.removed !== undefined) removed.push(change.removed);
      if (turn.isLong) await turn.next();
    }
    if (this.isListed) {
      if (changed.length + removed.length > 0) this.#out.update(changed, removed, why);
      return;
    }
    this.isListed = true;
    const listing = this.#out.listing();
    listing.add(changed);
    listing.commit(cause('listed'));
  }
}
