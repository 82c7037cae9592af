import { isDeepStrictEqual } from 'node:util';
import type { Parties, WriteRecord } from './compare.js';
import { type Placed, type PublishedInstance, type PublishedService, placeOf, type TargetKind } from './contract.js';
import type { Ledger } from './ledger.js';
import type { Renewals } from './renewals.js';

/** What was written into one registry by this process, or taken over as it stood, by the ids of the services: each with its leases and its line in the ledger. */
export class Records {
  readonly #kind: TargetKind;
  readonly #ledger: Ledger;
  readonly #renewals: Renewals;
  readonly #records = new Map<string, WriteRecord>();

  constructor(kind: TargetKind, ledger: Ledger, renewals: Renewals) {
    this.#kind = kind;
    this.#ledger = ledger;
    this.#renewals = renewals;
  }

  get size(): number {
    return this.#records.size;
  }

  get(id: string): WriteRecord | undefined {
    return this.#records.get(id);
  }

  has(id: string): boolean {
    return this.#records.has(id);
  }

  ids(): Iterable<string> {
    return this.#records.keys();
  }

  all(): WriteRecord[] {
    return [...this.#records.values()];
  }

  /** So it stands now. */
  settle(id: string, parties: Parties, record: WriteRecord): void {
    this.#records.set(id, record);
    const { service, placed } = record;
    const instances = placed.map(({ instance }) => instance);
    this.note(id, parties, service, instances);
    this.#renewals.set(id, placed.length === 0 ? undefined : this.#kind.renewEvery?.(service.settings as never));
  }

  /** A write failed halfway: what stands now is not known. */
  doubt(id: string, service: PublishedService, before: readonly Placed[], tries: number): void {
    const known = this.#records.get(id);
    const placed = new Map([...(known?.placed ?? []), ...before].map((one) => [placeOf(one.instance), one]));
    const { refused = [], notes = [], state = 'uncertain' } = known ?? {};
    const next = state === 'lost' ? 'lost' : 'uncertain';
    const record = { service, placed: [...placed.values()], refused, notes, unseenUntil: 0, notBefore: 0, tries };
    this.#records.set(id, { ...record, state: next });
  }

  /** The registry does not know its leases any more. */
  lose(id: string, record: WriteRecord): void {
    this.#records.set(id, { ...record, state: 'lost', notBefore: 0 });
  }

  /** Writes down whose a service is, and where its instances stand. */
  note(
    id: string,
    { publications, hosts }: Parties,
    { protocol, settings }: PublishedService,
    instances: readonly PublishedInstance[],
  ): void {
    const places = [...new Set(instances.map(placeOf))];
    const entry = { publication: publications[0] ?? '', host: hosts[0] ?? '', protocol, settings, places };
    if (!isDeepStrictEqual(this.#ledger.get(id), entry)) this.#ledger.set(id, entry);
  }

  forget(id: string): void {
    this.#records.delete(id);
    this.#renewals.delete(id);
    this.#ledger.delete(id);
  }

  /** What stands is to be read anew; the ledger stays. */
  clear(): void {
    this.#records.clear();
  }
}
