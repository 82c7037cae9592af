import { setTimeout as sleep } from 'node:timers/promises';
import { isDeepStrictEqual } from 'node:util';
import { reasonOf } from '#model/reason.js';
import type { RegistryService } from '#model/service.js';
import { type Cause, cause, type Source, type SourceContext, type SourceOutput } from '#sources/contract.js';
import { Turn } from '#sources/turn.js';
import { type DeltaAnswer, EurekaClient } from './client.js';
import { applyDelta, hashCode, keepMissing, keepOf, type Leases } from './leases.js';
import { byApplication, type Lookup, VipLookup } from './lookup.js';
import type { EurekaConfig } from './schema.js';
import { sameService, serviceKey, toService } from './service.js';

// Servers keep what changed for three minutes; whoever was away longer has missed something.
const DELTA_REACH_MS = 120_000;
// A server whose cache is filled while leases come keeps that answer until the next change, for up to three minutes, with a count that agrees with it. So when
// changes have ended, everything is read once more: after so many intervals without any.
const QUIET_POLLS = 3;
// A server may go on with a delta that its own full answer contradicts: one that its cache took amid changes, for up to three minutes; one whose count it makes
// in another way, for ever. While it says nothing else, everything is read again ever more seldom, until it is this often.
const CONTRADICTION_MS = 30_000;

/** Reads a Eureka registry by polling: everything once, then what changed. */
export class EurekaSource implements Source {
  readonly #config: EurekaConfig;
  readonly #context: SourceContext;

  constructor(config: EurekaConfig, context: SourceContext) {
    this.#config = config;
    this.#context = context;
  }

