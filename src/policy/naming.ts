import { createHash } from 'node:crypto';
import { domainToASCII } from 'node:url';
import { short } from '#model/address.js';

const maxLabel = 63;
const maxHost = 253;

/**
 * Makes a DNS name of a host template's result: lower case; characters that no label can hold (`_`, `:`, `$`, spaces) become `-`; non-ASCII labels
 * become punycode; a label that is too long keeps its start and ends in a hash of the whole.
 * @param isNative whether it may lie in the cluster's own domain
 * @throws Error if nothing is left of a label, the name is too long, ends in a number, or lies in the cluster's own domain
 */
export function hostName(text: string, isNative = false): string {
  const host = text
    .normalize('NFC')
    .toLowerCase()
    .split('.')
    .filter((part) => part !== '')
    .map((part) => label(part, text))
    .join('.');
  if (host === '') throw new Error(`"${short(text)}" is no host name: set a host by configuration`);
  if (host.length > maxHost) throw new Error(`host "${host}" has ${host.length} characters, and DNS allows ${maxHost}`);
  if (/(^|\.)\d+$/.test(host))
    throw new Error(`host "${host}" ends in a number, which Istio refuses: choose another host template`);
  if (!isNative && /(^|\.)svc(\.cluster\.local)?$/.test(host))
    throw new Error(`host "${host}" lies in the cluster's own domain: choose another host template`);
  return host;
}

function label(text: string, whole: string): string {
  const ascii = /[^\0-\x7f]/.test(text) ? domainToASCII(text) || text : text;
  const valid = ascii.replace(/[^a-z0-9-]/g, '-').replace(/^-+|-+$/g, '');
  if (valid === '')
    throw new Error(
      `"${short(text)}" in "${short(whole)}" has no character that a host name can hold: set a host by configuration`,
    );
  if (valid.length <= maxLabel) return valid;
  const hash = createHash('sha256').update(text).digest('hex').slice(0, 8);
  return `${valid.slice(0, maxLabel - hash.length - 1).replace(/-+$/, '')}-${hash}`;
}
