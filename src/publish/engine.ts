import { setTimeout as sleep } from 'node:timers/promises';
import { isDeepStrictEqual } from 'node:util';
import type { Logger } from 'pino';
import type { ViewChange } from '#catalog/view.js';
import type { RegistryConfig } from '#config/schema.js';
import { reasonOf } from '#model/reason.js';
import type { Note, Rejection } from '#model/service.js';
import { WorkQueue } from '#queue/workqueue.js';
import { changeText } from './change.js';
import { type CompareContext, Comparison, type Parties, type Verdict, type WriteRecord } from './compare.js';
import type { Placed, PublishedService, TargetKind } from './contract.js';
import type { Election } from './election.js';
import { Hand } from './hand.js';
import { markOf } from './mark.js';
import { Pauses } from './pauses.js';
import { Records } from './records.js';
import { Renewals } from './renewals.js';
import { RivalWatch } from './rival.js';
import type { TargetStatus, WriteEvent } from './status.js';

/** ms that taking all back may take at the end. */
const longestLeave = 30_000;
const leavePoll = 50;

/** What an engine needs of the rest. */
export interface EngineContext extends CompareContext {
  readonly owner: string;
  readonly run: string;
  readonly directory: string | undefined;
  /** Why a registry cannot be compared now; undefined if its view is complete and current. */
  readonly unreadable: (registry: string) => string | undefined;
  /** Whether somebody elects the writer. */
  readonly isElected: boolean;
  readonly election: (registry: string, heard: (isLeader: boolean) => void) => Election;
  readonly told: (event: WriteEvent) => void;
  readonly log: Logger;
}

/** Makes what stands in one registry what the publications want. */
export class TargetEngine {
  readonly registry: string;
  readonly kind: TargetKind;
  readonly config: RegistryConfig;
  readonly #context: EngineContext;
  readonly #log: Logger;
  readonly #election: Election;
  readonly #comparison: Comparison;
  readonly #queue: WorkQueue;
  readonly #renewals: Renewals;
  readonly #hand: Hand;
  #rivals: RivalWatch;
  readonly #pauses: Pauses;
  readonly #records: Records;
  readonly #conflicts = new Map<string, readonly Rejection[]>();
  /** What led to a change, and when the registry told it: monotonic ms. */
  readonly #causes = new Map<string, { readonly what: string; readonly at: number | undefined }>();
  /** Services that are being written or renewed. */
  readonly #busy = new Map<string, Promise<unknown>>();
  readonly #closing = new AbortController();
  readonly #counts = { written: 0, failed: 0, renewed: 0, renewalsFailed: 0 };
  #ending = new AbortController();
  #before: Promise<void> = Promise.resolve();
  #leads = false;
  #isOpen = false;
  #lastWriteAt: number | undefined;
  /** Why the registry takes no writes, or no renewals, now. */
  #error: string | undefined;
  #renewalError: string | undefined;

