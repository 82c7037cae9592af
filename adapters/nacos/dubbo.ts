import { isDeepStrictEqual } from 'node:util';
import type { Logger } from 'pino';
import type { DubboService } from '#adapters/dubbo/index.js';
import { compareText } from '#model/mesh.js';
import { asError } from '#model/reason.js';
import { type RegistryService, type Rejection, type ServiceKey, type ServiceName, serviceId } from '#model/service.js';
import { type Cause, cause, type Listing, type SourceOutput, type SourceState } from '#sources/contract.js';
import type { NacosClient } from './client.js';
import type { ConfigName } from './config.js';
import { DubboMetadata } from './dubbo-metadata.js';
import { type Part, placed, servicesOf, unitOf, unitsOf } from './dubbo-parts.js';
import { dubboName, splitApplication } from './dubbo-records.js';
import { DubboRules } from './dubbo-rules.js';
import { Units } from './dubbo-units.js';

export interface DubboOptions {
  /** The registry's name. */
  readonly registry: string;
  readonly includes: (interfaceName: string) => boolean;
  readonly log: Logger;
  /** Group of the override rules in the config centre. */
  readonly configGroup: string;
}

/**
 * Stands between Nacos's services and the registry's view, and makes one service of all that Dubbo registers for it: providers of an
 * interface, consumers, and instances of applications, whose metadata says what they provide. What is not Dubbo's passes unchanged.
 */
export class DubboServices implements SourceOutput {
  /** Settles when the last listing has been given, or given up. Never rejects. */
  listed = Promise.resolve();
  readonly #options: DubboOptions;
  readonly #out: SourceOutput;
  readonly #metadata = new DubboMetadata();
  readonly #rules: DubboRules;
  readonly #parts = new Map<string, Part>();
  readonly #units = new Units();
  readonly #told = new Map<string, readonly RegistryService[]>();
  /** Services that could not be read since the listing was begun. */
  readonly #unread = new Set<string>();
  #listings = 0;
  #committed = false;
  #signal = AbortSignal.abort();
  #lost: (reason: Error) => void = () => {};

  constructor(options: DubboOptions, out: SourceOutput) {
    this.#options = options;
    this.#out = out;
    this.#rules = new DubboRules(options.configGroup, options.log);
  }

  /** Whether a complete listing was ever given. */
  get committed(): boolean {
    return this.#committed;
  }

  /**
   * A session begins: its client is asked for metadata and rules.
   * @param signal ends it
   * @param lost is told what went wrong in the code: the session is to end
   */
  attach(client: NacosClient, signal: AbortSignal, lost: (reason: Error) => void): void {
    this.#signal = signal;
    this.#lost = lost;
    this.#metadata.attach(client);
    this.#rules.attach(client);
  }

