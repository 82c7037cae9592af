import { setImmediate as nextTurn } from 'node:timers/promises';
import { applicationProviders, type DubboService, fold, type ServiceDefinition } from '#adapters/dubbo/index.js';
import type { RegistryService, ServiceKey } from '#model/service.js';
import { type Cause, cause, type Listing, type SourceOutput } from '#sources/contract.js';
import { type ApplicationContent, ApplicationLevel } from './applications.js';
import { Definitions } from './definitions.js';
import type { Following } from './follow.js';
import { type InterfaceContent, InterfaceLevel } from './interfaces.js';
import type { LevelListener, Said } from './level.js';
import { below } from './paths.js';

/** What an interface has come to. */
type Outcome =
  | { readonly kind: 'services'; readonly services: readonly RegistryService[] }
  | { readonly kind: 'gone' }
  | { readonly kind: 'unreadable'; readonly error: Error; readonly keys: readonly ServiceKey[] }
  /** A change will be told when what is missing has been read. */
  | { readonly kind: 'unknown' };

export interface ReaderOptions {
  /** The registry's name. */
  readonly registry: string;
  /** Znode of the interface level; undefined: it is left out. */
  readonly dubbo: string | undefined;
  /** Znode of the application level; undefined: it is left out. */
  readonly services: string | undefined;
  /** Znode that holds `metadata` and `mapping`. */
  readonly metadata: string;
  readonly includes: (interfaceName: string) => boolean;
}

/** ms until an interface that nothing names a group and version for is told without them: a provider that starts writes one znode after the other. */
const patience = 3000;

/** For so many ms services are decoded in one go; then others have their turn. */
const slice = 8;

/** Reads all of Dubbo's services out of one ensemble, and goes on telling what changes in them, until it is stopped. */
export class Reader {
  readonly #options: ReaderOptions;
  readonly #following: Following;
  readonly #out: SourceOutput;
  readonly #told: Map<string, readonly ServiceKey[]>;
  readonly #interfaces: InterfaceLevel | undefined;
  readonly #applications: ApplicationLevel | undefined;
  readonly #definitions = new Map<string, Definitions>();
  readonly #dirty = new Map<string, Cause>();
  /** Interfaces that could not be read, and whose services are a guess: the view may hold others, which only a listing can remove. */
  readonly #guessed = new Set<string>();
  /** Interfaces that wait for more to be known of them; undefined once they have waited. */
  readonly #waiting = new Map<string, NodeJS.Timeout | undefined>();
  readonly #failed: (error: Error) => void;
  #isListed = false;
  #isListingDue = false;
  #isBusy = true;
  #isStopped = false;

