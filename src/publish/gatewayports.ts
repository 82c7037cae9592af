import { EventEmitter } from 'eventemitter3';
import type { Logger } from 'pino';
import type { Coordination } from '#coordination/contract.js';
import type { Exposure, Exposures, GatewayPlace } from '#istio/gateway.js';
import { compareText } from '#model/mesh.js';
import { reasonOf } from '#model/reason.js';
import { type Block, type Entry, readBlock, writeBlock } from './portblock.js';

/** Ports of one document. A host has at most 253 letters: 1,024 of the longest are well below what a document may hold. */
const blockSize = 1_024;
/** ms for which the port of a service that is gone is nobody else's: clients may remember it for long. */
const reusedAfter = 7 * 24 * 3_600_000;

/** Where this network's gateways take services. */
export interface GatewayPortSettings {
  /** First and last of the ports, the same at all gateways. */
  readonly range: { readonly from: number; readonly to: number };
  readonly gateways: readonly GatewayPlace[];
  /** ms for which a port stays open when nobody asks for it any more. */
  readonly grace: number;
}

/**
 * The ports at which this network's gateways take services: one for each port of a mesh service that is asked for, the same in all replicas. They are kept in
 * coordination documents, one for each {@link blockSize} ports, of which the next is used when the one before is full; so nothing moves, whoever starts anew. A port that
 * nobody asks for any more stays that service's: another one gets it only when the range is full, and after seven days.
 */
export class GatewayPorts extends EventEmitter<{ change: [ReadonlySet<string>]; known: [] }> implements Exposures {
  readonly #coordination: Coordination;
  readonly #log: Logger;
  #settings: GatewayPortSettings | undefined;
  /** By number; undefined until the store has said it. */
  readonly #blocks = new Map<number, Block | undefined>();
  /** `host:number` → its port. */
  #places: ReadonlyMap<string, Place> = new Map();
  /** Host → its service ports, by number. */
  #byHost: ReadonlyMap<string, ReadonlyMap<number, Place>> = new Map();
  readonly #wanted = new Map<string, readonly number[]>();
  /** Whether all that is wanted has been said. */
  #isSettled = false;
  /** Ids that this process has said to be gone, so that two replicas of different configurations do not argue for ever. */
  readonly #left = new Set<string>();
  #isKnown = false;
  #work: Promise<void> | undefined;
  #isDue = false;
  #closing: NodeJS.Timeout | undefined;
  #isClosed = false;
  /** Why some get no port. */
  #error: string | undefined;

  constructor(coordination: Coordination, log: Logger) {
    super();
    this.#coordination = coordination;
    this.#log = log;
  }

  /** Whether all ports that were given out are known; before that nothing is to be shown to Istio, which would delete what is missing. */
  get isKnown(): boolean {
    return this.#settings === undefined || this.#isKnown;
  }

  /** Why some services get no port; undefined if all have one, or will. */
  get error(): string | undefined {
    return this.#error;
  }

