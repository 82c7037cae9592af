import { parse } from 'yaml';
import { z } from 'zod';
import { short } from '#model/address.js';
import { reasonOf } from '#model/reason.js';
import type { Metadata, Note } from '#model/service.js';
import { conditionMatch } from './match.js';
import { type DubboService, endpointName, serviceOf } from './provider.js';
import { type OverrideRecord, overrideRule, parseOverrideUrl } from './rules.js';
import { decodeName, parseUrl } from './url.js';

/** Which rules a document of the config centre holds, by its name, and for what. */
export interface RuleDocument {
  readonly kind: 'configurators' | 'router';
  /** Undefined: it is for the application of that name. */
  readonly service: DubboService | undefined;
  /** The service's or application's name. */
  readonly name: string;
}

const documentName = /^(.+)\.(configurators|condition-router|tag-router|script-router|affinity-router)$/;

/**
 * Reads the name of a document of the config centre (a znode under `config/dubbo`, a data id of group `dubbo`):
 * `<interface>:<version>:<group>.configurators` (all colons are there), `<application>.configurators`, and the same with `.condition-router`
 * and the like.
 * @returns undefined if it is another document
 */
export function ruleDocument(name: string): RuleDocument | undefined {
  const [, of = '', suffix] = documentName.exec(name) ?? [];
  if (suffix === undefined) return undefined;
  const parts = of.split(':');
  const [interfaceName = '', version, group = ''] = parts;
  const service =
    version === undefined
      ? undefined
      : serviceOf({ path: interfaceName, params: { interface: interfaceName, version, group } });
  return { kind: suffix === 'configurators' ? 'configurators' : 'router', service, name: interfaceName };
}

/** The name of a service's document of rules. */
export function configuratorsName({ interface: name, version, group }: DubboService): string {
  return `${name}:${version}:${group}.configurators`;
}

/** The name of a service's document of routing rules. */
export function conditionRouterName({ interface: name, version, group }: DubboService): string {
  return `${name}:${version}:${group}.condition-router`;
}

const texts = z.array(z.unknown().transform(String)).nullish();
const flag = z.unknown().optional();
const scalar = z.union([z.string(), z.number(), z.boolean()]).transform(String);

const item = z.object({
  type: z.string().nullish(),
  enabled: flag,
  addresses: texts,
  providerAddresses: texts,
  services: texts,
  applications: texts,
  parameters: z
    .record(z.string(), scalar)
    .refine((found) => Object.keys(found).length > 0, 'expected at least one parameter'),
  match: conditionMatch.nullish(),
  side: z.string().nullish(),
});

const configurators = z.object({
  configVersion: z.string().nullish(),
  scope: z.string().nullish(),
  key: z.string().min(1),
  enabled: flag,
  configs: z.array(item),
});

/**
 * Reads rules of the config centre: YAML of version v2.7 or v3.0, or a JSON list of URLs. Never throws; what is wrong anywhere makes the whole document
 * void, as in Dubbo.
 * @param text of a document
 * @param record names the document for people
 */
export function parseConfigurators(text: string, record: string): OverrideRecord[] {
  if (text.trim() === '') return [];
  try {
    // Dubbo's parser is of YAML 1.1.
    const found: unknown = parse(text, { version: '1.1', logLevel: 'silent' });
    if (Array.isArray(found))
      return found.map((url, i) => parseOverrideUrl(String(url), 'document', `${record}[${i}]`));
    return readConfigurators(found, record);
  } catch (error) {
    return [{ kind: 'rejected', rejection: { record, reason: `the rules are void: ${reasonOf(error)}` } }];
  }
}

function readConfigurators(document: unknown, record: string): OverrideRecord[] {
  const read = configurators.safeParse(document);
  if (!read.success) throw new Error(z.prettifyError(read.error).replaceAll('\n', ' '));
  const { configVersion, scope, key, enabled, configs } = read.data;
  const isOfApplication = scope === 'application';
  return configs.flatMap((config, i) => {
    const { type, side, addresses, providerAddresses, services, applications, parameters, match } = config;
    const hosts = addresses?.length ? addresses : ['0.0.0.0'];
    const providers = providerAddresses?.length ? providerAddresses : side === 'provider' ? hosts : [];
    const isEnabled = type == null || type === 'general' ? isOn(enabled ?? true) : isOn(config.enabled);
    const params: Metadata = {
      ...parameters,
      enabled: String(isEnabled),
      // Dubbo takes any word here, and none, for a version from 2.7 on.
      configVersion: configVersion || 'none',
      ...(side == null ? {} : { side }),
      ...(providers.length === 0 ? {} : { providerAddresses: providers.join(',') }),
    };
    const names = isOfApplication && services?.length ? services : [isOfApplication ? '*' : key];
    const wanted = isOfApplication ? [key] : applications?.length ? applications : ['*'];
    const origin = { origin: 'document', record: `${record}[${i}]`, match: match ?? undefined } as const;
    return hosts.flatMap((host) =>
      names.flatMap((name) =>
        wanted.map((application): OverrideRecord => {
          const url = { protocol: 'override', ...hostAndPort(host), ...serviceParts(name) };
          return {
            kind: 'rule',
            rule: overrideRule({ ...url, params: { ...params, ...url.params, application } }, origin),
          };
        }),
      ),
    );
  });
}

function isOn(value: unknown): boolean {
  return String(value).toLowerCase() === 'true';
}

/** `[group/]interface[:version]`. */
function serviceParts(key: string): { path: string; params: Metadata } {
  const [, group, path = '', version] = /^(?:([^/]+)\/)?([^:]*)(?::(.*))?$/s.exec(key) ?? [];
  return { path, params: { ...(group ? { group } : {}), ...(version ? { version } : {}) } };
}

function hostAndPort(address: string): { host: string; port: string } {
  const { host, port } = parseUrl(`override://${address}/`);
  return { host, port };
}

/** A note that is for a service, or without one for the whole interface. */
export interface ServiceNote {
  readonly service?: DubboService | undefined;
  readonly note: Note;
}

/** What is to be said of a router's document: routing is not applied. */
export function routerDocumentNote(name: string): ServiceNote {
  return { service: ruleDocument(name)?.service, note: { record: short(name), text: notApplied } };
}

/** What is to be said of a znode under `routers`, a percent-encoded URL. Never throws. */
export function parseRouter(name: string): ServiceNote | undefined {
  try {
    const url = parseUrl(decodeName(name));
    if (url.protocol === 'empty') return undefined;
    const service = serviceOf(url);
    const text = url.params.enabled === 'false' ? 'a routing rule that is not enabled' : notApplied;
    return { service: service.interface === '*' ? undefined : service, note: { record: endpointName(url), text } };
  } catch (error) {
    return { note: { record: short(name), text: `${notApplied}, nor can it be read: ${reasonOf(error)}` } };
  }
}

const notApplied = 'not applied: a routing rule, by which Dubbo consumers choose among the providers';
