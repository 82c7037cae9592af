import type { RegistryReport } from '#admin/report.js';
import { hostPortText } from '#config/fields.js';
import type { RegistryConfig } from '#config/schema.js';
import { checkFile } from './certificate.js';
import { dial } from './dial.js';
import { counted, type Finding, listed, Subject } from './finding.js';
import type { Check, Patient } from './patient.js';
import { readOnce } from './reading.js';
import { serversOf } from './servers.js';

/** Each registry: its servers' names, ports and certificates, and whether it can be read with our credentials. */
export const registriesCheck: Check = {
  name: 'registries',
  examine: async (patient) =>
    (await Promise.all(patient.config.registries.map((registry) => ofRegistry(registry, patient)))).flat(),
};

async function ofRegistry(registry: RegistryConfig, patient: Patient): Promise<Finding[]> {
  const subject = new Subject(`registry ${registry.name}`);
  const report = patient.running?.registries.find((one) => one.registry === registry.name);
  const dials = serversOf(registry).map((server) => dial(server, subject, patient.limitMs));
  const [read, ...servers] = await Promise.all([readOf(registry, report, subject, patient), ...dials]);
  const faults = [...servers.flat(), ...clientCertificate(registry, subject)].filter(({ verdict }) => verdict !== 'ok');
  const reached = servers.filter((findings) => findings.every(({ verdict }) => verdict === 'ok')).length;
  // One of several servers away is no failure while another one is well.
  const isServed = read.verdict !== 'fail' && reached > 0;
  const judged = faults.map(
    (fault): Finding => (isServed && fault.verdict === 'fail' ? { ...fault, verdict: 'warn' } : fault),
  );
  if (read.verdict !== 'ok' || servers.length === 0) return [read, ...judged];
  const addresses = serversOf(registry).map(hostPortText);
  const what = `${read.found}; well: ${reached} of ${servers.length} (${listed(addresses)})`;
  const untils = servers.flat().flatMap(({ found }) => /certificate is (.*)$/.exec(found)?.[1] ?? []);
  return [{ ...read, found: untils.length === 0 ? what : `${what}; certificate ${untils[0]}` }, ...judged];
}

async function readOf(
  registry: RegistryConfig,
  report: RegistryReport | undefined,
  subject: Subject,
  { limitMs, running }: Patient,
): Promise<Finding> {
  // What is live is not read a second time: the registry has work enough.
  if (report?.state === 'live') {
    const found = `live, ${counts(report.services, report.instances)}`;
    if (report.rejected > 0)
      return subject.warn(`${found}; ${counted(report.rejected, 'record')} cannot be used`, {
        advice: `see ${running?.url}/api/v1/registries/${registry.name}/rejected`,
      });
    return subject.ok(found);
  }
  const reading = await readOnce(registry, limitMs);
  const said =
    report === undefined
      ? ''
      : ` The running Pontoon says: ${report.state}${report.error === undefined ? '' : `, ${report.error}`}.`;
  if ('error' in reading)
    return subject.fail(`cannot be read: ${reading.error}${said === '' ? '' : `.${said}`}`, {
      advice: adviceFor(reading.error, registry),
    });
  const found = `read, ${counts(reading.services, reading.instances)}`;
  if (reading.unreadable.length > 0)
    return subject.warn(`${found}; cannot be read: ${listed(reading.unreadable)}`, {
      advice: 'look at the rights of our account there',
    });
  if (report !== undefined)
    return subject.warn(`${found}, by this command.${said}`, {
      advice: 'wait some seconds; look at the log of Pontoon if it stays so',
    });
  return subject.ok(found);
}

function adviceFor(error: string, { required }: RegistryConfig): string {
  const first = /credential|\b40[13]\b|auth|password|token|denied|forbidden/i.test(error)
    ? 'check user name, password or token under auth, and the rights of that account'
    : 'start it, or correct servers and tls';
  return required ? `${first}; a first start of Pontoon waits for it, unless required: false` : first;
}

function counts(services: number, instances: number): string {
  return `${counted(services, 'service')}, ${counted(instances, 'instance')}`;
}

/** Our own certificate for the registry. */
function clientCertificate(registry: RegistryConfig, subject: Subject): Finding[] {
  const { tls } = registry as { readonly tls?: { readonly cert?: string; readonly ca?: string } };
  return [tls?.cert, tls?.ca].flatMap((file) => (file === undefined ? [] : checkFile(file, subject)));
}
