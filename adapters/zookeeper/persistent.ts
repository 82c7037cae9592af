import { parseAddress } from '#model/address.js';
import type { Note, RegistryService } from '#model/service.js';
import type { Endpoint, Prober } from '#probe/prober.js';
import { type Cause, cause } from '#sources/contract.js';
import type { ZooKeeper } from './client.js';
import { below } from './paths.js';
import { ZooKeeperError } from './session.js';

/** Znodes that are looked at, and endpoints that are asked, in one step, and the ms between two steps. */
const batch = 40;
const stepPause = 100;

/** Each endpoint makes the pause between two rounds at least so many ms long. */
const pauseEach = 30;

/** ms in which news of one znode's instances gather: a process that has died had many. */
const gathering = 1_000;

/** The instances below one znode. */
interface Folder {
  readonly path: string;
  readonly changed: (cause: Cause) => void;
  readonly nodes: Map<string, Node>;
}

interface Node {
  readonly folder: Folder;
  readonly child: string;
  /** Undefined once it is known to be ephemeral: most are, and no more is wanted of them. */
  endpoints: readonly Endpoint[] | undefined;
  isDropped: boolean;
}

/** An endpoint that persistent znodes register. */
interface Registered {
  readonly endpoint: Endpoint;
  readonly nodes: Set<Node>;
  /** ms since 1970, while it refuses connections. */
  deadSince: number | undefined;
}

/**
 * Watches over instances in persistent znodes, which do not go with the process that they are of. Whether a znode is persistent is asked once, at a
 * bounded pace; the endpoints of those that are get a TCP connection now and then. One that refuses it stays in use, with a note.
 */
export class PersistentNodes {
  readonly #client: ZooKeeper;
  readonly #prober: Prober;
  readonly #roundPause: number;
  readonly #folders = new Map<string, Folder>();
  readonly #registered = new Map<string, Registered>();
  #unseen: Node[] = [];
  #unasked: Registered[] = [];
  #dead = 0;
  /** Endpoints that are being asked. */
  #asking = 0;
  readonly #news = new Map<Folder, Cause>();
  #step: NodeJS.Timeout | undefined;
  #round: NodeJS.Timeout | undefined;
  #telling: NodeJS.Timeout | undefined;
  #stopped = false;

  /** @param pause ms between two rounds of connections */
  constructor(client: ZooKeeper, prober: Prober, pause: number) {
    this.#client = client;
    this.#prober = prober;
    this.#roundPause = pause;
  }