  /**
   * @param told the services of each interface that the registry's view may hold; kept over all readers of one registry
   * @param failed is told when nothing can be read any more
   */
  constructor(
    options: ReaderOptions,
    following: Following,
    out: SourceOutput,
    told: Map<string, readonly ServiceKey[]>,
    failed: (error: Error) => void,
  ) {
    this.#options = options;
    this.#following = following;
    this.#out = out;
    this.#told = told;
    this.#failed = failed;
    const { dubbo, services, metadata, includes } = options;
    const start = cause('first listing');
    const listener: LevelListener = { changed: (name, why) => this.#changed(name, why), failed };
    if (dubbo !== undefined) this.#interfaces = new InterfaceLevel(following, dubbo, includes, start, listener);
    if (services !== undefined)
      this.#applications = new ApplicationLevel(following, { services, metadata }, includes, start, listener);
  }

  /** Gives the first complete listing; from then on, changes are told as they come. */
  async start(): Promise<void> {
    await this.#following.loaded();
    await this.#list(cause('first listing'));
    this.#isBusy = false;
    this.#tell();
  }

  stop(): void {
    this.#isStopped = true;
    for (const timer of this.#waiting.values()) clearTimeout(timer);
    this.#interfaces?.stop();
    this.#applications?.stop();
    for (const definitions of this.#definitions.values()) definitions.stop();
  }

  #changed(name: string, why: Cause): void {
    if (!this.#dirty.has(name)) this.#dirty.set(name, why);
    this.#tell();
  }

  #tell(): void {
    if (this.#isBusy || this.#isStopped || this.#dirty.size === 0) return;
    this.#isBusy = true;
    this.#tellAll()
      .catch(this.#failed)
      .finally(() => {
        this.#isBusy = false;
        this.#tell();
      });
  }

  async #tellAll(): Promise<void> {
    // Answers that came together are told together.
    for (await nextTurn(); this.#dirty.size > 0 && !this.#isStopped; await nextTurn()) this.#tellSome();
    if (this.#isListingDue && !this.#isStopped) await this.#list(cause('readable again'));
  }

  #tellSome(): void {
    const changed: RegistryService[] = [];
    const removed: ServiceKey[] = [];
    let first: Cause | undefined;
    const until = performance.now() + slice;
    for (const [name, why] of this.#dirty) {
      this.#dirty.delete(name);
      const outcome = this.#evaluate(name, why);
      if (outcome.kind === 'unreadable') this.#tellUnreadable(name, outcome);
      if (outcome.kind === 'services' || outcome.kind === 'gone') {
        const services = outcome.kind === 'services' ? outcome.services : [];
        changed.push(...services);
        removed.push(...missing(this.#told.get(name) ?? [], services));
        this.#remember(name, services);
        if (this.#guessed.delete(name)) this.#isListingDue = true;
        if (first === undefined || why.observedAt < first.observedAt) first = why;
      }
      if (performance.now() > until) break;
    }
    if (first !== undefined && changed.length + removed.length > 0) this.#out.update(changed, removed, first);
  }

  async #list(why: Cause): Promise<void> {
    this.#isListed = false;
    // Which definitions are wanted shows only when all else is known.
    await this.#sliced(this.#names(), (name) => this.#evaluate(name, why));
    this.#dirty.clear();
    const listing = this.#out.listing();
    this.#guessed.clear();
    this.#isListingDue = false;
    const names = new Set(this.#names());
    let waiting = [...names];
    while (waiting.length > 0 && !this.#isStopped) {
      await this.#following.loaded();
      const unknown: string[] = [];
      await this.#sliced(waiting, (name) => {
        if (!this.#listOne(listing, name, why)) unknown.push(name);
      });
      waiting = unknown;
    }
    if (this.#isStopped) return;
    for (const name of this.#told.keys()) if (!names.has(name)) this.#remember(name, []);
    listing.commit(why);
    this.#isListed = true;
  }

  /** @returns false if it is not known yet what to list */
  #listOne(listing: Listing, name: string, why: Cause): boolean {
    const outcome = this.#evaluate(name, why);
    if (outcome.kind === 'unknown') return false;
    if (outcome.kind === 'unreadable') this.#tellUnreadable(name, outcome);
    else {
      const services = outcome.kind === 'services' ? outcome.services : [];
      listing.add(services);
      this.#remember(name, services);
    }
    return true;
  }

  #tellUnreadable(name: string, { error, keys }: Extract<Outcome, { kind: 'unreadable' }>): void {
    if (!this.#told.has(name)) this.#guessed.add(name);
    for (const key of keys) this.#out.unreadable(key, error);
  }

  #remember(name: string, services: readonly RegistryService[]): void {
    if (services.length > 0)
      this.#told.set(
        name,
        services.map(({ key }) => key),
      );
    else this.#told.delete(name);
  }

  #evaluate(name: string, why: Cause): Outcome {
    const direct: Said<InterfaceContent> = this.#interfaces?.read(name) ?? { kind: 'nothing' };
    const given: Said<ApplicationContent> = this.#applications?.read(name) ?? { kind: 'nothing' };
    if (direct.kind === 'unknown' || given.kind === 'unknown') return { kind: 'unknown' };
    if (direct.kind === 'unreadable') return this.#unreadable(name, direct.error, why);
    if (given.kind === 'unreadable') return this.#unreadable(name, given.error, why);
    if (direct.kind === 'nothing' && given.kind === 'nothing') {
      this.#stopWaiting(name);
      this.#definitions.get(name)?.stop();
      this.#definitions.delete(name);
      return { kind: 'gone' };
    }
    const contents: Contents = {
      ...(direct.kind === 'something' ? direct.value : { providers: [], consumers: [] }),
      ...(given.kind === 'something' ? given.value : { instances: [], rejected: [] }),
    };
    const folded = this.#fold(name, contents, []);
    if (!folded.wantsDefinitions) {
      this.#stopWaiting(name);
      return { kind: 'services', services: folded.services };
    }
    const definitions = this.#definitionsOf(name, why);
    if (definitions.kind === 'unknown') return definitions;
    if (definitions.kind === 'unreadable') return this.#unreadable(name, definitions.error, why);
    if (definitions.value.length > 0 || this.#told.has(name) || !this.#isListed) this.#stopWaiting(name);
    else if (this.#mustWait(name, why)) return { kind: 'unknown' };
    return { kind: 'services', services: this.#fold(name, contents, definitions.value).services };
  }

  #mustWait(name: string, why: Cause): boolean {
    if (this.#waiting.has(name)) return this.#waiting.get(name) !== undefined;
    const end = () => {
      this.#waiting.set(name, undefined);
      this.#changed(name, why);
    };
    this.#waiting.set(name, setTimeout(end, patience));
    return true;
  }

  #stopWaiting(name: string): void {
    clearTimeout(this.#waiting.get(name));
    this.#waiting.delete(name);
  }

  #fold(name: string, contents: Contents, definitions: readonly ServiceDefinition[]) {
    const { providers, consumers, instances, rejected } = contents;
    const applications = instances.flatMap(({ instance, metadata }) => {
      const published = definitions.filter(({ application }) => application === instance.application);
      return applicationProviders(name, instance, metadata, published);
    });
    const otherwise = this.#otherwise(name, definitions);
    const { registry } = this.#options;
    return fold({ registry, interface: name, providers, applications, consumers, otherwise, rejected });
  }

  /** Services of an interface without any provider: those that were published, or else those that it had. */
  #otherwise(name: string, definitions: readonly ServiceDefinition[]): DubboService[] {
    if (definitions.length > 0) return definitions.map(({ service }) => service);
    return (this.#told.get(name) ?? []).map(({ group, version }) => ({ interface: name, group, version }));
  }

  #unreadable(name: string, error: Error, why: Cause): Outcome {
    const told = this.#told.get(name);
    if (told !== undefined) return { kind: 'unreadable', error, keys: told };
    const definitions = this.#definitionsOf(name, why);
    if (definitions.kind === 'unknown') return definitions;
    const published = definitions.kind === 'something' ? definitions.value : [];
    const nothing: Contents = { providers: [], consumers: [], instances: [], rejected: [] };
    return { kind: 'unreadable', error, keys: this.#fold(name, nothing, published).services.map(({ key }) => key) };
  }

  #definitionsOf(name: string, why: Cause) {
    let definitions = this.#definitions.get(name);
    if (definitions === undefined) {
      const path = below(this.#options.metadata, 'metadata', name);
      definitions = new Definitions(this.#following, path, name, why, (cause) => this.#changed(name, cause));
      this.#definitions.set(name, definitions);
    }
    return definitions.read();
  }

  #names(): string[] {
    return [...new Set([...(this.#interfaces?.names() ?? []), ...(this.#applications?.names() ?? [])])];
  }

  /** Does one thing after the other, with turns for others in between. */
  async #sliced(names: readonly string[], act: (name: string) => void): Promise<void> {
    let until = performance.now() + slice;
    for (const name of names) {
      act(name);
      if (performance.now() < until) continue;
      await nextTurn();
      until = performance.now() + slice;
    }
  }
}

type Contents = InterfaceContent & ApplicationContent;

function missing(before: readonly ServiceKey[], services: readonly RegistryService[]): ServiceKey[] {
  return before.filter(
    (key) => !services.some((service) => service.key.group === key.group && service.key.version === key.version),
  );
}
