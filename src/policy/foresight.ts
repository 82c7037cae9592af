import type { Metadata } from '#model/service.js';
import type { ServiceKind } from '#sources/contract.js';
import type { ServiceScope } from './expression.js';
import { hostName } from './naming.js';
import type { Policy } from './policy.js';
import { templateOf } from './presets.js';
import { PolicyList, Templates } from './rules.js';

/** What is known of a service before it is read. A part that is left out is not known yet; a part that its registry does not have is empty. */
export interface Foreseen {
  readonly kind: string;
  readonly name: string;
  readonly namespace?: string | undefined;
  readonly group?: string | undefined;
  readonly version?: string | undefined;
  /** All of it. */
  readonly metadata?: Metadata;
}

/** What the hosts of a registry's services come from. */
export interface ForesightSettings {
  readonly name: string;
  readonly type: string;
  readonly kinds: Readonly<Record<string, ServiceKind>>;
  readonly host?: string | undefined;
}

/** A policy whose aliases may be wanted here, and the hosts that it gives them to; undefined: any. */
interface AliasPolicy {
  readonly hosts: ReadonlySet<string> | undefined;
}

const mostRemembered = 100_000;

/**
 * Tells which services have to be read where only some hosts are served: those whose host or an alias is wanted. Where that depends on what only reading tells, the service
 * is read.
 */
export class Foresight {
  readonly #settings: ForesightSettings;
  readonly #policies: PolicyList;
  readonly #templates = new Templates();
  readonly #isWanted: (host: string) => boolean;
  readonly #aliasPolicies: readonly AliasPolicy[];
  readonly #remembered = new Map<string, boolean>();

  /** @param isWanted whether a host is served here */
  constructor(settings: ForesightSettings, policies: readonly Policy[], isWanted: (host: string) => boolean) {
    const naming = policies.filter(({ host, aliases }) => host !== undefined || aliases !== undefined);
    this.#settings = settings;
    this.#policies = new PolicyList(naming);
    this.#isWanted = isWanted;
    this.#aliasPolicies = naming.flatMap((policy, index) => {
      const { aliases = [] } = policy;
      if (aliases.every((alias) => isLiteral(alias) && !isWantedText(alias, isWanted))) return [];
      return [{ hosts: hostsOf(policy, naming.slice(index + 1)) }];
    });
  }

  /** Whether a service may be in a mesh service that is served here. */
  mayServe(service: Foreseen): boolean {
    const { kind, name, namespace, group, version, metadata } = service;
    const key = JSON.stringify([kind, name, namespace ?? null, group ?? null, version ?? null, metadata ?? null]);
    const known = this.#remembered.get(key);
    if (known !== undefined) return known;
    // Names come and go.
    if (this.#remembered.size >= mostRemembered) this.#remembered.clear();
    const result = this.#decide(service);
    this.#remembered.set(key, result);
    return result;
  }

  #decide(service: Foreseen): boolean {
    const kind = this.#settings.kinds[service.kind];
    if (kind === undefined) return true;
    const { scope, wasAsked } = scopeOf(this.#settings, service);
    const { host, aliases } = this.#policies.service(scope).chosen;
    const fill = (template: string): string | undefined => this.#templates.ofService(templateOf(template))(scope);
    const text = (host && fill(host.value)) ?? fill(this.#settings.host ?? kind.host);
    const others = (aliases?.value ?? []).map(fill);
    if (wasAsked() || text === undefined) return true;
    try {
      const own = hostName(text);
      if (this.#isWanted(own)) return true;
      // The alias of a host has the endpoints of all services of that host, also of those that no policy gives an alias.
      if (this.#aliasPolicies.some(({ hosts }) => hosts?.has(own) ?? true)) return true;
      return others.some((alias) => alias !== undefined && isWantedText(alias, this.#isWanted));
    } catch {
      // Without a host it is shown as rejected, wherever one looks.
      return true;
    }
  }
}

/** The hosts that services may have which a policy gives aliases; undefined if the configuration does not say. */
function hostsOf(policy: Policy, later: readonly Policy[]): ReadonlySet<string> | undefined {
  const texts = [policy, ...later].flatMap(({ host }) => host ?? []);
  if (policy.host === undefined || !texts.every(isLiteral)) return undefined;
  return new Set(texts.flatMap((text) => hostOf(text) ?? []));
}

function isLiteral(template: string): boolean {
  return !templateOf(template).includes('{{');
}

function isWantedText(text: string, isWanted: (host: string) => boolean): boolean {
  const host = hostOf(text);
  return host !== undefined && isWanted(host);
}

function hostOf(text: string): string | undefined {
  try {
    return hostName(text);
  } catch {
    return undefined;
  }
}

/** What expressions see; and whether one has asked for what is not known yet. */
function scopeOf({ name, type }: ForesightSettings, service: Foreseen) {
  let isAsked = false;
  const known = <Part>(part: Part | undefined): Part => {
    if (part !== undefined) return part;
    isAsked = true;
    throw new Error('not known before it is read');
  };
  const scope: ServiceScope = {
    registry: { name, type },
    service: {
      name: service.name,
      get namespace() {
        return known(service.namespace);
      },
      get group() {
        return known(service.group);
      },
      get version() {
        return known(service.version);
      },
      get metadata() {
        return known(service.metadata);
      },
    },
  };
  return { scope, wasAsked: () => isAsked };
}
