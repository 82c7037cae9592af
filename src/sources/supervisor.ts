import { setTimeout as sleep } from 'node:timers/promises';
import { ExponentialBackoff } from 'cockatiel';
import type { Logger } from 'pino';
import type { RegistryView } from '#catalog/view.js';
import { asError, reasonOf } from '#model/reason.js';
import { serviceId } from '#model/service.js';
import type { Source, SourceOutput, SourceState } from './contract.js';

const firstRetry = 500;
const longestRetry = 15_000;
/** ms after which a source that goes on failing is logged again. */
const reminderPause = 60_000;

/** How a source is doing, for people and metrics. Times are ms since 1970, 0 for never. */
export interface SourceStatus {
  readonly registry: string;
  readonly state: SourceState['kind'];
  /** Since when it is in this state. */
  readonly since: number;
  /** The last error; undefined while it is live. */
  readonly error: string | undefined;
  /** Last proof of life. */
  readonly aliveAt: number;
  /** Last change or listing that was taken in. */
  readonly changedAt: number;
  readonly errors: number;
  /** How often it was started. */
  readonly runs: number;
}

/** What a supervisor writes to. */
export interface SupervisorOptions {
  readonly view: RegistryView;
  /** ms without a proof of life until the source counts as stale. */
  readonly staleAfter: number;
  readonly log: Logger;
  /** Told of each new state. */
  readonly told?: (state: SourceState) => void;
}

/**
 * Runs one source: starts it again after an error, with jittered exponential pauses; notices when it has gone silent; keeps count. What a source has
 * written stays in its view whatever becomes of the source.
 */
export class Supervisor {
  readonly #source: Source;
  readonly #options: SupervisorOptions;
  readonly #stopping = new AbortController();
  #done: Promise<void> = Promise.resolve();
  #isListed = false;
  #state: SourceState = { kind: 'connecting' };
  #since = Date.now();
  #aliveAt = 0;
  /** Monotonic twin of `#aliveAt`: a clock that is set makes nothing stale. */
  #alive = performance.now();
  #changedAt = 0;
  #errors = 0;
  #warnedAt = Number.NEGATIVE_INFINITY;
  #runs = 0;

  constructor(source: Source, options: SupervisorOptions) {
    this.#source = source;
    this.#options = options;
    if (options.view.isRestored) this.#state = { kind: 'stale', error: new Error('known from before the start only') };
  }

  start(): void {
    this.#done = this.#keepRunning();
  }

  /** Ends the source and waits for it. */
  async stop(): Promise<void> {
    this.#stopping.abort();
    await this.#done;
  }

  /** Whether this source, as it is configured now, has listed its registry completely. */
  get isListed(): boolean {
    return this.#isListed && !this.#options.view.isSettling;
  }

  status(): SourceStatus {
    const state = this.#state;
    return {
      registry: this.#options.view.registry,
      state: state.kind,
      since: this.#since,
      error: 'error' in state ? reasonOf(state.error) : undefined,
      aliveAt: this.#aliveAt,
      changedAt: this.#changedAt,
      errors: this.#errors,
      runs: this.#runs,
    };
  }

  async #keepRunning(): Promise<void> {
    const { signal } = this.#stopping;
    const watchdog = setInterval(() => this.#watch(), this.#options.staleAfter / 4);
    const factory = new ExponentialBackoff({ initialDelay: firstRetry, maxDelay: longestRetry });
    let backoff = factory.next();
    while (!signal.aborted) {
      const changedBefore = this.#changedAt;
      this.#runs++;
      const run = { isOver: false };
      try {
        await this.#source.run(this.#output(run), signal).finally(() => {
          run.isOver = true;
        });
        if (!signal.aborted) throw new Error('the source ended without being asked to');
      } catch (error) {
        if (signal.aborted) break;
        this.#failed(asError(error));
        if (this.#changedAt !== changedBefore) backoff = factory.next();
        await sleep(backoff.duration, undefined, { signal }).catch(() => undefined);
        backoff = backoff.next(undefined);
      }
    }
    clearInterval(watchdog);
  }

  /** @param run what comes when it is over counts no more */
  #output(run: { readonly isOver: boolean }): SourceOutput {
    const { view } = this.#options;
    return {
      listing: () => {
        const listing = view.listing();
        return {
          add: (services) => listing.add(services),
          commit: (cause) => {
            if (run.isOver) return;
            this.#changed();
            this.#isListed = true;
            listing.commit(cause);
            this.#setState({ kind: 'live' });
          },
        };
      },
      update: (changed, removed, cause) => {
        if (run.isOver) return;
        this.#changed();
        view.update(changed, removed, cause);
      },
      unreadable: (key, error) => {
        if (run.isOver) return;
        this.#errors++;
        const reason = reasonOf(error);
        const known = view.unreadable.get(serviceId(key));
        if (known === undefined || reasonOf(known) !== reason)
          this.#options.log.warn({ service: key.name, reason }, 'service cannot be read; what is known of it stays');
        view.setUnreadable(key, error);
      },
      alive: () => {
        if (!run.isOver) this.#proveAlive();
      },
      state: (state) => {
        if (run.isOver) return;
        if (state.kind === 'stale' || state.kind === 'failed') this.#failed(state.error);
        else this.#setState(state);
      },
    };
  }

  #changed(): void {
    this.#changedAt = Date.now();
    this.#proveAlive();
  }

  #proveAlive(): void {
    this.#aliveAt = Date.now();
    this.#alive = performance.now();
    if (this.#state.kind === 'stale' && this.#state.error instanceof SilentError) this.#setState({ kind: 'live' });
  }

  #failed(error: Error): void {
    this.#errors++;
    this.#setState({ kind: this.#isKnown() ? 'stale' : 'failed', error });
  }

  #isKnown(): boolean {
    const { complete, isSettling, isRestored } = this.#options.view;
    return complete || isSettling || isRestored;
  }

  #setState(state: SourceState): void {
    const before = this.#state;
    const news = state.kind !== before.kind;
    const reason = 'error' in state ? reasonOf(state.error) : undefined;
    // A retry is no better news than the error that led to it, until it has succeeded.
    if ((state.kind === 'connecting' || state.kind === 'syncing') && 'error' in before) return;
    this.#state = state;
    if (news) {
      this.#since = Date.now();
      this.#options.told?.(state);
    }
    if (state.kind === 'live') this.#alive = performance.now();
    if (reason !== undefined) {
      const isDue = news || performance.now() - this.#warnedAt > reminderPause;
      if (!isDue) return;
      this.#warnedAt = performance.now();
      const consequence = state.kind === 'stale' ? 'what is known stays' : 'nothing is known of it yet';
      this.#options.log.warn({ state: state.kind, reason }, `source cannot read its registry; ${consequence}`);
    } else if (news)
      this.#options.log.info({ state: state.kind, services: this.#options.view.said.size }, 'source state');
  }

  #watch(): void {
    const silent = performance.now() - this.#alive;
    if (!('error' in this.#state) && silent > this.#options.staleAfter)
      this.#failed(new SilentError(`no sign of life for ${Math.round(silent / 1000)} s`));
  }
}

/** The source is running and says nothing. */
class SilentError extends Error {}
