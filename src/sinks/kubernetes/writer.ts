import type { Logger } from 'pino';
import type { Projection } from '#istio/projection.js';
import { Rate } from '#queue/rate.js';
import { WorkQueue } from '#queue/workqueue.js';
import type { Ledger } from './ledger.js';
import { type Manifest, type ManifestOptions, manifests, type Refused, type Seen } from './manifest.js';
import type { ServiceEntryObjects } from './objects.js';
import { type Failure, failureOf, type Problem } from './problem.js';

/** Writes at a time. */
const PARALLEL = 16;
/** ms after which one host is tried again, at first and at most; what has been repaired is repaired again at this pace, too. */
const SHORTEST_MS = 1_000;
const LONGEST_MS = 60_000;
/** ms for which all wait when the API server takes nothing, at first and at most. */
const SHORTEST_REST_MS = 200;
const LONGEST_REST_MS = 10_000;
/** ms until it is asked again whether all registries have been read. */
const COMPLETE_POLL_MS = 1_000;

export interface WriterOptions extends ManifestOptions {
  /** Writes per second, at most. */
  readonly rate: number;
  /** ms. */
  readonly resync: number;
  readonly isComplete: () => boolean;
  /** Whether a host's objects are this process's to write. */
  readonly serves: (host: string) => boolean;
  /** Asked right before each write. */
  readonly mayWrite: () => boolean;
  /** Is called when the API server knows no such objects any more, in this version at least. */
  readonly unknown: () => void;
  readonly log: Logger;
}

type Step =
  | { readonly kind: 'apply'; readonly manifest: Manifest }
  | { readonly kind: 'delete'; readonly object: Seen };

/**
 * Makes the objects of each host what they should be: those that differ are written, then those that should not be are deleted. What is written is what the
 * projection says at that moment, so that of many changes the latest counts.
 */
export class Writer {
  readonly #ledger: Ledger;
  readonly #projection: Projection;
  readonly #options: WriterOptions;
  readonly #rate: Rate;
  readonly #queue: WorkQueue;
  /** Hosts that are to have objects, and the registries that hold them. */
  readonly #wanted = new Map<string, readonly string[]>();
  /** Hosts that were known since the start: what they have no more is to go. */
  readonly #known = new Set<string>();
  readonly #problems = new Map<string, readonly Problem[]>();
  /** What the API server made of what was written, where that is something else: object → hashes of both. */
  readonly #altered = new Map<string, string>();
  /** How often a host was tried or repaired since the last resync. */
  readonly #tries = new Map<string, number>();
  readonly #counts = { written: 0, deleted: 0 };
  /** ms that the next rest takes. */
  #rest = SHORTEST_REST_MS;
  #lastWriteAt: number | undefined;
  #objects: ServiceEntryObjects | undefined;
  #signal = AbortSignal.abort();
  #isPaused = false;
  #resyncing: NodeJS.Timeout | undefined;
  #completing: NodeJS.Timeout | undefined;
  /** Why the API server takes no writes now. */
  error: string | undefined;

  constructor(ledger: Ledger, projection: Projection, options: WriterOptions) {
    this.#ledger = ledger;
    this.#projection = projection;
    this.#options = options;
    this.#rate = new Rate(options.rate);
    this.#queue = new WorkQueue((host) => this.#reconcile(host), PARALLEL);
  }

  get services(): number {
    return this.#wanted.size;
  }

  /** A host is to have objects, or other ones. */
  wants(host: string, registries: readonly string[]): void {
    this.#wanted.set(host, registries);
    this.look(host);
  }

  /** A host is to have none any more. */
  forgoes(host: string): void {
    this.#wanted.delete(host);
    this.look(host);
  }