  /**
   * What is registered below a znode now.
   * @param children names of the instances' znodes, and where each listens
   * @param changed is told when something may be said of them that was not said before
   */
  sync(path: string, children: ReadonlyMap<string, readonly Endpoint[]>, changed: (cause: Cause) => void): void {
    if (this.#stopped) return;
    const folder = this.#folders.get(path) ?? { path, changed, nodes: new Map<string, Node>() };
    for (const [child, node] of folder.nodes) {
      const endpoints = children.get(child);
      if (endpoints !== undefined && isSame(node.endpoints ?? endpoints, endpoints)) continue;
      folder.nodes.delete(child);
      this.#drop(node);
    }
    for (const [child, endpoints] of children) {
      if (folder.nodes.has(child)) continue;
      const node = { folder, child, endpoints, isDropped: false };
      folder.nodes.set(child, node);
      this.#unseen.push(node);
    }
    if (folder.nodes.size > 0) this.#folders.set(path, folder);
    else this.#folders.delete(path);
    this.#go();
  }

  /** Adds a note for each instance that refuses connections and is registered in a persistent znode. */
  annotate(service: RegistryService): RegistryService {
    if (this.#dead === 0) return service;
    const notes: Note[] = [];
    for (const { id, address, ports } of service.instances) {
      const since = this.#registered.get(keyOf({ address, port: ports[0]?.number ?? 0 }))?.deadSince;
      if (since === undefined) continue;
      const when = new Date(since).toISOString();
      notes.push({ record: id, text: `its znode is persistent, and nothing listens there since ${when}` });
    }
    return notes.length === 0 ? service : { ...service, notes: [...(service.notes ?? []), ...notes] };
  }

  stop(): void {
    this.#stopped = true;
    clearTimeout(this.#step);
    clearTimeout(this.#round);
    clearTimeout(this.#telling);
    this.#prober.close();
  }

  #drop(node: Node): void {
    node.isDropped = true;
    for (const endpoint of node.endpoints ?? []) {
      const found = this.#registered.get(keyOf(endpoint));
      if (!found?.nodes.delete(node) || found.nodes.size > 0) continue;
      if (found.deadSince !== undefined) this.#dead--;
      this.#registered.delete(keyOf(endpoint));
    }
  }

  #go(): void {
    if (this.#step !== undefined || this.#stopped || this.#unseen.length + this.#unasked.length === 0) return;
    this.#step = setTimeout(() => {
      this.#look()
        // What ends the client ends this, too.
        .catch(() => this.stop())
        .finally(() => {
          this.#step = undefined;
          this.#go();
        });
    }, stepPause);
  }

  async #look(): Promise<void> {
    const nodes = this.#unseen.splice(0, batch);
    for (const registered of this.#unasked.splice(0, batch)) {
      this.#asking++;
      void this.#ask(registered).finally(() => {
        this.#asking--;
        this.#nextRound();
      });
    }
    await Promise.all(nodes.map((node) => this.#lookAt(node)));
  }

  #nextRound(): void {
    if (this.#stopped || this.#asking + this.#unasked.length > 0 || this.#registered.size === 0) return;
    const pause = Math.max(this.#roundPause, this.#registered.size * pauseEach);
    this.#round ??= setTimeout(() => {
      this.#round = undefined;
      this.#unasked = [...this.#registered.values()];
      this.#go();
    }, pause);
  }

  async #lookAt(node: Node): Promise<void> {
    const isPersistent = await this.#client.isPersistent(below(node.folder.path, node.child)).catch(notRead);
    if (node.isDropped) return;
    if (!isPersistent) node.endpoints = undefined;
    for (const endpoint of node.endpoints ?? []) {
      const found = this.#registered.get(keyOf(endpoint));
      if (found !== undefined) found.nodes.add(node);
      else {
        const registered = { endpoint, nodes: new Set([node]), deadSince: undefined };
        this.#registered.set(keyOf(endpoint), registered);
        this.#unasked.push(registered);
      }
    }
  }

  async #ask(registered: Registered): Promise<void> {
    const begun = Date.now();
    const answer = await this.#prober.verdict(registered.endpoint);
    // No answer may be a firewall's: it says nothing, neither way.
    if (this.#stopped || registered.nodes.size === 0 || answer === 'silent') return;
    const wasDead = registered.deadSince !== undefined;
    const isDead = answer === 'refused';
    if (isDead === wasDead) return;
    registered.deadSince = isDead ? begun : undefined;
    this.#dead += isDead ? 1 : -1;
    const why = cause(isDead ? 'persistent and dead' : 'persistent and alive again');
    for (const { folder } of registered.nodes) if (!this.#news.has(folder)) this.#news.set(folder, why);
    this.#telling ??= setTimeout(() => this.#tell(), gathering);
  }

  #tell(): void {
    this.#telling = undefined;
    const news = [...this.#news];
    this.#news.clear();
    for (const [{ changed }, why] of news) changed(why);
  }
}

/** An endpoint as the model writes addresses; none if it cannot be dialled. */
export function endpointsOf(address: string, ports: readonly number[]): Endpoint[] {
  try {
    const { text } = parseAddress(address);
    return ports.filter((port) => port > 0 && port < 65_536).map((port) => ({ address: text, port }));
  } catch {
    return [];
  }
}

/** Of a znode that cannot be looked at nothing is said. */
function notRead(error: unknown): boolean {
  if (error instanceof ZooKeeperError) return false;
  throw error;
}

function isSame(before: readonly Endpoint[], now: readonly Endpoint[]): boolean {
  return before.map(keyOf).join() === now.map(keyOf).join();
}

function keyOf({ address, port }: Endpoint): string {
  return `${address} ${port}`;
}
