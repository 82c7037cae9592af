import { isDeepStrictEqual } from 'node:util';
import type { RegistryView } from '#catalog/view.js';
import { compareText } from '#model/mesh.js';
import {
  type Instance,
  instanceText,
  type Note,
  type RegistryService,
  type Rejection,
  type ServiceKey,
} from '#model/service.js';
import type { Claims } from './claims.js';
import {
  difference,
  type Placed,
  type PublishedInstance,
  type PublishedService,
  placeOf,
  type TargetKind,
} from './contract.js';
import type { IsOwn, Want } from './desired.js';
import type { Ledger } from './ledger.js';
import { markKeys, markOf } from './mark.js';
import type { Orders } from './orders.js';
import { defaultSettings } from './publication.js';
import { type Standing, standing } from './standing.js';

/** What is known of a service that was written, or taken over as it stood. */
export interface WriteRecord {
  readonly service: PublishedService;
  readonly placed: readonly Placed[];
  readonly refused: readonly Rejection[];
  /** What the target said of instances that it wrote. */
  readonly notes: readonly Note[];
  /** Until then the registry's source may not have read it: monotonic ms. */
  readonly unseenUntil: number;
  /** What is not as it should be is not tried again before: monotonic ms. */
  readonly notBefore: number;
  /** How often it was tried in vain. */
  readonly tries: number;
  /** `written`: by us. `uncertain`: a write failed halfway. `lost`: its leases are, and nothing of it stands, whatever the source says. */
  readonly state: 'written' | 'uncertain' | 'lost';
}

/** Whose a service is: those who want it, and those whose marks stand there. */
export interface Parties {
  readonly publications: readonly string[];
  readonly hosts: readonly string[];
}

/** What is to be done about a service in a registry. */
export type Verdict = { readonly parties: Parties; readonly conflicts: readonly Rejection[] } & (
  | { readonly what: 'nothing' }
  /** As it stands it is as it should be, or is to stay. */
  | { readonly what: 'keep'; readonly service: PublishedService; readonly placed: readonly Placed[] }
  | { readonly what: 'wait'; readonly ms: number }
  | {
      readonly what: 'write';
      readonly service: PublishedService;
      readonly before: readonly Placed[];
      readonly tries: number;
    }
);

/** What one looks at. */
export interface CompareContext {
  readonly claims: Claims;
  readonly ledger: Ledger;
  readonly orders: () => Orders;
  readonly isOwn: IsOwn;
  /** Whether the entries about a host are this process's to touch. */
  readonly serves: (host: string) => boolean;
  /** Whether a registry has been read since the start; one that is not waited for counts as read. */
  readonly isListed: (registry: string) => boolean;
  /** Whether every registry has been. */
  readonly isComplete: () => boolean;
  readonly view: (registry: string) => RegistryView | undefined;
}

/** Compares what stands in one registry with what the publications want. Changes nothing. */
export class Comparison {
  readonly #registry: string;
  readonly #kind: TargetKind;
  readonly #context: CompareContext;
  /** Whether all is to go. */
  isLeaving = false;

  constructor(registry: string, kind: TargetKind, context: CompareContext) {
    this.#registry = registry;
    this.#kind = kind;
    this.#context = context;
  }

