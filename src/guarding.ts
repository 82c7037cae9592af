import type { Logger } from 'pino';
import type { Catalog } from '#catalog/catalog.js';
import { inquiryScope } from '#catalog/dialling.js';
import type { Coordination } from '#coordination/contract.js';
import { type AnswerCounts, Inquiry } from '#guard/inquiry.js';
import { type Release, Releases } from '#guard/releases.js';
import type { Journal } from '#journal/journal.js';
import { nameOfId } from '#model/service.js';
import { Prober } from '#probe/prober.js';

/** Connections that are opened at a time. */
const concurrency = 64;

/** The catalog's guards at work: what they doubt is asked, what they do is told, what operators release ends. */
export class Guarding {
  readonly #inquiry: Inquiry;
  readonly #releases: Releases;
  readonly #startedAt = Date.now();
  readonly #catalog: Catalog;
  readonly #begun = new Map<string, number>();
  /** Registries that a first start waits for no longer. */
  readonly #waived = new Set<string>();

  /** @param waived hears when a first start waits for one registry less */
  constructor(
    catalog: Catalog,
    {
      coordination,
      journal,
      log,
      waived,
    }: {
      readonly coordination: Coordination;
      readonly journal: Journal;
      readonly log: Logger;
      readonly waived: () => void;
    },
  ) {
    this.#catalog = catalog;
    this.#inquiry = new Inquiry(new Prober({ concurrency }), inquiryScope(catalog));
    catalog.on('doubt', ({ guard, registry, held }) => this.#inquiry.ask(guard, registry, held));
    catalog.on('hold', ({ registry, hold, event, text }) => {
      const { scope, service } = hold;
      const key = `${registry} ${scope}`;
      if (event === 'begun') this.#begun.set(key, (this.#begun.get(key) ?? 0) + 1);
      const of = service === undefined ? {} : { service };
      const message = event === 'begun' ? 'guard holds what a registry has lost' : 'a hold ended';
      log[event === 'begun' ? 'warn' : 'info']({ registry, ...of, reason: text }, message);
      const what = `${event === 'begun' ? 'hold' : 'hold ended'}${service === undefined ? '' : ` of ${nameOfId(service)}`}`;
      journal.note(registry, `guard of the ${scope}`, `${what}: ${text}`);
    });
    this.#releases = new Releases(coordination, ({ what, registry, service }, before) => {
      if (what === 'holds') {
        const isChosen = (id: string): boolean => service === undefined || nameOfId(id) === service;
        const instances = catalog.guard(registry)?.release(isChosen, before) ?? 0;
        if (instances > 0) log.warn({ registry, service, instances }, 'released by an operator');
      } else if (before >= this.#startedAt) {
        // What an operator said of an earlier start says nothing of this one.
        log.warn({ registry }, 'not waited for, by an operator');
        this.#waived.add(registry);
        waived();
      }
    });
  }

  /** What instances that were asked have said since the start. */
  get answers(): AnswerCounts {
    return this.#inquiry.counts;
  }

  /** How many holds have begun since the start. */
  begun(registry: string, scope: 'registry' | 'service'): number {
    return this.#begun.get(`${registry} ${scope}`) ?? 0;
  }

  /** Hears from now on what operators release in other replicas. */
  start(): void {
    this.#releases.start();
  }

  isWaived(registry: string): boolean {
    return this.#waived.has(registry);
  }

  release(release: Release): void {
    this.#releases.release(release);
  }

  /** How many instances of a registry are held, or of its services of a name. */
  held(registry: string, service: string | undefined): number {
    const guard = this.#catalog.guard(registry);
    const services = guard?.services().filter((id) => service === undefined || nameOfId(id) === service) ?? [];
    return services.reduce((sum, id) => sum + (guard?.heldOf(id).size ?? 0), 0);
  }

  close(): void {
    this.#inquiry.close();
  }
}
