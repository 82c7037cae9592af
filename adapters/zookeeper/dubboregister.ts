import type { Logger } from 'pino';
import {
  applicationProviders,
  type DubboService,
  fold,
  type ProviderRecord,
  type ServiceDefinition,
} from '#adapters/dubbo/index.js';
import type { ServiceKey } from '#model/service.js';
import type { Cause } from '#sources/contract.js';
import { type ApplicationContent, ApplicationLevel } from './applications.js';
import { Definitions } from './definitions.js';
import { RuleDocuments } from './documents.js';
import type { Following } from './follow.js';
import type { Instances } from './instances.js';
import { type InterfaceContent, InterfaceLevel } from './interfaces.js';
import type { LevelListener, Said } from './level.js';
import { below } from './paths.js';
import type { PersistentNodes } from './persistent.js';
import { namespaceOf, type Outcome, type Register, type RegisterListener, type Told } from './register.js';

export interface DubboOptions {
  /** The registry's name. */
  readonly registry: string;
  /** Dubbo's root (its `group`): what lies below one is not seen by applications that use another. */
  readonly root: string;
  /** Znode that holds `metadata` and `mapping`: the root unless configured. */
  readonly metadata: string;
  /** Whether the interface level below the root is read. */
  readonly interfaces: boolean;
  /** The application level; undefined: it is left out. */
  readonly instances: Instances | undefined;
  readonly includes: (interfaceName: string) => boolean;
  /** Knows which instances in persistent znodes are dead; undefined: nobody looks. */
  readonly persistent: PersistentNodes | undefined;
  /** ms until an instance that has not answered is asked again for its metadata. */
  readonly retry: number;
  readonly log: Logger;
}

/** ms until an interface that nothing names a group and version for is told without them: a provider that starts writes one znode after the other. */
const patience = 3000;

/** Dubbo's services below one root, registered by interface, by application, or both. */
export class DubboRegister implements Register {
  readonly namespace: string;
  readonly #options: DubboOptions;
  readonly #following: Following;
  readonly #listener: RegisterListener;
  readonly #interfaces: InterfaceLevel | undefined;
  readonly #applications: ApplicationLevel | undefined;
  readonly #documents: RuleDocuments;
  readonly #definitions = new Map<string, Definitions>();
  /** Interfaces that wait for more to be known of them; undefined once they have waited. */
  readonly #waiting = new Map<string, NodeJS.Timeout | undefined>();

  constructor(options: DubboOptions, following: Following, why: Cause, listener: RegisterListener) {
    const { root, metadata, interfaces, instances, includes, persistent } = options;
    this.namespace = namespaceOf(root);
    this.#options = options;
    this.#following = following;
    this.#listener = listener;
    const level: LevelListener = {
      changed: (name, why) => this.#changed(name, why),
      failed: (error) => listener.failed(error),
    };
    this.#documents = new RuleDocuments(following, root, includes, why, {
      changed: (name, why) => {
        for (const one of name === undefined ? this.names() : [name]) this.#changed(one, why);
      },
      warned: (error) => options.log.warn({ err: error }, 'the rules of the config centre are not known'),
    });
    if (interfaces) this.#interfaces = new InterfaceLevel(following, root, includes, persistent, why, level);
    if (instances !== undefined)
      this.#applications = new ApplicationLevel(following, instances, metadata, includes, options.retry, why, level);
  }

  names(): Iterable<string> {
    return new Set([...(this.#interfaces?.names() ?? []), ...(this.#applications?.names() ?? [])]);
  }

  evaluate(name: string, why: Cause, told: Told): Outcome {
    const direct: Said<InterfaceContent> = this.#interfaces?.read(name) ?? { kind: 'nothing' };
    const given: Said<ApplicationContent> = this.#applications?.read(name) ?? { kind: 'nothing' };
    if (direct.kind === 'unknown' || direct.kind === 'unreadable') return direct;
    if (given.kind === 'unknown' || given.kind === 'unreadable') return given;
    if (direct.kind === 'nothing' && given.kind === 'nothing') {
      this.#stopWaiting(name);
      this.#definitions.get(name)?.stop();
      this.#definitions.delete(name);
      return { kind: 'gone' };
    }
    const registered = direct.kind === 'something' ? direct.value : noInterface;
    const provided = given.kind === 'something' ? given.value : noApplication;
    const contents = { ...registered, ...provided, notes: [...registered.notes, ...provided.notes] };
    const folded = this.#fold(name, contents, [], told.keys);
    if (!folded.wantsDefinitions) {
      this.#stopWaiting(name);
      return { kind: 'services', services: folded.services };
    }
    const definitions = this.#definitionsOf(name, why);
    if (definitions.kind !== 'something') return definitions;
    if (definitions.value.length > 0 || told.keys !== undefined || !told.isListed) this.#stopWaiting(name);
    else if (this.#mustWait(name, why)) return { kind: 'unknown' };
    return { kind: 'services', services: this.#fold(name, contents, definitions.value, told.keys).services };
  }

  stop(): void {
    for (const timer of this.#waiting.values()) clearTimeout(timer);
    this.#documents.stop();
    this.#interfaces?.stop();
    this.#applications?.stop();
    for (const definitions of this.#definitions.values()) definitions.stop();
  }

  #changed(name: string, why: Cause): void {
    this.#listener.changed(this, name, why);
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

  #fold(
    name: string,
    contents: Contents,
    definitions: readonly ServiceDefinition[],
    told: readonly ServiceKey[] | undefined,
  ) {
    const { providers, consumers, instances, rejected } = contents;
    const applications = instances.flatMap(({ instance, metadata }) => {
      const published = definitions.filter(({ application }) => application === instance.application);
      return applicationProviders(name, instance, metadata, published);
    });
    const otherwise = otherwiseOf(name, definitions, told);
    const documents = this.#documents.of(
      name,
      applicationsOf([...providers, ...applications.map(({ record }) => record)]),
    );
    const rules = [...contents.rules, ...documents.rules];
    const notes = [...contents.notes, ...documents.notes];
    const records = { providers, applications, consumers, otherwise, rules, notes, rejected };
    const folded = fold({ registry: this.#options.registry, namespace: this.namespace, interface: name, ...records });
    const { persistent } = this.#options;
    const services = folded.services.map((service) => persistent?.annotate(service) ?? service);
    return { ...folded, services };
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
}

const noInterface: InterfaceContent = { providers: [], consumers: [], rules: [], notes: [] };
const noApplication: ApplicationContent = { instances: [], rejected: [], notes: [] };

type Contents = InterfaceContent & ApplicationContent;

function* applicationsOf(records: readonly ProviderRecord[]): Iterable<string> {
  for (const record of records) if (record.kind === 'provider') yield record.instance.metadata.application ?? '';
}

/** Services of an interface without any provider: those that were published, or else those that it had. */
function otherwiseOf(
  name: string,
  definitions: readonly ServiceDefinition[],
  told: readonly ServiceKey[] | undefined,
): DubboService[] {
  if (definitions.length > 0) return definitions.map(({ service }) => service);
  return (told ?? []).map(({ group, version }) => ({ interface: name, group, version }));
}
