import { hostPortText } from '#config/fields.js';
import type { ListenerConfig } from '#config/istio.js';
import { addressesOf, placeOf } from '#istio/meshconfig.js';
import { reasonOf } from '#model/reason.js';
import { checkFile, goodUntil, readCertificates } from './certificate.js';
import { accepts, certificateOf, within } from './dial.js';
import { counted, type Finding, listed, Subject } from './finding.js';
import type { Check, Patient } from './patient.js';

/** The listeners: ports, certificates, and who is connected. */
export const listenersCheck: Check = {
  name: 'listeners',
  examine: async (patient) => {
    const { xds } = patient.config.istio;
    const found = await Promise.all(xds.map((listener) => ofListener(listener, patient)));
    return [...found.flat(), ...ofClients(patient)];
  },
};

async function ofListener(listener: ListenerConfig, patient: Patient): Promise<Finding[]> {
  const { listen, tls, address } = listener;
  const subject = new Subject(`listener ${hostPortText(listen)}`);
  const findings: Finding[] = [];
  if (tls !== undefined) {
    const host = address ?? listen.host;
    findings.push(...checkFile(tls.cert, subject, isWildcard(host) ? [] : [host]));
    if (tls.clientCa !== undefined) findings.push(...checkFile(tls.clientCa, subject));
    if (tls.clientCa !== undefined)
      findings.push(
        subject.warn('it demands client certificates, and istiod has none for its sources', {
          advice: 'put a proxy that has one between istiod and this listener, or leave clientCa out',
        }),
      );
  }
  if (isWildcard(listen.host) && address === undefined)
    findings.push(
      subject.warn('under which name istiod reaches it is not known', {
        advice: 'set istio.xds.address, for the printed meshConfig',
      }),
    );
  if (patient.running === undefined) return findings;
  return [...findings, ...(await ofPorts(listener, patient, subject))];
}

async function ofPorts(listener: ListenerConfig, { config, limitMs }: Patient, subject: Subject): Promise<Finding[]> {
  const { listen, tls, shards } = listener;
  const host = listen.host === '0.0.0.0' ? '127.0.0.1' : listen.host === '::' ? '::1' : listen.host;
  const { serve } = config.istio;
  const ports = placeOf(listener).ports.filter(
    (_, shard) => serve === undefined || (shard >= serve.from && shard <= serve.to),
  );
  if (ports.length === 0)
    return [
      subject.warn('its port is 0: a free one is taken at each start', {
        advice: 'give it a number: istiod’s configSources name it',
      }),
    ];
  const open = await Promise.all(ports.map((port) => accepts(host, port, limitMs)));
  const closed = ports.filter((_, index) => !open[index]);
  if (closed.length > 0)
    return [
      subject.fail(
        `nobody listens on ${counted(closed.length, 'port')} of ${ports.length}: ${listed(closed.map(String))}`,
        {
          advice: 'see the log of Pontoon; istiod does not start while one of its sources is missing',
        },
      ),
    ];
  const what =
    shards === 1 ? `port ${ports[0]} is open` : `${counted(ports.length, 'port')} open, ${ports[0]} to ${ports.at(-1)}`;
  if (tls === undefined) return [subject.ok(`${what}, plaintext`)];
  return [await servedCertificate(host, ports[0] ?? 0, tls.cert, subject, what, limitMs)];
}

/** Whether a renewed certificate is in use. */
async function servedCertificate(
  host: string,
  port: number,
  file: string,
  subject: Subject,
  what: string,
  limitMs: number,
): Promise<Finding> {
  try {
    const served = await within(certificateOf(host, port, limitMs), limitMs);
    const [written] = readCertificates(file);
    if (written !== undefined && served.fingerprint256 !== written.fingerprint256)
      return subject.warn(`${what}; it shows another certificate (${goodUntil(served)}) than ${file} holds`, {
        advice:
          'a renewed one is read within seconds; if it stays so, certificate and key may not belong together: see the log of Pontoon',
      });
    return subject.ok(`${what}, TLS, its certificate is ${goodUntil(served)}`);
  } catch (error) {
    return subject.fail(`${what} and does not speak TLS: ${reasonOf(error)}`, { advice: 'see the log of Pontoon' });
  }
}

function ofClients({ config, running }: Patient): Finding[] {
  if (running === undefined || config.istio.xds.length === 0) return [];
  const subject = new Subject('clients');
  const { clients } = running;
  const refused = clients.flatMap(({ node, peer, subscriptions }) =>
    subscriptions.flatMap(({ typeUrl, refused }) =>
      refused === undefined ? [] : [{ client: node || peer, typeUrl, refused }],
    ),
  );
  if (refused.length > 0)
    return refused.map(({ client, typeUrl, refused }) =>
      subject.fail(`${client} refused the last ${typeUrl}: ${refused}`, {
        advice: 'what it names is to be mended or left out by a policy',
      }),
    );
  if (clients.length === 0)
    return [
      subject.warn('nobody is connected', {
        expected: 'an istiod on every shard',
        advice: `add the fragment below to istiod's meshConfig, and restart istiod`,
      }),
    ];
  const versions = [...new Set(clients.map(({ version }) => version).filter((version) => version !== ''))];
  return [
    subject.ok(
      `${counted(clients.length, 'stream')} connected${versions.length === 0 ? '' : `, Istio ${versions.join(', ')}`}`,
    ),
  ];
}

/** Whether every address of the machine is listened on. */
function isWildcard(host: string): boolean {
  return host === '0.0.0.0' || host === '::';
}

/** The sources that istiod should have for a listener. */
export function expectedSources(listener: ListenerConfig, { config }: Pick<Patient, 'config'>): string[] {
  return addressesOf(placeOf(listener, config.istio.serve));
}