  look(host: string): void {
    this.#known.add(host);
    this.#tries.delete(host);
    if (!this.#signal.aborted) this.#queue.add(host);
  }

  /** Somebody else changed or deleted an object of this host: it is made good, ever more slowly if that goes on. */
  repair(host: string): void {
    if (!this.#options.serves(host)) return;
    const isFirst = !this.#tries.has(host);
    const delay = this.#delay(host, LONGEST_MS);
    this.#queue.add(host, isFirst ? 0 : delay);
  }

  /** An object that stands in the way of ours has changed, or is gone. */
  freed(id: string): void {
    for (const [host, problems] of this.#problems)
      if (problems.some(({ object }) => object === id)) this.#queue.add(host);
  }

  /** Hosts that are to have objects. */
  hosts(): Iterable<string> {
    return this.#wanted.keys();
  }

  /** How the objects are to be asked for: in another version, if the one before is served no more. */
  use(objects: ServiceEntryObjects): void {
    this.#objects = objects;
    if (!this.#signal.aborted) this.#all();
  }

  /** The ledger is old: nothing is written, since what is there now may be somebody else's. */
  pause(): void {
    this.#isPaused = true;
    this.#queue.pause();
  }

  /** The ledger is what there is again. */
  resume(): void {
    this.#isPaused = false;
    if (!this.#signal.aborted) this.#queue.open();
  }

  /** The ledger is complete: from now on, until the signal aborts, all is compared and written. */
  start(signal: AbortSignal): void {
    this.#signal = signal;
    this.#all();
    if (!this.#isPaused) this.#queue.open();
    this.#resyncing = setInterval(() => this.#all(), this.#options.resync);
  }

  /** Resolves when nothing is being written any more. */
  async stop(): Promise<void> {
    clearInterval(this.#resyncing);
    clearTimeout(this.#completing);
    this.#completing = undefined;
    await this.#queue.close();
    this.#problems.clear();
    this.error = undefined;
  }

  problemsOf(host: string): readonly Problem[] {
    return this.#problems.get(host) ?? [];
  }

  status() {
    return {
      pending: this.#queue.size,
      ...this.#counts,
      lastWriteAt: this.#lastWriteAt,
      problems: [...this.#problems.values()].flat(),
    };
  }

  #all(): void {
    this.#tries.clear();
    for (const host of new Set([...this.#wanted.keys(), ...this.#ledger.hosts()])) this.#queue.add(host);
  }

  /** Does not throw. */
  async #reconcile(host: string): Promise<void> {
    const signal = this.#signal;
    const failed: Problem[] = [];
    /** Objects that are not tried again in this pass. */
    const passed = new Set<string>();
    for (;;) {
      const problems = [...failed];
      if (this.#step(host, passed, problems) === undefined) return this.#settle(host, problems, failed);
      await this.#rate.turn(signal).catch(() => undefined);
      if (signal.aborted) return;
      if (this.#isPaused) return this.#queue.add(host);
      if (!this.#options.mayWrite()) return this.#queue.add(host, SHORTEST_MS);
      // It may have changed while it waited for its turn.
      const step = this.#step(host, passed, []);
      if (step === undefined) continue;
      const object = step.kind === 'apply' ? step.manifest.id : step.object.id;
      try {
        await this.#write(step, signal);
      } catch (error) {
        if (signal.aborted) return;
        const failure = failureOf(error);
        if (failure.isServer) return this.#wait(host, failure);
        if (failure.isUnknown) {
          this.#options.unknown();
          return this.#queue.add(host, SHORTEST_MS);
        }
        passed.add(object);
        failed.push(this.#problem(host, object, failure));
      }
    }
  }

  /** What is to be written next for a host. @param problems takes up what stands in its way */
  #step(host: string, passed: ReadonlySet<string>, problems: Problem[]): Step | undefined {
    const { serves } = this.#options;
    if (!serves(host)) return undefined;
    const wanted = new Set<string>();
    let isBlocked = false;
    for (const one of this.#manifests(host)) {
      wanted.add(one.id);
      if ('reason' in one) {
        problems.push(this.#problem(host, one.id, { kind: 'refused', reason: one.reason }));
        isBlocked = true;
        continue;
      }
      const seen = this.#ledger.get(one.id);
      if (seen !== undefined && !seen.isOurs) {
        const reason = `there is one of this name already, by ${seen.manager || 'somebody else'}: it stays as it is`;
        problems.push(this.#problem(host, one.id, { kind: 'foreign', reason }));
        isBlocked = true;
      } else if (passed.has(one.id)) isBlocked = true;
      else if (seen?.hash !== one.hash && this.#altered.get(one.id) !== `${one.hash} ${seen?.hash}`)
        return { kind: 'apply', manifest: one };
    }
    // What was there stays until all of the new is.
    if (isBlocked) return undefined;
    const object = this.#ledger.ofHost(host).find(({ id }) => !wanted.has(id) && !passed.has(id));
    if (object === undefined) return undefined;
    if (this.#known.has(host) || this.#options.isComplete()) return { kind: 'delete', object };
    const reason = 'no registry holds it, but not all of them have been read yet';
    problems.push(this.#problem(host, object.id, { kind: 'kept', reason }));
    this.#awaitComplete();
    return undefined;
  }

  #manifests(host: string): readonly (Manifest | Refused)[] {
    const registries = this.#wanted.get(host);
    if (registries === undefined) return [];
    const ids = this.#ledger.ofHost(host).map(({ id }) => id);
    return this.#projection.entries(host).flatMap((resource) => manifests(resource, registries, this.#options, ids));
  }

  async #write(step: Step, signal: AbortSignal): Promise<void> {
    const objects = this.#objects as ServiceEntryObjects;
    if (step.kind === 'apply') {
      const { id, hash } = step.manifest;
      const known = this.#ledger.get(id);
      if (known?.isMoved) await objects.restoreHosts(step.manifest, known, signal);
      const now = await objects.apply(step.manifest, known, signal);
      this.#ledger.put(now);
      if (now.hash === hash) this.#altered.delete(id);
      else this.#altered.set(id, `${hash} ${now.hash}`);
      this.#counts.written++;
    } else {
      await objects.delete(step.object, signal);
      this.#ledger.drop(step.object);
      this.#altered.delete(step.object.id);
      this.#counts.deleted++;
    }
    this.#lastWriteAt = Date.now();
    this.#rest = SHORTEST_REST_MS;
    this.error = undefined;
  }

  /** It is the API server that fails: all of it waits. */
  #wait(host: string, { reason, retryAfter }: Failure): void {
    if (this.error === undefined) this.#options.log.warn({ reason }, 'Kubernetes takes no writes; they wait');
    this.error = reason;
    this.#queue.add(host);
    // Of those that failed together one is enough.
    if (this.#queue.isResting) return;
    this.#queue.rest(Math.max(this.#rest * (1 + Math.random()) * 0.7, retryAfter));
    this.#rest = Math.min(LONGEST_REST_MS, this.#rest * 1.5);
  }

  /** @param failed those of the problems that the API server made */
  #settle(host: string, problems: readonly Problem[], failed: readonly Problem[]): void {
    const isNews = problems.some((problem) => !this.#problems.get(host)?.includes(problem));
    const [first] = problems;
    if (first === undefined) {
      this.#problems.delete(host);
      // Done with for good.
      if (!this.#wanted.has(host) && this.#ledger.ofHost(host).length === 0) this.#known.delete(host);
    } else {
      if (isNews)
        this.#options.log[this.#problems.size === 0 ? 'warn' : 'debug'](
          { object: first.object, kind: first.kind, reason: first.reason },
          'an object in Kubernetes is not as it should be',
        );
      this.#problems.set(host, problems);
    }
    // An API server that has just started refuses for a while what it will take.
    const [isFailed, isRefused] = [failed.some(isOf('failed')), failed.some(isOf('refused'))];
    if (isFailed || isRefused) this.#queue.add(host, this.#delay(host, isFailed ? LONGEST_MS : this.#options.resync));
  }

  #problem(host: string, object: string, { kind, reason }: Pick<Problem, 'kind' | 'reason'>): Problem {
    const known = this.#problems.get(host)?.find((one) => one.object === object && one.reason === reason);
    return known ?? { object, host, kind, reason, since: Date.now() };
  }

  /** ms until a host's next try; longer each time. */
  #delay(host: string, longest: number): number {
    const tries = this.#tries.get(host) ?? 0;
    this.#tries.set(host, tries + 1);
    return Math.min(longest, SHORTEST_MS * 2 ** tries);
  }

  #awaitComplete(): void {
    this.#completing ??= setTimeout(() => {
      this.#completing = undefined;
      if (this.#options.isComplete()) this.#all();
      else if (!this.#signal.aborted) this.#awaitComplete();
    }, COMPLETE_POLL_MS);
  }
}

function isOf(kind: Problem['kind']) {
  return (problem: Problem): boolean => problem.kind === kind;
}
