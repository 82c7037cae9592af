import { hostPortText } from '#config/fields.js';
import type { ListenerConfig } from '#config/istio.js';
import { isLoopback } from '#model/address.js';
import { reasonOf } from '#model/reason.js';
import type { ListenerStatus } from '#sinks/xds/server.js';
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
          advice: 'put an Envoy that has one between istiod and this listener, or leave clientCa out',
        }),
      );
  }
  if (isWildcard(listen.host) && address === undefined)
    findings.push(
      subject.warn('under which name istiod reaches it is not known', {
        advice: 'set istio.xds.address, for the printed meshConfig',
      }),
    );
  const status = patient.running?.doors.listeners.find((one) => one.listen === hostPortText(listen));
  if (patient.running === undefined) return findings;
  if (status === undefined)
    return [
      ...findings,
      subject.fail('the running Pontoon has no such listener', {
        expected: listed(patient.running.doors.listeners.map((one) => one.listen)),
        advice: 'restart it: listeners are made at its start',
      }),
    ];
  return [...findings, ...ofRefused(status, subject), ...(await ofPorts(listener, status, patient, subject))];
}

async function ofPorts(
  { listen, tls }: ListenerConfig,
  { open }: ListenerStatus,
  { running, limitMs }: Patient,
  subject: Subject,
): Promise<Finding[]> {
  if (open.length === 0)
    return [
      subject.fail('none of its ports is open', {
        advice: 'see the log of Pontoon; istiod does not start while one of its sources is missing',
      }),
    ];
  const host = listen.host === '0.0.0.0' ? '127.0.0.1' : listen.host === '::' ? '::1' : listen.host;
  const ports = open.map(({ port }) => port);
  const what =
    ports.length === 1 ? `port ${ports[0]} is open` : `${ports.length} ports are open, ${ports[0]} to ${ports.at(-1)}`;
  const findings: Finding[] = [];
  if (listen.port === 0)
    findings.push(
      subject.warn('its port is 0: a free one is taken at each start', {
        advice: "give it a number: istiod's configSources name it",
      }),
    );
  // A loopback of another machine is not ours to try.
  if (isLoopback(host) && !isLoopback(new URL(running?.url ?? '').hostname))
    return [...findings, subject.ok(`${what}, as Pontoon says`)];
  const answers = await Promise.all(ports.map((port) => accepts(host, port, limitMs)));
  const closed = ports.filter((_, index) => !answers[index]);
  if (closed.length > 0)
    findings.push(
      subject.fail(
        `Pontoon has opened them, and from here nobody can be reached on ${counted(closed.length, 'port')} of ${ports.length}: ${listed(closed.map(String))}`,
        {
          advice: 'look for a firewall; istiod does not start while one of its sources cannot be reached',
        },
      ),
    );
  else if (tls === undefined) findings.push(subject.ok(`${what}, plaintext`));
  else findings.push(await servedCertificate(host, ports[0] ?? 0, tls.cert, subject, what, limitMs));
  return findings;
}

/** Clients that were sent away since the start. */
function ofRefused({ refused, certificate }: ListenerStatus, subject: Subject): Finding[] {
  const reasons = Object.entries(refused).filter(([, count]) => count > 0);
  const findings: Finding[] = [];
  if (certificate?.error !== undefined)
    findings.push(
      subject.fail(`the files of its certificate cannot be used, the one before stays: ${certificate.error}`, {
        advice: 'write a certificate and a key that belong together',
      }),
    );
  if (reasons.length > 0)
    findings.push(
      subject.warn(
        `sent clients away since its start: ${reasons.map(([reason, count]) => `${count} ${reason}`).join(', ')}`,
        {
          advice: 'the log of Pontoon says who; tls.clientCa, tls.allow and maxStreams decide',
        },
      ),
    );
  return findings;
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
  // Who reads one shard of a listener should read them all.
  const partly = running.doors.listeners.flatMap(({ listen, open }) => {
    const read = new Set(clients.filter(({ listener }) => listener === listen).map(({ shard }) => shard));
    const without = open.filter(({ shard }) => !read.has(shard)).map(({ port }) => port);
    if (read.size === 0 || without.length === 0) return [];
    return subject.warn(
      `nobody is connected to ${counted(without.length, 'shard')} of listener ${listen}: ${listed(without.map((port) => `port ${port}`))}`,
      {
        expected: 'an istiod on every shard',
        advice: "name them all in istiod's configSources (the fragment below), and restart istiod",
      },
    );
  });
  if (partly.length > 0) return partly;
  const versions = [...new Set(clients.map(({ version }) => version).filter((version) => version !== ''))];
  return [
    subject.ok(
      `${counted(clients.length, 'stream')} connected${versions.length === 0 ? '' : `, Istio ${versions.join(', ')}`}`,
    ),
  ];
}

/** Whether every address of the machine is listened on. */
export function isWildcard(host: string): boolean {
  return host === '0.0.0.0' || host === '::';
}
