import { parseAddress, short } from '#model/address.js';
import { compareText } from '#model/mesh.js';
import { reasonOf } from '#model/reason.js';
import type { Instance, Metadata, Note, Rejection } from '#model/service.js';
import { type Candidate, type ConditionMatch, isMatch, matchLimit } from './match.js';
import { type DubboService, endpointName, type ProviderRecord, serviceOf, withParams } from './provider.js';
import { type DubboUrl, decodeName, parseUrl } from './url.js';

/** Where a provider is registered: consumers apply rules of znodes to the interface level only, and see less of a provider there. */
export type Level = 'interface' | 'application';

/** A rule by which consumers see providers otherwise than they have registered: Dubbo's override, or configurator. */
export interface OverrideRule {
  /** Names it for people. */
  readonly record: string;
  /** `node`: it lies beside the providers, as up to Dubbo 2.6; `document`: in the config centre. */
  readonly origin: 'node' | 'document';
  /** The interface is `*`, without group and version, where it is for all. */
  readonly service: DubboService;
  /** `absent` sets only what no rule before it has set. */
  readonly mode: 'override' | 'absent';
  readonly host: string;
  /** 0 if it has none. */
  readonly port: number;
  readonly priority: number;
  /** What it sets. */
  readonly sets: Metadata;
  /** Parameters that a provider must have for it; `*` is any value. */
  readonly conditions: Metadata;
  /** `host:port`, `host`, `0.0.0.0:port` or `0.0.0.0`; without one it is for all. */
  readonly providers: readonly string[];
  readonly match: ConditionMatch | undefined;
  /** Why it means nothing to a mesh, where it does not. */
  readonly idle: string | undefined;
}

/** One override record, read. */
export type OverrideRecord =
  | { readonly kind: 'rule'; readonly rule: OverrideRule }
  | { readonly kind: 'rejected'; readonly rejection: Rejection }
  | { readonly kind: 'none' };

const anyHost = '0.0.0.0';

/** Parameters of a rule that say whom it is for, or nothing to a mesh; none of them is set. */
const ownKeys = new Set(
  'category check dynamic enabled group version application side configVersion compatible_config interfaces interface anyhost priority providerAddresses router rule runtime type'.split(
    ' ',
  ),
);

/** Reads the name of a znode under `configurators`: a percent-encoded `override://` or `absent://` URL. Never throws. */
export function parseOverride(name: string): OverrideRecord {
  try {
    return parseOverrideUrl(decodeName(name), 'node');
  } catch (error) {
    return { kind: 'rejected', rejection: { record: short(name), reason: reasonOf(error) } };
  }
}

/** Reads a rule's URL in plain text. @throws Error that shows what it is instead of one */
export function parseOverrideUrl(text: string, origin: OverrideRule['origin'], record?: string): OverrideRecord {
  const url = parseUrl(text);
  if (url.protocol === 'empty') return { kind: 'none' };
  if (url.protocol !== 'override' && url.protocol !== 'absent')
    throw new Error(`"${short(endpointName(url))}" is no rule: expected override:// or absent://`);
  // A user in the URL is the application that the rule is for.
  const user = /^[^/]*\/\/([^/?@:]*)[^/?@]*@/.exec(text)?.[1];
  const params = user === undefined ? url.params : { application: user, ...url.params };
  return { kind: 'rule', rule: overrideRule({ ...url, params }, { origin, record: record ?? endpointName(url) }) };
}

/** Makes a rule of the URL that Dubbo has it in, or makes of it. */
export function overrideRule(
  url: DubboUrl,
  { origin, record, match }: { origin: OverrideRule['origin']; record: string; match?: ConditionMatch | undefined },
): OverrideRule {
  const { params } = url;
  const entries = Object.entries(params);
  const version = params.configVersion ?? '';
  const hasConditions = !version.startsWith('v3.0');
  const port = /^\d+$/.test(url.port) ? Number(url.port) : 0;
  const host = addressText(url.host);
  const sets = Object.fromEntries(entries.filter(([key]) => !ownKeys.has(key) && !key.startsWith('~')));
  const conditions = entries
    .filter(([key]) => hasConditions && key.startsWith('~'))
    .map(([key, value]) => [key.slice(1), value]);
  return {
    record,
    origin,
    service: serviceOf(url),
    mode: url.protocol === 'absent' ? 'absent' : 'override',
    host,
    port: version === '' ? port : 0,
    priority: /^-?\d{1,9}$/.test(params.priority ?? '') ? Number(params.priority) : 0,
    sets,
    conditions: Object.fromEntries(conditions),
    providers: (params.providerAddresses ?? '').split(',').filter((address) => address !== ''),
    match,
    idle: idleReason(params, host, version === '' ? port : 0, sets) ?? (match && matchLimit(match)),
  };
}

/** What `AbstractConfigurator.configure` of 3.3.4 does at a consumer of any application, on any host. */
function idleReason(params: Metadata, host: string, port: number, sets: Metadata): string | undefined {
  const { application = '*', side, configVersion = '' } = params;
  if (params.enabled !== undefined && params.enabled.toLowerCase() !== 'true') return 'it is not enabled';
  if (configVersion === '' && params.compatible_config) return 'it is a copy for Dubbo 2.6';
  if (Object.keys(sets).length === 0) return 'it sets nothing';
  if (side === 'provider') return 'it is for providers, which apply it themselves and register anew';
  if (side === undefined && configVersion !== '')
    return 'it has no side (consumer or provider), and Dubbo applies it nowhere';
  if (side !== undefined && side !== 'consumer' && !(side === '*' && configVersion === ''))
    return `its side is "${short(side)}", not consumer or provider`;
  if (application !== '*' && application !== '')
    return `it is for the consumers of application ${short(application)} alone`;
  if (host !== anyHost && port === 0) return `it is for consumers on host ${short(host)} alone`;
  return undefined;
}