  /** Services in which something of ours stands, each with the publications of its instances. */
  ours(): Map<string, readonly string[]> {
    const found = new Map<string, readonly string[]>();
    for (const [id, { key, instances }] of this.#context.view(this.#registry)?.said ?? []) {
      const own = instances.filter((instance) => this.#isOurs(key, instance));
      const known = this.#context.ledger.get(id)?.publication ?? '';
      if (own.length > 0)
        found.set(
          id,
          own.map(({ metadata }) => markOf(metadata)?.publication ?? known),
        );
    }
    return found;
  }

  /** As the registry's source reads it. */
  standing(id: string): Standing {
    const said = this.#said(id);
    return standing(said, (instance) => said !== undefined && this.#isOurs(said.key, instance));
  }

  /** Who has the service, unless it was withdrawn. */
  wantOf(id: string): Want | undefined {
    const { claims, orders } = this.#context;
    const { registries, publications } = orders();
    if (this.isLeaving || registries[this.#registry] !== undefined) return undefined;
    return claims.of(id).find(({ publication }) => publications[publication] !== 'withdrawn');
  }

  verdict(id: string, record: WriteRecord | undefined): Verdict {
    const now = performance.now();
    const want = this.wantOf(id);
    const found = this.standing(id);
    const before = standsNow(found, record, now);
    const parties = this.#parties(id, want, before);
    const base = want?.service ?? this.#remembered(id, record);
    if (base === undefined || (want === undefined && before.length === 0))
      return { what: 'nothing', parties, conflicts: [] };
    const asItStands = { ...base, instances: before.map(({ instance }) => instance) };
    const keep = { what: 'keep', service: asItStands, placed: before, parties, conflicts: [] } as const;
    if (this.#isPaused(parties)) return keep;
    const { free, conflicts } = this.#free(want?.service.instances ?? [], found);
    if (!this.#context.isComplete() && !this.#isOrdered(parties)) {
      // What a snapshot says may be outdated, and what is not known yet may be wanted, too.
      const isRead = want?.origins.every((origin) => this.#context.isListed(origin)) === true;
      if (!isRead || parties.hosts.some((host) => host !== want?.host)) return { ...keep, conflicts };
      const places = new Set(free.map(placeOf));
      free.push(...asItStands.instances.filter((one) => !places.has(placeOf(one))));
      free.sort((a, b) => compareText(a.address, b.address) || a.port - b.port);
    }
    const service = { ...base, instances: free };
    const isSame = record !== undefined && isDeepStrictEqual(record.service, service);
    if (record === undefined || record.state === 'written') {
      const isRefused = isSame && record.refused.length > 0;
      if (this.#isEqual(free, before)) return { ...keep, service, conflicts };
      // Some registries make something else of what they take: of a weight, say.
      const isAsWritten = isSame && this.#isEqual(instancesOf(record.placed), before);
      if (isAsWritten && !isRefused) return { ...keep, service, conflicts };
    }
    if (isSame && now < record.notBefore) return { what: 'wait', ms: record.notBefore - now, parties, conflicts };
    return { what: 'write', service, before, tries: isSame ? record.tries + 1 : 0, parties, conflicts };
  }

  #said(id: string): RegistryService | undefined {
    return this.#context.view(this.#registry)?.said.get(id);
  }

  #isOurs(key: ServiceKey, instance: Instance): boolean {
    const { isOwn, serves } = this.#context;
    if (!isOwn(key, instance)) return false;
    const host = markOf(instance.metadata)?.host ?? '';
    return host === '' ? true : serves(host);
  }

  #isEqual(instances: readonly PublishedInstance[], stands: readonly Placed[]): boolean {
    const { hasWeights } = this.#kind;
    const { set, gone } = difference(instances, stands, { hasWeights, ignores: [markKeys.run] });
    return set.length === 0 && gone.length === 0;
  }

  /** What is at no place where something is that is not ours. */
  #free(instances: readonly PublishedInstance[], { others }: Standing) {
    const conflicts: Rejection[] = [];
    const free = instances.filter((instance) => {
      const other = others.get(placeOf(instance));
      if (other === undefined) return true;
      const mark = markOf(other.metadata);
      const whose = mark === undefined ? 'it registered itself' : `the Pontoon "${mark.owner}" wrote it`;
      conflicts.push({ record: instanceText(other), reason: `${this.#registry} has it already: ${whose}` });
      return false;
    });
    return { free, conflicts };
  }

  #parties(id: string, want: Want | undefined, before: readonly Placed[]): Parties {
    const marks = before.flatMap(({ instance }) => markOf(instance.metadata) ?? []);
    const entry = marks.length > 0 ? undefined : this.#context.ledger.get(id);
    const all = [...(want === undefined ? [] : [want]), ...(entry === undefined ? [] : [entry]), ...marks];
    return {
      publications: [...new Set(all.map(({ publication }) => publication))],
      hosts: [...new Set(all.map(({ host }) => host))],
    };
  }

  #isPaused({ publications, hosts }: Parties): boolean {
    const { claims, orders } = this.#context;
    const { publications: ordered, services, registries } = orders();
    if (this.isLeaving || registries[this.#registry] !== undefined) return false;
    if (hosts.some((host) => services[host] !== undefined)) return true;
    const isPaused = (name: string): boolean =>
      ordered[name] === 'paused' || claims.publications.some(({ config }) => config.name === name && config.paused);
    return publications.some((name) => ordered[name] !== 'withdrawn' && isPaused(name));
  }

  /** Whether a person wants it gone: then nothing is waited for. */
  #isOrdered({ publications }: Parties): boolean {
    const { publications: ordered, registries } = this.#context.orders();
    if (this.isLeaving || registries[this.#registry] !== undefined) return true;
    return publications.length > 0 && publications.every((name) => ordered[name] === 'withdrawn');
  }

  /** A service that nobody wants any more, as it was written. */
  #remembered(id: string, record: WriteRecord | undefined): PublishedService | undefined {
    const key = record?.service.key ?? this.#said(id)?.key;
    if (key === undefined) return undefined;
    const known = record?.service ?? this.#context.ledger.get(id);
    return {
      key,
      protocol: known?.protocol ?? 'http',
      settings: known?.settings ?? defaultSettings(this.#kind),
      instances: [],
    };
  }
}

/** What stands there: what the source reads, and for a while rather what was written. */
function standsNow({ ours }: Standing, record: WriteRecord | undefined, now: number): readonly Placed[] {
  if (record === undefined) return ours;
  if (record.state === 'lost') return [];
  if (record.state === 'written') return now < record.unseenUntil ? record.placed : ours;
  const places = new Set(ours.map(({ instance }) => placeOf(instance)));
  return [...ours, ...record.placed.filter(({ instance }) => !places.has(placeOf(instance)))];
}

function instancesOf(placed: readonly Placed[]): PublishedInstance[] {
  return placed.map(({ instance }) => instance);
}
