import { z } from 'zod';
import type { Metadata } from '#model/service.js';

/** What a rule is held against: one provider, as a consumer of 3.3.4 sees it when it applies rules. */
export interface Candidate {
  /** `host:port`. */
  readonly address: string;
  /** `group/interface:version`, without the parts that are unset. */
  readonly serviceKey: string;
  readonly params: Metadata;
}

const text = z.union([z.string(), z.number(), z.boolean()]).transform(String).nullish();
const textMatch = z.object({
  exact: text,
  prefix: text,
  regex: text,
  noempty: text,
  empty: text,
  wildcard: text,
});
const oneOf = z.object({ oneof: z.array(textMatch) });
const addressMatch = z.object({ wildcard: text, cird: text, exact: text });

/** The `match` of a rule of version v3.0. Dubbo writes `cird` for CIDR. */
export const conditionMatch = z.object({
  address: addressMatch.nullish(),
  providerAddress: addressMatch.nullish(),
  service: oneOf.nullish(),
  app: oneOf.nullish(),
  param: z.array(z.object({ key: z.string(), value: textMatch })).nullish(),
});
export type ConditionMatch = z.output<typeof conditionMatch>;

type TextMatch = z.output<typeof textMatch>;
type AddressMatch = z.output<typeof addressMatch>;

/** Why a match holds for some consumers only, or cannot be judged; undefined if neither is so. */
export function matchLimit({ address, service, app, param }: ConditionMatch): string | undefined {
  if (address && !['*', '0.0.0.0'].includes(address.wildcard ?? ''))
    return 'it is for consumers at some addresses alone';
  if (app && !app.oneof.some(({ wildcard, noempty }) => wildcard === '*' || noempty != null))
    return 'it is for the consumers of some applications alone';
  const texts = [...(service?.oneof ?? []), ...(param ?? []).map(({ value }) => value)];
  // It would run here on the word of whoever writes the rule, and for as long as that word takes.
  if (texts.some(({ regex }) => regex != null)) return 'it matches by a regular expression, which is not tried';
  return undefined;
}

/** Whether a match without limits holds for a provider. */
export function isMatch({ providerAddress, service, param }: ConditionMatch, candidate: Candidate): boolean {
  return (
    (!providerAddress || isAddress(providerAddress, candidate.address)) &&
    (!service || service.oneof.some((one) => isText(one, candidate.serviceKey))) &&
    (param ?? []).every(({ key, value }) => isText(value, candidate.params[key]))
  );
}

/** A range of addresses never holds: 3.3.4 tries it with the port, which it cannot read. */
function isAddress({ cird, wildcard, exact }: AddressMatch, address: string): boolean {
  if (cird != null && cird === address) return true;
  if (wildcard != null) return wildcard === '0.0.0.0' || isGlob(wildcard, address);
  return exact != null && exact === address;
}

/** The last `*` stands for any characters, the others for themselves. */
function isGlob(pattern: string, value: string): boolean {
  const star = pattern.lastIndexOf('*');
  if (star < 0) return pattern === value;
  return value.startsWith(pattern.slice(0, star)) && value.endsWith(pattern.slice(star + 1));
}

function isText({ exact, prefix, wildcard, empty, noempty }: TextMatch, value: string | undefined): boolean {
  if (value !== undefined) {
    if (exact != null) return value === exact;
    if (prefix != null) return value.startsWith(prefix);
    if (wildcard != null) return wildcard === '*' || wildcard === value;
  }
  if (empty != null) return value === undefined || value === '';
  return noempty != null && value !== undefined && value !== '';
}
