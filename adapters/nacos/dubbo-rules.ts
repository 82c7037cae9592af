import type { Logger } from 'pino';
import {
  conditionRouterName,
  configuratorsName,
  type DubboService,
  type OverrideRecord,
  parseConfigurators,
  routerDocumentNote,
  ruleDocument,
  type ServiceNote,
} from '#adapters/dubbo/index.js';
import type { NacosClient } from './client.js';
import type { ConfigName } from './config.js';

/** A service of one namespace. */
export interface PlacedService {
  readonly namespace: string;
  readonly service: DubboService;
}

/** ms before what could not be read is asked for again. */
const patience = 30_000;

/** What Nacos takes for a document's name; services of other names have none. */
const dataId = /^[\w.:-]{1,256}$/;

/** The override rules of Dubbo's services, and which of them have routing rules, as the config centre says and as it goes on telling. */
export class DubboRules {
  readonly #group: string;
  readonly #log: Logger;
  readonly #texts = new Map<string, string>();
  readonly #watched = new Set<string>();
  #configs: NacosClient['configs'];
  #failedAt: number | undefined;

  /** @param group of the documents */
  constructor(group: string, log: Logger) {
    this.#group = group;
    this.#log = log;
  }

  /** From now on this client is asked; all is watched anew. */
  attach({ configs }: NacosClient): void {
    this.#configs = configs;
    this.#watched.clear();
    this.#failedAt = undefined;
  }

  /** Whether it is time to ask again for what could not be read. */
  get isRetryDue(): boolean {
    return this.#failedAt !== undefined && performance.now() - this.#failedAt > patience;
  }

  overrides({ namespace, service }: PlacedService): OverrideRecord[] {
    const name = configuratorsName(service);
    return parseConfigurators(this.#texts.get(idOf({ namespace, dataId: name })) ?? '', name);
  }

  routers({ namespace, service }: PlacedService): ServiceNote[] {
    const name = conditionRouterName(service);
    return this.#texts.has(idOf({ namespace, dataId: name })) ? [routerDocumentNote(name)] : [];
  }

  /** Which of these services are to be watched, and are not yet. */
  unwatched(services: readonly PlacedService[]): PlacedService[] {
    if (this.#configs === undefined || (this.#failedAt !== undefined && !this.isRetryDue)) return [];
    return services.filter((one) => namesOf(one).some((name) => !this.#watched.has(idOf(name))));
  }

  /** Reads and watches the rules of services. What cannot be read stays as it was, and is to be watched again later. Never rejects. */
  async watch(services: readonly PlacedService[]): Promise<void> {
    const configs = this.#configs;
    if (configs === undefined || services.length === 0) return;
    const names = services.flatMap(namesOf).map((name) => ({ ...name, group: this.#group }));
    for (const name of names) this.#watched.add(idOf(name));
    try {
      const there = new Set((await configs.watch(names)).map(idOf));
      for (const name of names) if (!there.has(idOf(name))) this.#texts.delete(idOf(name));
      await Promise.all(names.filter((name) => there.has(idOf(name))).map((name) => this.#read(name)));
      this.#failedAt = undefined;
    } catch (error) {
      this.#failed(error, names);
    }
  }

  /** Reads a document that has changed. @returns the service that it is for; undefined if it is none of ours. Never rejects */
  async changed(name: ConfigName): Promise<PlacedService | undefined> {
    const service = ruleDocument(name.dataId)?.service;
    if (name.group !== this.#group || service === undefined || !this.#watched.has(idOf(name))) return undefined;
    try {
      await this.#read(name);
      return { namespace: name.namespace, service };
    } catch (error) {
      this.#failed(error, [name]);
      return undefined;
    }
  }

  #failed(error: unknown, names: readonly ConfigName[]): void {
    this.#log.warn({ err: error }, "Dubbo's rules cannot be read, and stay as they were");
    this.#failedAt = performance.now();
    for (const name of names) this.#watched.delete(idOf(name));
  }

  async #read(name: ConfigName): Promise<void> {
    const text = await this.#configs?.read(name);
    if (text === undefined) this.#texts.delete(idOf(name));
    else this.#texts.set(idOf(name), text);
  }
}

function namesOf({ namespace, service }: PlacedService) {
  const names = [configuratorsName(service), conditionRouterName(service)];
  return names.filter((name) => dataId.test(name)).map((name) => ({ namespace, dataId: name }));
}

function idOf({ namespace, dataId }: Pick<ConfigName, 'namespace' | 'dataId'>): string {
  return `${namespace}/${dataId}`;
}