  /** @param settings undefined: no gateway takes anything */
  configure(settings: GatewayPortSettings | undefined): void {
    const hosts = new Set(this.#byHost.keys());
    this.#settings = settings;
    this.#isKnown = false;
    this.#index();
    this.emit('change', new Set([...hosts, ...this.#byHost.keys()]));
    this.#look();
  }

  /** These ports of a host, by their numbers, are to be open from now on, and no others. */
  want(host: string, numbers: readonly number[]): void {
    const before = this.#wanted.get(host) ?? [];
    if (before.length === numbers.length && before.every((number) => numbers.includes(number))) return;
    if (numbers.length > 0) this.#wanted.set(host, numbers);
    else this.#wanted.delete(host);
    for (const number of numbers) this.#left.delete(idOf(host, number));
    this.#look();
  }

  /** All that is wanted has been said once: what was given out and is not wanted is gone. */
  settle(): void {
    if (this.#isSettled) return;
    this.#isSettled = true;
    this.#look();
  }

  of(host: string): readonly Exposure[] {
    const { gateways = [] } = this.#settings ?? {};
    const places = [...(this.#byHost.get(host) ?? [])].filter(([, place]) => this.#isOpen(place));
    return places.map(([number, { port }]) => ({ number, port, gateways })).sort((a, b) => a.number - b.number);
  }

  /** The gateways' port for a port of a host; undefined while there is none. */
  port(host: string, number: number): number | undefined {
    const place = this.#byHost.get(host)?.get(number);
    return place !== undefined && this.#isOpen(place) ? place.port : undefined;
  }

  close(): void {
    this.#isClosed = true;
    clearTimeout(this.#closing);
  }

  #isOpen({ gone }: Place): boolean {
    return gone === undefined || sinceOf(gone) < (this.#settings?.grace ?? 0);
  }

  /** @returns the first block that is not full; `full` if there is none; undefined while that is not known */
  #openBlock(): number | 'full' | undefined {
    const { from = 1, to = 0 } = this.#settings?.range ?? {};
    for (let block = blockOf(from); block <= blockOf(to); block++) {
      const known = this.#blocks.get(block);
      if (known === undefined) {
        if (!this.#blocks.has(block)) this.#watch(block);
        return undefined;
      }
      if (freeIn(known, this.#portsOf(block)) !== undefined) return block;
    }
    return 'full';
  }

  /** Those of the range. */
  #portsOf(block: number): { readonly from: number; readonly to: number } {
    const { from = 1, to = 0 } = this.#settings?.range ?? {};
    return { from: Math.max(from, block * blockSize), to: Math.min(to, (block + 1) * blockSize - 1) };
  }

  #watch(block: number): void {
    this.#blocks.set(block, undefined);
    this.#coordination.watch(documentOf(block), (content) => {
      if (this.#isClosed) return;
      this.#blocks.set(block, readBlock(content));
      const hosts = this.#index();
      if (hosts.size > 0) this.emit('change', hosts);
      this.#look();
    });
  }

  /** @returns the hosts of which something else is known now */
  #index(): Set<string> {
    const places = new Map<string, Place>();
    const byHost = new Map<string, Map<number, Place>>();
    const { from = 1, to = 0 } = this.#settings?.range ?? {};
    // Of two ports for one, which two replicas may give out at once when the range is full, the lower counts everywhere.
    for (const [block, entries] of [...this.#blocks].sort(([a], [b]) => a - b))
      for (const [port, { id, gone }] of [...(entries ?? [])].sort(([a], [b]) => a - b)) {
        if (port < from || port > to || places.has(id)) continue;
        const place = { block, port, gone };
        places.set(id, place);
        const { host, number } = partsOf(id);
        const ofHost = byHost.get(host) ?? new Map<number, Place>();
        byHost.set(host, ofHost.set(number, place));
      }
    const changed = new Set<string>();
    for (const id of new Set([...this.#places.keys(), ...places.keys()])) {
      const [before, now] = [this.#places.get(id), places.get(id)];
      if (before?.port !== now?.port || before?.gone !== now?.gone) changed.add(partsOf(id).host);
    }
    this.#places = places;
    this.#byHost = byHost;
    this.#awaitClosing();
    return changed;
  }

  /** Looks whether something is to be written, after what is going on now. */
  #look(): void {
    if (this.#isClosed || this.#settings === undefined) return;
    if (this.#openBlock() === undefined) return;
    if (!this.#isKnown) {
      this.#isKnown = true;
      this.emit('known');
    }
    this.#isDue = true;
    this.#work ??= this.#write().finally(() => {
      this.#work = undefined;
    });
  }

  async #write(): Promise<void> {
    while (this.#isDue && !this.#isClosed) {
      // Whatever is wanted in the same breath.
      await Promise.resolve();
      this.#isDue = false;
      const open = this.#openBlock();
      if (open === undefined) return;
      const now = Date.now();
      const missing = this.#missing();
      const given = open === 'full' ? this.#reused(missing, now) : new Map<number, Entry>();
      const short = open === 'full' ? missing.length - given.size : 0;
      this.#tell(short);
      const blocks = [...this.#blocks].flatMap(([block, entries]) => (entries === undefined ? [] : [block]));
      await Promise.all(
        blocks
          .filter((block) => (open === block && missing.length > 0) || this.#isToBeRevised(block, given))
          .map((block) =>
            this.#coordination
              .update(documentOf(block), (content) =>
                writeBlock(this.#revised(readBlock(content), block, open === block ? missing : [], given, now)),
              )
              .catch((error: unknown) => {
                if (!this.#isClosed) this.#log.error({ reason: reasonOf(error) }, 'gateway ports cannot be written');
              }),
          ),
      );
    }
  }

  #missing(): string[] {
    const ids = [...this.#wanted].flatMap(([host, numbers]) => numbers.map((number) => idOf(host, number)));
    return ids.filter((id) => !this.#places.has(id)).sort(compareText);
  }

  #isWanted(id: string): boolean {
    const { host, number } = partsOf(id);
    return this.#wanted.get(host)?.includes(number) ?? false;
  }

  #isToBeRevised(block: number, given: ReadonlyMap<number, Entry>): boolean {
    return [...(this.#blocks.get(block) ?? [])].some(
      ([port, entry]) => given.has(port) || this.#goneNow(entry, 0) !== entry.gone,
    );
  }

  /** Since when nobody asks for it, as it should be said. */
  #goneNow({ id, gone }: Entry, now: number): number | undefined {
    if (this.#isWanted(id)) return undefined;
    return gone ?? (this.#isSettled && !this.#left.has(id) ? now : undefined);
  }

  /** What a block is to be. @param missing those that are to get a port in it @param given ports that become others' */
  #revised(
    before: Block,
    block: number,
    missing: readonly string[],
    given: ReadonlyMap<number, Entry>,
    now: number,
  ): Block {
    const range = this.#portsOf(block);
    const after = new Map<number, Entry>();
    for (const [port, entry] of before) {
      const next = given.get(port);
      const gone = this.#goneNow(entry, now);
      if (gone !== undefined && entry.gone === undefined) this.#left.add(entry.id);
      // Of an older `gone` than is known here somebody else has made something already.
      const isStill = this.#blocks.get(block)?.get(port)?.gone === entry.gone;
      if (next !== undefined && isStill && gone !== undefined) after.set(port, next);
      else after.set(port, { id: entry.id, ...(gone === undefined ? {} : { gone }) });
    }
    const held = new Set([...after.values()].map(({ id }) => id));
    for (const id of missing) {
      if (held.has(id)) continue;
      const free = freeIn(after, range);
      if (free === undefined) break;
      after.set(free, { id });
    }
    return after;
  }

  /** Of a full range the ports that have been nobody's for longest, for those that have none. */
  #reused(missing: readonly string[], now: number): Map<number, Entry> {
    const old = [...this.#places.entries()].filter(
      ([id, { gone }]) => gone !== undefined && now - gone > reusedAfter && !this.#isWanted(id),
    );
    old.sort(([, a], [, b]) => (a.gone ?? 0) - (b.gone ?? 0) || a.port - b.port);
    return new Map(missing.slice(0, old.length).map((id, index) => [(old[index] as [string, Place])[1].port, { id }]));
  }

  /** @param short how many get no port */
  #tell(short: number): void {
    const { from = 0, to = 0 } = this.#settings?.range ?? {};
    const error =
      short === 0 ? undefined : `${short} services get no port: all of ${from} to ${to} are taken; widen the range`;
    if (error !== undefined && this.#error === undefined) this.#log.error({ reason: error }, 'gateway ports');
    this.#error = error;
  }

  /** Ports that nobody asks for any more are closed when their grace is over. */
  #awaitClosing(): void {
    clearTimeout(this.#closing);
    const { grace = 0 } = this.#settings ?? {};
    const closing = [...this.#places].flatMap(([id, { gone }]) => {
      const left = gone === undefined ? 0 : grace - sinceOf(gone);
      return left > 0 ? [{ host: partsOf(id).host, left }] : [];
    });
    if (closing.length === 0) return;
    const first = Math.min(...closing.map(({ left }) => left));
    this.#closing = setTimeout(() => {
      this.emit('change', new Set(closing.filter(({ left }) => left <= first).map(({ host }) => host)));
      this.#awaitClosing();
    }, first + 1).unref();
  }
}

interface Place {
  readonly block: number;
  readonly port: number;
  readonly gone: number | undefined;
}

/** ms. By the wall clock, which may have been set: never negative. */
function sinceOf(gone: number): number {
  return Math.max(0, Date.now() - gone);
}

function blockOf(port: number): number {
  return Math.floor(port / blockSize);
}

function documentOf(block: number): string {
  return `gateway-ports-${block * blockSize}`;
}

function freeIn(block: Block, { from, to }: { readonly from: number; readonly to: number }): number | undefined {
  for (let port = from; port <= to; port++) if (!block.has(port)) return port;
  return undefined;
}

function idOf(host: string, number: number): string {
  return `${host}:${number}`;
}

function partsOf(id: string): { readonly host: string; readonly number: number } {
  const colon = id.lastIndexOf(':');
  return { host: id.slice(0, colon), number: Number(id.slice(colon + 1)) };
}