  /** A document of the config centre changed. */
  configured(name: ConfigName): Promise<void> {
    const why = cause('rules changed');
    return this.#behind(async () => {
      const changed = await this.#rules.changed(name);
      if (changed !== undefined) this.#tell([unitOf(changed)], why);
    });
  }

  listing(): Listing {
    const inner = this.#out.listing();
    const listed: RegistryService[] = [];
    this.#unread.clear();
    return {
      add: (services) => void listed.push(...services),
      commit: (why) => {
        this.listed = this.#behind(() => this.#commit(inner, listed, why));
      },
    };
  }

  update(changed: readonly RegistryService[], removed: readonly ServiceKey[], why: Cause): void {
    const shown: RegistryService[] = [];
    const hidden: ServiceKey[] = [];
    const dirty = new Set<string>();
    for (const service of changed) {
      const part = this.#take(service, dirty);
      if (part === undefined) shown.push(service);
      else if (part.name === undefined) this.#loadOne(part, why, dirty);
    }
    for (const key of removed) {
      const part = this.#parts.get(serviceId(key));
      if (part === undefined) hidden.push(key);
      else this.#drop(part, dirty);
    }
    this.#tell(dirty, why, shown, hidden);
  }

  unreadable(key: ServiceKey | ServiceName, error: Error): void {
    const id = serviceId(key);
    const name = dubboName(key.name);
    const part = this.#parts.get(id);
    this.#unread.add(id);
    if (name !== undefined) {
      const { interface: interfaceName, ...rest } = name.service;
      const { registry, namespace } = key;
      this.#out.unreadable({ registry, namespace, name: interfaceName, ...rest }, error);
    }
    if (name === undefined && (part === undefined || part.rest !== undefined)) this.#out.unreadable(key, error);
    if (name === undefined)
      for (const unit of unitsOf(part))
        for (const told of this.#told.get(unit) ?? []) this.#out.unreadable(told.key, error);
  }

  /** Comes again and again: a time to ask anew for what could not be had. */
  alive(): void {
    this.#out.alive();
    if (this.#rules.isRetryDue) this.#watch(this.#units.ids, cause('rules'));
    if (!this.#metadata.isRetryDue) return;
    for (const part of this.#parts.values())
      if (part.name === undefined && this.#metadata.wanting(placed(part)).length > 0)
        this.#loadOne(part, cause('metadata'), new Set());
  }

  state(state: SourceState): void {
    this.#out.state(state);
  }

  /** Does what nobody waits for. Never rejects: the session ends instead, which says why. */
  async #behind(work: () => Promise<void>): Promise<void> {
    const lost = this.#lost;
    try {
      await work();
    } catch (error) {
      lost(asError(error));
    }
  }

  /** @returns undefined if it is not Dubbo's */
  #take(service: RegistryService, dirty: Set<string>): Part | undefined {
    const { namespace } = service.key;
    const id = serviceId(service.key);
    const before = this.#parts.get(id);
    const name = dubboName(service.key.name);
    const { applications } = name === undefined ? splitApplication(service) : { applications: [] };
    if (name === undefined && applications.length === 0 && before === undefined) return undefined;
    const offers = name?.category === 'providers' ? [name.service] : (before?.offers ?? []);
    const { rejected } = service;
    const part: Part = { namespace, service, name, applications, offers, rejected, rest: before?.rest };
    // Until now it may have been shown as a service that is not Dubbo's.
    if (before === undefined && name === undefined) this.#told.set(id, [service]);
    this.#units.leave(before, dirty);
    this.#parts.set(id, part);
    this.#units.join(part, dirty);
    return part;
  }

  #drop(part: Part, dirty: Set<string>): void {
    const id = serviceId(part.service.key);
    this.#parts.delete(id);
    dirty.add(id);
    this.#units.leave(part, dirty);
  }

  /** Resolves an application's part, at once if all its metadata is known. */
  #loadOne(part: Part, why: Cause, dirty: Set<string>): void {
    const wanting = this.#metadata.wanting(placed(part));
    if (wanting.length === 0) {
      this.#resolve(part, dirty);
      return;
    }
    const signal = this.#signal;
    void this.#behind(async () => {
      await this.#metadata.load(wanting, signal);
      if (signal.aborted || this.#parts.get(serviceId(part.service.key)) !== part) return;
      const late = new Set<string>();
      this.#resolve(part, late);
      this.#tell(late, why);
    });
  }

  /** Finds out what an application provides now, and what is left of the service of its name. */
  #resolve(part: Part, dirty: Set<string>): void {
    const { service, applications } = part;
    const offers = new Map<string, DubboService>();
    const { rest } = splitApplication(service);
    const rejected: Rejection[] = [...rest.rejected];
    for (const [i, one] of placed(part).entries()) {
      const found = this.#metadata.find(one);
      if (found instanceof Error)
        rejected.push({
          record: applications[i]?.raw.id ?? '',
          reason: `what it provides is not known: ${found.message}`,
        });
      else for (const offer of found.services) offers.set(JSON.stringify(offer.service), offer.service);
    }
    this.#units.leave(part, dirty);
    if (applications.length > 0)
      part.offers = [...offers.values()].filter((offer) => this.#options.includes(offer.interface));
    part.rejected = rejected.sort((a, b) => compareText(a.record, b.record));
    // Shown with its interfaces, where there are any.
    const isShown = rest.instances.length > 0 || (rejected.length > 0 && part.offers.length === 0);
    part.rest = isShown ? { ...rest, rejected } : undefined;
    this.#units.join(part, dirty);
    dirty.add(serviceId(service.key));
  }

  /** Tells of interfaces, and of the rests of applications, that may have changed. */
  #tell(
    dirty: Iterable<string>,
    why: Cause,
    changed: readonly RegistryService[] = [],
    removed: readonly ServiceKey[] = [],
  ): void {
    const ids = [...dirty];
    this.#watch(ids, why);
    const all = [...changed];
    const gone = [...removed];
    for (const id of ids) {
      const before = this.#told.get(id) ?? [];
      const after = this.#parts.has(id) ? this.#restOf(id) : this.#evaluate(id);
      const known = new Map(before.map((one) => [serviceId(one.key), one]));
      all.push(...after.filter((one) => !isDeepStrictEqual(known.get(serviceId(one.key)), one)));
      for (const one of after) known.delete(serviceId(one.key));
      gone.push(...[...known.values()].map(({ key }) => key));
      this.#remember(id, after);
    }
    if (all.length + gone.length > 0) this.#out.update(all, gone, why);
  }

  #remember(id: string, services: readonly RegistryService[]): void {
    if (services.length === 0) this.#told.delete(id);
    else this.#told.set(id, services);
  }

  #restOf(id: string): RegistryService[] {
    const rest = this.#parts.get(id)?.rest;
    return rest === undefined ? [] : [rest];
  }

  /** Rules of services that are new are read behind the news of the services themselves. */
  #watch(units: readonly string[], why: Cause): void {
    const unwatched = this.#rules.unwatched(units.flatMap((unit) => this.#units.offered(unit)));
    if (unwatched.length === 0) return;
    const signal = this.#signal;
    void this.#behind(async () => {
      await this.#rules.watch(unwatched);
      if (!signal.aborted) this.#tell(new Set(unwatched.map(unitOf)), why);
    });
  }

  /** The services of one interface. */
  #evaluate(unit: string): RegistryService[] {
    const { registry } = this.#options;
    return servicesOf(registry, this.#units.of(unit), this.#units.offered(unit), this.#metadata, this.#rules);
  }

  /**
   * A listing is complete when what its applications provide is known, and the rules of its services. What does not come soon is told
   * behind it.
   */
  async #commit(inner: Listing, listed: readonly RegistryService[], why: Cause): Promise<void> {
    const turn = ++this.#listings;
    const signal = this.#signal;
    const dirty = new Set<string>();
    const ids = new Set(listed.map(({ key }) => serviceId(key)));
    for (const [id, part] of this.#parts) if (!ids.has(id) && !this.#unread.has(id)) this.#drop(part, dirty);
    const plain = listed.filter((service) => this.#take(service, dirty) === undefined);
    const applications = () => [...this.#parts.values()].filter(({ name }) => name === undefined);
    const wanting = this.#metadata.wanting(applications().flatMap(placed));
    if (wanting.length > 0) await this.#metadata.loadSoon(wanting, signal);
    // Another listing has been begun, or will be.
    const isOver = () => turn !== this.#listings || signal.aborted;
    if (isOver()) return;
    const late = new Set(applications().filter((part) => this.#metadata.wanting(placed(part)).length > 0));
    for (const part of applications()) this.#resolve(part, dirty);
    this.#metadata.keep(applications().flatMap(placed));
    const unwatched = this.#rules.unwatched(this.#units.ids.flatMap((unit) => this.#units.offered(unit)));
    if (unwatched.length > 0) await this.#rules.watch(unwatched);
    if (isOver()) return;
    this.#told.clear();
    for (const id of [...this.#units.ids, ...this.#parts.keys()])
      this.#remember(id, this.#parts.has(id) ? this.#restOf(id) : this.#evaluate(id));
    inner.add([...plain, ...[...this.#told.values()].flat()]);
    inner.commit(why);
    this.#committed = true;
    const settled = new Set<string>();
    for (const part of applications()) if (late.has(part)) this.#loadOne(part, cause('metadata'), settled);
    this.#tell(settled, cause('metadata'));
  }
}
