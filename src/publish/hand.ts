import type { Logger } from 'pino';
import type { RegistryConfig } from '#config/schema.js';
import { Rate } from '#queue/rate.js';
import type { Placed, PublishedService, Target, TargetKind, Written } from './contract.js';

export interface HandContext {
  readonly owner: string;
  readonly directory: string | undefined;
  /** Asked right before each request that writes. */
  readonly mayWrite: () => boolean;
  readonly log: Logger;
}

/** A registry's target, opened when it is needed first, at the rate that is configured. */
export class Hand {
  readonly #open: () => Target;
  readonly #rate: Rate;
  #target: Target | undefined;
  /** Requests that write, without renewals. */
  requests = 0;

  constructor(config: RegistryConfig, kind: TargetKind, { owner, directory, mayWrite, log }: HandContext) {
    const { name } = config;
    this.#rate = new Rate(config.writes.rate);
    const turn = async (signal: AbortSignal): Promise<void> => {
      await this.#rate.turn(signal);
      if (!mayWrite()) throw new Error('this process writes no more');
      this.requests++;
    };
    this.#open = () =>
      kind.target(config, { registry: name, owner, directory, log: log.child({ registry: name }), turn });
  }

  async write(service: PublishedService, before: readonly Placed[], signal: AbortSignal): Promise<Written> {
    this.#target ??= this.#open();
    return this.#target.write(service, before, signal);
  }

  /** @returns whether the registry still knows all of them */
  async renew(service: PublishedService, placed: readonly Placed[], signal: AbortSignal): Promise<boolean> {
    this.#target ??= this.#open();
    return (await this.#target.renew?.(service, placed, signal)) ?? true;
  }

  /** Does not throw. */
  async close(): Promise<void> {
    await this.#target?.close().catch(() => undefined);
  }
}