/** The rules of one interface, in the order in which a consumer applies them, and what they have done. */
export class Rules {
  readonly #rules: readonly OverrideRule[];
  /** The addresses that each rule has changed. */
  readonly #changed = new Map<OverrideRule, Set<string>>();
  readonly #providers = new Map<string, Set<string>>();

  constructor(rules: readonly OverrideRule[]) {
    const nodes = rules.filter(({ origin }) => origin === 'node').sort((a, b) => compareText(a.record, b.record));
    const documents = rules.filter(({ origin }) => origin === 'document');
    this.#rules = [...nodes.sort(precedence), ...documents.sort(precedence)];
  }

  /** What a provider becomes by the rules. */
  apply(record: ProviderRecord, level: Level): ProviderRecord {
    if (record.kind !== 'provider' || this.#rules.length === 0) return record;
    const { service, instance } = record;
    const address = `${instance.address}:${instance.ports[0]?.number}`;
    add(this.#providers, serviceKey(service), address);
    let set: Metadata = {};
    for (const rule of this.#rules) {
      if (rule.idle !== undefined || (rule.origin === 'node' && level === 'application')) continue;
      const params = { ...(level === 'application' ? instance.metadata : {}), ...set, ...ownParams(service) };
      if (!isFor(rule, instance, { address, serviceKey: serviceKey(service), params })) continue;
      set = rule.mode === 'absent' ? { ...rule.sets, ...set } : { ...set, ...rule.sets };
      add(this.#changed, rule, address);
    }
    const changes = Object.entries(set).filter(([, value]) => value !== '');
    if (changes.length === 0) return record;
    return { ...record, instance: withParams(instance, { ...instance.metadata, ...Object.fromEntries(changes) }) };
  }

  /** What the rules for a service have done so far, or why nothing; those for no service of the interface are told with the first. */
  notes(service: DubboService, isFirst: boolean): Note[] {
    const key = serviceKey(service);
    const ours = this.#rules.filter(({ service: its }) => {
      const ruleKey = serviceKey(its);
      return ruleKey === key || ruleKey === '*' || (isFirst && !this.#providers.has(ruleKey));
    });
    return ours.map((rule) => ({ record: rule.record, text: this.#effect(rule, key) }));
  }

  #effect(rule: OverrideRule, key: string): string {
    if (rule.idle !== undefined) return `no effect: ${rule.idle}`;
    const all = this.#providers.get(key) ?? new Set();
    const ruleKey = serviceKey(rule.service);
    if (ruleKey !== key && ruleKey !== '*') return `no effect: it is for ${short(ruleKey)}, which has no provider`;
    const count = [...(this.#changed.get(rule) ?? [])].filter((address) => all.has(address)).length;
    if (count === 0) return `no effect: it is for none of the ${all.size} providers`;
    return `sets ${shown(rule.sets)} at ${count} of ${all.size} providers`;
  }
}

/** Dubbo's order: `0.0.0.0` comes before most hosts, and what comes later counts. */
function precedence(a: OverrideRule, b: OverrideRule): number {
  return compareText(a.host, b.host) || a.priority - b.priority;
}

function isFor(rule: OverrideRule, { address, ports }: Instance, candidate: Candidate): boolean {
  const ruleKey = serviceKey(rule.service);
  const port = ports[0]?.number;
  if (ruleKey !== '*' && ruleKey !== candidate.serviceKey) return false;
  if (rule.port !== 0 && (rule.port !== port || (rule.host !== anyHost && rule.host !== address))) return false;
  const places = [candidate.address, address, anyHost, `${anyHost}:*`, `${anyHost}:${port}`];
  if (rule.providers.length > 0 && !rule.providers.some((provider) => places.includes(provider))) return false;
  const { params } = candidate;
  if (!Object.entries(rule.conditions).every(([key, value]) => value === '*' || params[key] === value)) return false;
  return rule.match === undefined || isMatch(rule.match, candidate);
}

/** A consumer's rules see this of every provider, at both levels. */
function ownParams({ group, version }: DubboService): Metadata {
  return { side: 'consumer', ...(group === '' ? {} : { group }), ...(version === '' ? {} : { version }) };
}

function serviceKey({ interface: name, group, version }: DubboService): string {
  return `${group === '' ? '' : `${group}/`}${name}${version === '' ? '' : `:${version}`}`;
}

function addressText(host: string): string {
  try {
    return parseAddress(host).text;
  } catch {
    return host;
  }
}

/** Values that are no secrets; of others only the name is shown. */
const plainKeys = new Set(['weight', 'disabled', 'warmup', 'timeout', 'retries', 'loadbalance', 'dubbo.tag']);

function shown(sets: Metadata): string {
  const parts = Object.entries(sets).map(([key, value]) =>
    plainKeys.has(key) ? `${key}=${short(value)}` : short(key),
  );
  return parts.sort().join(', ');
}

function add<K>(map: Map<K, Set<string>>, key: K, value: string): void {
  const found = map.get(key);
  if (found === undefined) map.set(key, new Set([value]));
  else found.add(value);
}
