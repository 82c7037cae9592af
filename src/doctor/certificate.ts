import { X509Certificate } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { isIP } from 'node:net';
import { isLoopback } from '#model/address.js';
import { reasonOf } from '#model/reason.js';
import type { Finding, Subject } from './finding.js';

const dayMs = 86_400_000;
/** A certificate that ends within this time should have been renewed; a short-lived one within the last quarter of its life. */
const soonMs = 14 * dayMs;

/** The certificates of a PEM file, in their order. @throws Error that names the file, if it cannot be read or holds none */
export function readCertificates(file: string): X509Certificate[] {
  let text: string;
  try {
    text = readFileSync(file, 'utf8');
  } catch (error) {
    throw new Error(`${file} cannot be read: ${reasonOf(error)}`);
  }
  const blocks = text.match(/-----BEGIN CERTIFICATE-----[\s\S]+?-----END CERTIFICATE-----/g) ?? [];
  if (blocks.length === 0) throw new Error(`${file} holds no certificate in PEM form`);
  try {
    return blocks.map((block) => new X509Certificate(block));
  } catch (error) {
    throw new Error(`${file} holds a certificate that cannot be read: ${reasonOf(error)}`);
  }
}

/** Judges the time for which a certificate is good. @returns undefined if nothing is wrong with it */
export function timeFault(certificate: X509Certificate, subject: Subject, what: string): Finding | undefined {
  const { validFrom, validTo } = certificate;
  const left = Date.parse(validTo) - Date.now();
  const soon = Math.min(soonMs, (Date.parse(validTo) - Date.parse(validFrom)) / 4);
  const advice = 'renew it';
  if (left < 0) return subject.fail(`${what} ended on ${day(validTo)}`, { advice });
  if (Date.parse(validFrom) > Date.now())
    return subject.fail(`${what} begins on ${day(validFrom)} only`, {
      advice: 'check the clock of this machine, and who made it',
    });
  if (left < soon)
    return subject.warn(`${what} ends in ${Math.ceil(left / dayMs)} days, on ${day(validTo)}`, { advice });
  return undefined;
}

/** "good until 2027-01-31". */
export function goodUntil({ validTo }: X509Certificate): string {
  return `good until ${day(validTo)}`;
}

/** Whether a certificate is made out to a host: a name or an address. `localhost` and its addresses count as one machine only if the certificate names them. */
export function isFor(certificate: X509Certificate, host: string): boolean {
  return (isIP(host) === 0 ? certificate.checkHost(host) : certificate.checkIP(host)) !== undefined;
}

/** The names of a certificate, for people. */
export function namesOf({ subjectAltName, subject }: X509Certificate): string {
  return subjectAltName ?? `no subject alternative name (${subject.replaceAll('\n', ', ')})`;
}

/** PEM of the authority that vouches for the first certificate of `file`, if the file itself or one of `others` holds it. */
export function authorityOf(file: string, others: readonly string[]): string | undefined {
  try {
    const [own, ...chain] = readCertificates(file);
    if (own === undefined) return undefined;
    const authorities = [...chain, own, ...others.flatMap(readCertificates)];
    // Up to the one that vouches for itself.
    let found = own;
    for (let step = 0; step < authorities.length && !isOwnAuthority(found); step++) {
      const issuer = authorities.find((one) => one !== found && found.checkIssued(one) && found.verify(one.publicKey));
      if (issuer === undefined) break;
      found = issuer;
    }
    return isOwnAuthority(found) ? found.toString() : undefined;
  } catch {
    return undefined;
  }
}

function isOwnAuthority(certificate: X509Certificate): boolean {
  return certificate.checkIssued(certificate) && certificate.verify(certificate.publicKey);
}

/** Findings on a file with certificates of a certain use. @param hosts under which it has to be good; none for authorities and clients */
export function checkFile(file: string, subject: Subject, hosts: readonly string[] = []): Finding[] {
  let certificates: X509Certificate[];
  try {
    certificates = readCertificates(file);
  } catch (error) {
    return [
      subject.fail(reasonOf(error), {
        expected: 'a PEM file with a certificate',
        advice: 'correct the path or the file',
      }),
    ];
  }
  const [own] = certificates as [X509Certificate];
  const faults = certificates.flatMap((one) => timeFault(one, subject, `the certificate in ${file}`) ?? []);
  for (const host of hosts)
    if (!isFor(own, host))
      faults.push(
        subject.fail(`the certificate in ${file} is made out to ${namesOf(own)}`, {
          expected: host,
          advice: isLoopback(host)
            ? 'set istio.xds.address to the name under which istiod reaches Pontoon'
            : `have it made out to ${host}, or set istio.xds.address to a name that it holds`,
        }),
      );
  return faults.length > 0 ? faults : [subject.ok(`the certificate in ${file} is ${goodUntil(own)}`)];
}

function day(time: string): string {
  return new Date(time).toISOString().slice(0, 10);
}