  async run(out: SourceOutput, signal: AbortSignal): Promise<void> {
    const client = new EurekaClient(this.#config);
    try {
      await new Session(client, this.#config, this.#context, out, signal).run();
    } catch (error) {
      if (!signal.aborted) throw error;
    } finally {
      await client.close();
    }
  }
}

/** One run of a source. */
class Session {
  /** What the server holds, as of its last answer. */
  #server: Leases = new Map();
  /** What was given out: that, and what is missing there but is not yet believed to be gone. */
  #shown: Leases = new Map();
  /** The same by service. */
  #services: Leases = new Map();
  readonly #lookup: Lookup;
  /** The server that answered last. */
  #address = '';
  #answeredAt = 0;
  /** When news came last, if nothing was fetched in full since. */
  #newsAt: number | undefined;
  #settledAt = 0;
  #failed = false;
  #deltaRefused = false;
  /** A delta that disagrees with what the server gives in full, and for how long it is no reason to read that again. */
  #contradiction: { readonly delta: DeltaAnswer; readonly pause: number; readonly until: number } | undefined;

  constructor(
    private readonly client: EurekaClient,
    private readonly config: EurekaConfig,
    private readonly context: SourceContext,
    private readonly out: SourceOutput,
    private readonly signal: AbortSignal,
  ) {
    this.#lookup = config.lookup === 'vip' ? new VipLookup() : byApplication;
  }

  async run(): Promise<void> {
    await this.#first();
    for (;;) {
      await sleep(this.config.pollInterval * (0.9 + 0.2 * Math.random()), undefined, { signal: this.signal });
      try {
        await this.#poll();
      } catch (error) {
        this.signal.throwIfAborted();
        this.#failed = true;
        this.#deltaRefused = false;
        this.out.state({ kind: 'stale', error: error as Error });
      }
    }
  }

  async #first(): Promise<void> {
    this.out.state({ kind: 'connecting' });
    let answer = await this.client.applications(this.signal);
    if (answer.leases.size === 0) answer = await this.client.applicationsElsewhere(answer.server, this.signal);
    this.out.state({ kind: 'syncing' });
    const told = this.#answered('full fetch');
    this.#address = answer.server;
    this.#server = this.#shown = answer.leases;
    this.#services = await this.#lookup.services(answer.leases);
    const listing = this.out.listing();
    for await (const services of this.#inSlices()) listing.add(services);
    listing.commit(told);
  }

  async #poll(): Promise<void> {
    if (this.#mustFetchAll() || !(await this.#delta())) await this.#full();
    if (this.#failed) this.out.state({ kind: 'live' });
    this.#failed = false;
    this.out.alive();
  }

  #mustFetchAll(): boolean {
    const now = performance.now();
    const settled = now >= this.#settledAt;
    return (
      this.#failed ||
      this.#deltaRefused ||
      now - this.#answeredAt > DELTA_REACH_MS ||
      now - (this.#newsAt ?? now) > QUIET_POLLS * this.config.pollInterval ||
      (settled && this.#shown !== this.#server)
    );
  }

  /** Whether the delta was enough. */
  async #delta(): Promise<boolean> {
    const delta = await this.client.delta(this.signal);
    this.#deltaRefused = delta === undefined;
    // Each server has its own list of changes: that of another one does not begin where this one's ended.
    if (delta === undefined || delta.server !== this.#address) return false;
    const told = this.#answered('delta');
    const server = applyDelta(this.#server, delta.applications);
    if (hashCode(server) !== delta.hashCode) return this.#isKnownContradiction(delta);
    this.#contradiction = undefined;
    const wanted = this.#shown === this.#server ? server : applyDelta(this.#shown, delta.applications);
    if (await this.#show(server, wanted, told)) this.#newsAt = performance.now();
    return true;
  }

  /** Whether everything was read since the server says this, and not long ago. If not, it is to be read now. */
  #isKnownContradiction(delta: DeltaAnswer): boolean {
    const now = performance.now();
    const known = isDeepStrictEqual(this.#contradiction?.delta, delta) ? this.#contradiction : undefined;
    if (known !== undefined && now < known.until) return true;
    const pause = known === undefined ? this.config.pollInterval : Math.min(2 * known.pause, CONTRADICTION_MS);
    this.#contradiction = { delta, pause, until: now + pause };
    return false;
  }

  async #full(): Promise<void> {
    const answer = await this.client.applications(this.signal);
    const told = this.#answered('full fetch');
    if (this.#failed || answer.server !== this.#address) this.#settledAt = performance.now() + this.config.settleTime;
    this.#address = answer.server;
    const settling = performance.now() < this.#settledAt;
    const wanted = settling ? keepMissing(answer.leases, this.#shown) : answer.leases;
    this.#newsAt = (await this.#show(answer.leases, wanted, told)) ? performance.now() : undefined;
  }

  #answered(what: string): Cause {
    const told = cause(what);
    this.#answeredAt = told.observedAt;
    return told;
  }

  /** Gives out what differs from what was shown. @returns whether anything does */
  async #show(server: Leases, wanted: Leases, told: Cause): Promise<boolean> {
    const before = this.#services;
    this.#shown = await this.#confirmed(wanted);
    this.#server = server;
    this.#services = await this.#lookup.services(this.#shown);
    const removed = this.#lost(this.#services, before).map((name) => serviceKey(this.context.registry, name));
    if (removed.length > 0) this.out.update([], removed, told);
    let isNews = removed.length > 0;
    for await (const services of this.#inSlices(before)) {
      isNews = true;
      this.out.update(services, [], told);
    }
    return isNews;
  }

  /** Asks another server before services go: only those leases of theirs go that are missing there too. */
  async #confirmed(wanted: Leases): Promise<Leases> {
    const lost = this.#lost(await this.#lookup.services(wanted));
    if (lost.length === 0) return wanted;
    let second = this.#shown;
    try {
      second = (await this.client.applicationsElsewhere(this.#address, this.signal)).leases;
    } catch (error) {
      this.signal.throwIfAborted();
      this.context.log.warn(
        { reason: reasonOf(error), services: lost },
        'services are gone, which no second answer confirms yet',
      );
    }
    const names = new Set(lost);
    return keepOf(wanted, second, (application, lease) =>
      [...this.#lookup.names(application, lease)].some((name) => names.has(name)),
    );
  }

  /** Services that are no longer there. */
  #lost(now: Leases, before = this.#services): string[] {
    return [...before.keys()].filter((name) => !now.has(name) && this.context.includes(name));
  }

  /** The services that differ from those before, in batches, with a turn of the event loop for others after each. */
  async *#inSlices(before: Leases = new Map()): AsyncGenerator<RegistryService[]> {
    let services: RegistryService[] = [];
    const turn = new Turn();
    for (const [name, leases] of this.#services) {
      if (this.context.includes(name) && !sameService(before.get(name) ?? new Map(), leases))
        services.push(toService(this.context.registry, name, leases));
      if (!turn.isLong) continue;
      if (services.length > 0) yield services;
      services = [];
      await turn.next();
    }
    if (services.length > 0) yield services;
  }
}
