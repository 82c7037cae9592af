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

/** The override rules of Dubbo's services, and which of them have routing rules, as the config centre says and as it goes on telling. */
export class DubboRules {
  readonly #group: string;
  readonly #log: Logger;
  readonly #texts = new Map<string, string>();
  readonly #watched = new Set<string>();
  #configs: NacosClient['configs'];

  /** @param group of the documents */
  constructor(group: string, log: Logger) {
    this.#group = group;
    this.#log = log;
  }

  /** From now on this client is asked; all is watched anew. */
  attach({ configs }: NacosClient): void {
    this.#configs = configs;
    this.#watched.clear();
  }

  overrides({ namespace, service }: PlacedService): OverrideRecord[] {
    const name = configuratorsName(service);
    return parseConfigurators(this.#texts.get(idOf({ namespace, dataId: name })) ?? '', name);
  }

  routers({ namespace, service }: PlacedService): ServiceNote[] {
    const name = conditionRouterName(service);
    return this.#texts.has(idOf({ namespace, dataId: name })) ? [routerDocumentNote(name)] : [];
  }

  /** Which of these services are not watched yet. */
  unwatched(services: readonly PlacedService[]): PlacedService[] {
    return services.filter((one) => namesOf(one).some((name) => !this.#watched.has(idOf(name))));
  }

  /** Reads and watches the rules of services. What cannot be read stays as it was, and is asked for the next time. Never rejects. */
  async watch(services: readonly PlacedService[]): Promise<void> {
    const configs = this.#configs;
    if (configs === undefined || services.length === 0) return;
    const names = services.flatMap(namesOf).map((name) => ({ ...name, group: this.#group }));
    for (const name of names) this.#watched.add(idOf(name));
    try {
      const there = new Set((await configs.watch(names)).map(idOf));
      for (const name of names) if (!there.has(idOf(name))) this.#texts.delete(idOf(name));
      await Promise.all(names.filter((name) => there.has(idOf(name))).map((name) => this.#read(name)));
    } catch (error) {
      this.#log.warn({ err: error }, "Dubbo's rules cannot be read, and stay as they were");
      for (const name of names) this.#watched.delete(idOf(name));
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
      this.#watched.delete(idOf(name));
      this.#log.warn({ err: error, rules: name.dataId }, "Dubbo's rules cannot be read, and stay as they were");
      return undefined;
    }
  }

  async #read(name: ConfigName): Promise<void> {
    const text = await this.#configs?.read(name);
    if (text === undefined) this.#texts.delete(idOf(name));
    else this.#texts.set(idOf(name), text);
  }
}

function namesOf({ namespace, service }: PlacedService) {
  return [configuratorsName(service), conditionRouterName(service)].map((dataId) => ({ namespace, dataId }));
}

function idOf({ namespace, dataId }: Pick<ConfigName, 'namespace' | 'dataId'>): string {
  return `${namespace}/${dataId}`;
}
