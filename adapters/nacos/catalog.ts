import { nameFilter } from '#config/fields.js';
import type { Foreseen } from '#policy/foresight.js';
import type { SourceContext } from '#sources/contract.js';
import { type GroupedService, groupedName, type HttpApi, isNotToBeHad, type Page, type ServiceName } from './api.js';
import { type DubboName, dubboName, isRead } from './dubbo-records.js';
import type { NacosConfig } from './schema.js';

/** Services per page of a list. */
const pageSize = 1_000;

export type ServicesOfGroup = HttpApi['servicesOfGroup'];

export interface CatalogOptions {
  readonly config: NacosConfig;
  readonly context: Pick<SourceContext, 'includes' | 'mayServe' | 'log'>;
  readonly api: HttpApi;
  /** Asks for a page of one group's services, where groups are listed by exact name. */
  readonly servicesOfGroup: ServicesOfGroup;
}

/** A part of the list: all groups of a namespace, or one. */
export interface Scope {
  readonly namespace: string;
  /** Exact name; undefined for all. */
  readonly group: string | undefined;
  /** What was listed there, wanted or not. */
  readonly services: readonly ServiceName[];
}

/** Which services there are: those of the wanted namespaces, groups and names. */
export class Catalog {
  readonly #options: CatalogOptions;
  readonly #isWantedGroup: (group: string) => boolean;
  /** Ids of the configured namespaces that were found, by the name in the configuration. */
  readonly #ids = new Map<string, string>();
  #scopes: readonly Scope[] = [];

  constructor(options: CatalogOptions) {
    this.#options = options;
    this.#isWantedGroup = nameFilter(options.config.groups, []);
  }

  /**
   * Lists all wanted services.
   * @throws Error if any part cannot be had: the list is complete or none at all
   */
  async list(signal: AbortSignal): Promise<ServiceName[]> {
    const found: Scope[] = [];
    for (const { id, certain } of await this.#namespaces(signal)) {
      const scopes = await this.#listScopes(id, signal);
      if (!certain && scopes.every(({ services }) => services.length === 0))
        throw new Error(
          `there is no namespace "${id}": none was found by this name or id, and as an id it has no services`,
        );
      found.push(...scopes);
    }
    this.#scopes = found;
    return found.flatMap(({ services }) => services.filter((service) => this.isWanted(service)));
  }

  /** Whether a service of a wanted namespace is wanted itself. */
  isWanted({ namespace, group, name }: GroupedService & Partial<ServiceName>): boolean {
    const { config, context } = this.#options;
    const dubbo = dubboName(name);
    if (dubbo !== undefined && (config.dubbo === undefined || !isRead(dubbo))) return false;
    if (!this.#isWantedGroup(group) || !context.includes(dubbo?.service.interface ?? name)) return false;
    if (dubbo !== undefined) return context.mayServe?.(foreseen(namespace, dubbo)) ?? true;
    // It may be a Dubbo application, whose interfaces have hosts of their own.
    if (config.dubbo !== undefined) return true;
    return context.mayServe?.({ kind: 'nacos', namespace, group, name, version: '' }) ?? true;
  }

  /** Ids of the namespaces of the last complete list. */
  get namespaces(): readonly string[] {
    return [...new Set(this.#scopes.map(({ namespace }) => namespace))];
  }

  /** The parts of the last complete list; undefined if namespaces may come and go beside them. */
  get scopes(): readonly Scope[] | undefined {
    return this.#options.config.namespaces.includes('*') ? undefined : this.#scopes;
  }

  async #listScopes(namespace: string, signal: AbortSignal): Promise<Scope[]> {
    const { config, api, servicesOfGroup } = this.#options;
    if (config.groups.some(isGlob)) {
      const page = (pageNo: number) => api.allServices(namespace, pageNo, pageSize, signal);
      const services = await allPages(page, groupedName);
      return [{ namespace, group: undefined, services: services.map((service) => ({ namespace, ...service })) }];
    }
    const scopes: Scope[] = [];
    for (const group of config.groups) {
      const names = await allPages((pageNo) => servicesOfGroup(namespace, group, pageNo, pageSize, signal), String);
      scopes.push({ namespace, group, services: names.map((name) => ({ namespace, group, name })) });
    }
    return scopes;
  }

  /** `certain`: the servers know it. Nacos serves instances of namespaces that it does not list, so that those may be right, too. */
  async #namespaces(signal: AbortSignal): Promise<{ readonly id: string; readonly certain: boolean }[]> {
    const { config, api, context } = this.#options;
    const all = config.namespaces.includes('*');
    const isKnown = (wanted: string) => wanted === 'public' || this.#ids.has(wanted);
    if (all || !config.namespaces.every(isKnown)) {
      try {
        const listed = await api.namespaces(signal);
        if (all) return listed.map(({ id }) => ({ id, certain: true }));
        for (const wanted of config.namespaces) {
          const match = listed.find(({ id }) => id === wanted) ?? listed.find(({ name }) => name === wanted);
          if (match !== undefined) this.#ids.set(wanted, match.id);
        }
      } catch (error) {
        if (all || !isNotToBeHad(error)) throw error;
        context.log.debug({ err: error }, 'namespaces cannot be listed and are taken as ids');
      }
    }
    const ids = new Map(config.namespaces.map((wanted) => [this.#ids.get(wanted) ?? wanted, isKnown(wanted)]));
    return [...ids].map(([id, certain]) => ({ id, certain }));
  }
}

/** Consumers are read with every group and version that they may call. */
function foreseen(namespace: string | undefined, { category, service }: DubboName): Foreseen {
  const { interface: name, group, version } = service;
  const known = { kind: 'dubbo', namespace, name };
  return category === 'providers' ? { ...known, group, version } : known;
}

/** Reads page after page. A list that changes meanwhile does not add up and is read again, a few times. */
async function allPages<Item>(
  page: (pageNo: number) => Promise<Page<Item>>,
  idOf: (item: Item) => string,
): Promise<Item[]> {
  let difference = '';
  for (let attempt = 0; attempt < 3; attempt++) {
    const found = new Map<string, Item>();
    let answer: Page<Item>;
    let pageNo = 1;
    do {
      answer = await page(pageNo++);
      for (const item of answer.items) found.set(idOf(item), item);
    } while (answer.items.length > 0 && found.size < answer.total);
    if (found.size === answer.total) return [...found.values()];
    difference = `${found.size} of ${answer.total}`;
  }
  throw new Error(`the list of services is not complete: ${difference} services on its pages`);
}

function isGlob(group: string): boolean {
  return /[*?[\]{}()!]/.test(group);
}