  constructor(config: RegistryConfig, kind: TargetKind, context: EngineContext) {
    const { parallel } = config.writes;
    this.registry = config.name;
    this.config = config;
    this.kind = kind;
    this.#context = context;
    this.#log = context.log.child({ registry: config.name });
    this.#comparison = new Comparison(config.name, kind, context);
    this.#hand = new Hand(config, kind, { ...context, mayWrite: () => this.#mayWrite() });
    this.#pauses = new Pauses(kind.seenWithin);
    this.#queue = new WorkQueue((id) => this.#work(id), parallel);
    this.#renewals = new Renewals((id) => this.#renew(id), parallel);
    this.#records = new Records(kind, context.ledger, this.#renewals);
    this.#rivals = new RivalWatch(context.owner, context.run, kind.seenWithin);
    this.#election = context.election(config.name, (isLeader) => {
      this.#leads = isLeader;
      this.look();
    });
  }

  /** Who writes may have changed, or whether: looks at everything, if this process may write. */
  look(): void {
    const isDue = this.#leads && !this.#closing.signal.aborted && this.#isActive();
    if (!isDue) this.#end();
    else if (this.#isOpen) this.#all();
    else this.#begin();
  }

  #begin(): void {
    this.#isOpen = true;
    const ending = new AbortController();
    this.#ending = ending;
    this.#before = this.#before.then(() => {
      if (ending.signal.aborted) return;
      // What another one did meanwhile, the registry says.
      this.#records.clear();
      this.#queue.open();
      this.#all();
    });
  }

  /** An operator has seen to it that no other process writes there. */
  restart(): void {
    if (this.#rivals.rival === undefined) return;
    const { owner, run } = this.#context;
    this.#rivals = new RivalWatch(owner, run, this.kind.seenWithin);
    this.#end();
    this.look();
  }

  /** Something else is wanted of a service. @param at when a registry told what led to it: monotonic ms */
  want(id: string, what: string, at: number | undefined): void {
    if (!this.#isOpen) return;
    if (!this.#causes.has(id)) this.#causes.set(id, { what, at });
    this.#queue.add(id);
  }

  /** The registry's source has read something. */
  read({ ids }: ViewChange): void {
    const { claims, ledger, view, isElected, owner } = this.#context;
    for (const id of ids) {
      const instances = view(this.registry)?.said.get(id)?.instances ?? [];
      if (!isElected && this.#isOpen && this.#rivals.look(id, instances)) this.#stop();
      const isConcerned =
        this.#records.has(id) ||
        claims.of(id).length > 0 ||
        ledger.get(id) !== undefined ||
        instances.some(({ metadata }) => markOf(metadata)?.owner === owner);
      if (isConcerned && this.#isOpen) this.#queue.add(id);
    }
  }

  status(): TargetStatus {
    const ours = this.#comparison.ours();
    const placed: Record<string, number> = {};
    for (const publication of [...ours.values()].flat()) placed[publication] = (placed[publication] ?? 0) + 1;
    return {
      registry: this.registry,
      type: this.config.type,
      ...this.#state(),
      services: ours.size,
      instances: Object.values(placed).reduce((sum, count) => sum + count, 0),
      placed,
      pending: this.#isOpen ? this.#queue.size : 0,
      ...this.#counts,
      requests: this.#hand.requests,
      refused: this.#records.all().reduce((sum, { refused }) => sum + refused.length, 0),
      notes: this.#records.all().reduce((sum, { notes }) => sum + notes.length, 0),
      conflicts: [...this.#conflicts.values()].flat().length,
      lastWriteAt: this.#lastWriteAt,
    };
  }

  /** What stands of a service, as the registry's source reads it; what does not, with the reason; and what people should know of it. */
  service(id: string): {
    readonly placed: readonly Placed[];
    readonly refused: readonly Rejection[];
    readonly notes: readonly Note[];
  } {
    const { refused = [], notes = [] } = this.#records.get(id) ?? {};
    const conflicts = this.#conflicts.get(id) ?? [];
    return { placed: this.#comparison.standing(id).ours, refused: [...conflicts, ...refused], notes };
  }

  /** Ends all. @param isLeaving whether what was written goes, too */
  async close(isLeaving: boolean): Promise<void> {
    if (isLeaving && this.#mayWrite()) await this.#leave();
    this.#closing.abort();
    this.#end();
    await Promise.all([this.#before, this.#renewals.close()]);
    await this.#hand.close();
  }

  /** Whether anything there is ours to look after. What only marks say is not: another Pontoon may have our owner's name by mistake. */
  #isActive(): boolean {
    const { claims, ledger, orders } = this.#context;
    if (claims.publications.some(({ config }) => config.to === this.registry)) return true;
    return orders().registries[this.registry] !== undefined || ledger.ids(this.registry).length > 0;
  }

  #state(): Pick<TargetStatus, 'state' | 'reason'> {
    const { unreadable, owner, isComplete } = this.#context;
    const { error: away } = this.#election;
    const { rival } = this.#rivals;
    if (rival !== undefined) {
      const what = `another process writes there as "${owner}", too (run ${rival})`;
      return { state: 'stopped', reason: `${what}: configure coordination, or another state.owner there; then reload` };
    }
    if (!this.#isActive()) return { state: 'idle', reason: undefined };
    if (away !== undefined)
      return { state: this.#mayRenew() ? 'renewing' : 'standby', reason: `coordination does not answer: ${away}` };
    if (!this.#leads) return { state: 'standby', reason: 'another replica writes' };
    const reason = unreadable(this.registry);
    if (reason !== undefined) return { state: 'waiting', reason };
    const error = this.#error ?? this.#renewalError;
    if (error !== undefined) return { state: 'failing', reason: error };
    return { state: 'writing', reason: isComplete() ? undefined : 'withdraws nothing until all registries are read' };
  }

  #mayWrite(): boolean {
    const { error, isLeader } = this.#election;
    if (!this.#isOpen || !isLeader || error !== undefined || this.#rivals.rival !== undefined) return false;
    return this.#context.unreadable(this.registry) === undefined;
  }

  /** While the store of coordination is away, nobody else may have been chosen: the last leader goes on with its leases. */
  #mayRenew(): boolean {
    if (this.#rivals.rival !== undefined || this.#closing.signal.aborted) return false;
    return this.#election.isLeader || (this.#election.error !== undefined && this.#records.size > 0);
  }

  #end(): void {
    if (!this.#isOpen) return;
    this.#isOpen = false;
    this.#ending.abort();
    this.#before = this.#before.then(() => this.#queue.close());
  }

  #stop(): void {
    this.#renewals.clear();
    this.#ending.abort();
    this.#log.error(this.#state(), 'nothing is written into this registry any more');
  }

  /** Takes all back, or gives up. */
  async #leave(): Promise<void> {
    this.#comparison.isLeaving = true;
    const end = performance.now() + longestLeave;
    this.#all();
    const isLeft = (): boolean => this.#records.all().some(({ placed }) => placed.length > 0);
    while ((this.#queue.size > 0 || isLeft()) && this.#mayWrite() && performance.now() < end) await sleep(leavePoll);
    if (isLeft()) this.#log.warn('not all that was published could be withdrawn: pontoon withdraw does it later');
  }

  #all(): void {
    const { claims, ledger } = this.#context;
    const prefix = `${encodeURIComponent(this.registry)}/`;
    for (const id of claims.ids()) if (id.startsWith(prefix)) this.#queue.add(id);
    for (const id of [...ledger.ids(this.registry), ...this.#comparison.ours().keys(), ...this.#records.ids()])
      this.#queue.add(id);
  }

  /** Does not throw. */
  async #work(id: string): Promise<void> {
    await this.#busy.get(id);
    if (!this.#mayWrite()) return;
    const verdict = this.#comparison.verdict(id, this.#records.get(id));
    if (verdict.conflicts.length > 0) this.#conflicts.set(id, verdict.conflicts);
    else this.#conflicts.delete(id);
    if (verdict.what === 'nothing') {
      this.#records.forget(id);
      this.#causes.delete(id);
    } else if (verdict.what === 'wait') this.#queue.add(id, Math.ceil(verdict.ms));
    else if (verdict.what === 'keep') this.#keep(id, verdict);
    else {
      const writing = this.#write(id, verdict);
      this.#busy.set(id, writing);
      await writing;
      this.#busy.delete(id);
    }
  }

  /** Takes over what stands as it is, with its leases. */
  #keep(id: string, { service, placed, parties }: Extract<Verdict, { what: 'keep' }>): void {
    const known = this.#records.get(id);
    const isSame = known !== undefined && isDeepStrictEqual(known.service, service);
    const unseen = (known?.unseenUntil ?? 0) - performance.now();
    this.#causes.delete(id);
    this.#records.settle(id, parties, {
      service,
      placed,
      refused: isSame ? known.refused : [],
      notes: isSame ? known.notes : [],
      unseenUntil: unseen > 0 ? (known?.unseenUntil ?? 0) : 0,
      notBefore: 0,
      tries: 0,
      state: 'written',
    });
    // A look in between is not the one that is due when the source has read what was written; nor is one that began just before that time and ends after it.
    if ((known?.unseenUntil ?? 0) > 0) this.#queue.add(id, Math.max(0, Math.ceil(unseen)));
  }

  async #write(id: string, { service, before, tries, parties }: Extract<Verdict, { what: 'write' }>): Promise<void> {
    const { signal } = this.#ending;
    // Before it is there: where marks are lost, only this tells it from what registered itself.
    this.#records.note(id, parties, service, [...service.instances, ...before.map(({ instance }) => instance)]);
    try {
      const { placed, refused, notes = [] } = await this.#hand.write(service, before, signal);
      const now = performance.now();
      const pause = refused.length > 0 ? this.#pauses.refused(tries) : this.#pauses.repair(tries);
      const unseenUntil = now + this.kind.seenWithin;
      const notBefore = now + pause;
      const record = { service, placed, refused, notes, unseenUntil, notBefore, tries, state: 'written' } as const;
      this.#records.settle(id, parties, record);
      this.#succeeded(id, service, before, placed, parties);
      // What its source reads then is compared.
      this.#queue.add(id, refused.length > 0 ? pause : this.kind.seenWithin + 1);
    } catch (error) {
      this.#records.doubt(id, service, before, tries);
      if (signal.aborted) return;
      if (this.#mayWrite()) this.#failed(id, tries, error);
      else this.#queue.add(id, this.#pauses.repair(0));
    }
  }

  #succeeded(
    id: string,
    service: PublishedService,
    before: readonly Placed[],
    placed: readonly Placed[],
    { publications: [publication = ''], hosts: [host = ''] }: Parties,
  ): void {
    if (this.#error !== undefined) this.#log.info('the registry takes writes again');
    this.#error = undefined;
    this.#pauses.succeeded();
    this.#counts.written++;
    this.#lastWriteAt = Date.now();
    const cause = this.#causes.get(id);
    this.#causes.delete(id);
    const took = cause?.at === undefined ? undefined : performance.now() - cause.at;
    const text = changeText(
      before,
      placed.map(({ instance }) => instance),
    );
    this.#context.told({
      registry: this.registry,
      service: service.key,
      host,
      publication,
      text,
      cause: cause?.what ?? 'compared',
      took,
    });
  }

  #failed(id: string, tries: number, error: unknown): void {
    const reason = reasonOf(error);
    this.#counts.failed++;
    if (this.#error === undefined)
      this.#log.warn(
        { service: id, reason },
        'the registry takes no writes: they are tried again, and what is there stays',
      );
    this.#error = reason;
    // Of those that failed together one is enough.
    const rest = this.#queue.isResting ? 0 : this.#pauses.failed();
    this.#queue.add(id, rest === undefined ? this.#pauses.alone(tries) : 0);
    if (rest !== undefined && rest > 0) this.#queue.rest(rest);
  }

  /** Does not throw. */
  async #renew(id: string): Promise<void> {
    const record = this.#records.get(id);
    // What is being written is renewed by that.
    if (record === undefined || record.state !== 'written' || this.#busy.has(id)) return;
    if (!this.#mayRenew()) {
      if (this.#election.error !== undefined) return;
      // Another one does.
      this.#renewals.clear();
      this.#records.clear();
      return;
    }
    const renewing = this.#renewOf(id, record);
    this.#busy.set(id, renewing);
    await renewing;
    this.#busy.delete(id);
  }

  async #renewOf(id: string, record: WriteRecord): Promise<void> {
    try {
      const isKnown = await this.#hand.renew(record.service, record.placed, this.#closing.signal);
      this.#counts.renewed++;
      this.#renewalError = undefined;
      if (isKnown || this.#records.get(id) !== record) return;
      this.#records.lose(id, record);
      this.want(id, 'its lease was lost', undefined);
    } catch (error) {
      if (this.#closing.signal.aborted) return;
      this.#counts.renewalsFailed++;
      const every = this.kind.renewEvery?.(record.service.settings as never) ?? 0;
      this.#renewals.again(id, Math.ceil(every / 3));
      if (this.#renewalError === undefined && this.#error === undefined)
        this.#log.warn({ reason: reasonOf(error) }, 'leases cannot be renewed; it is tried again');
      this.#renewalError = reasonOf(error);
    }
  }
}
