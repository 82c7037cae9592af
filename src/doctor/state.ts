import { accessSync, constants, existsSync } from 'node:fs';
import { statfs } from 'node:fs/promises';
import { dirname } from 'node:path';
import { pino } from 'pino';
import { openCoordination } from '#coordination/coordination.js';
import { isLoopback } from '#model/address.js';
import { reasonOf } from '#model/reason.js';
import { checkFile } from './certificate.js';
import { within } from './dial.js';
import { counted, type Finding, Subject } from './finding.js';
import type { Check, Patient } from './patient.js';

/** Bytes that a snapshot and a journal of a large catalog take, several times over. */
const roomNeeded = 200 * 1024 * 1024;

/** What outlives the process: its directory, the replicas' certificates, what replicas share. */
export const stateCheck: Check = {
  name: 'state',
  examine: async (patient) => [
    ...(await ofDirectory(patient)),
    ...ofReplicas(patient),
    ...(await ofCoordination(patient)),
  ],
};

async function ofDirectory({ config, running }: Patient): Promise<Finding[]> {
  const { directory } = config.state;
  const subject = new Subject('state.directory');
  if (directory === undefined)
    return [
      subject.warn('not set', {
        expected: 'a directory',
        advice: 'set it: without it a restart while a registry is away serves nothing of that registry',
      }),
    ];
  const error = running?.state.snapshot?.error;
  if (error !== undefined)
    return [
      subject.fail(`the last snapshot could not be written: ${error}`, {
        advice: 'make room, or give Pontoon the right to write',
      }),
    ];
  // That of a Pontoon elsewhere is not ours to look at.
  if (running !== undefined && !isLoopback(new URL(running.url).hostname))
    return [subject.ok(`written by ${running.url}`)];
  const looked = existsSync(directory) ? directory : dirname(directory);
  try {
    accessSync(looked, constants.W_OK);
  } catch (reason) {
    return [
      subject.fail(`${directory} cannot be written: ${reasonOf(reason)}`, {
        advice: 'give the user that runs Pontoon the right to write there',
      }),
    ];
  }
  const { bavail, bsize } = await statfs(looked);
  const megabytes = Math.floor((bavail * bsize) / 1024 / 1024);
  if (bavail * bsize < roomNeeded)
    return [
      subject.warn(`${directory} has ${megabytes} MiB left`, {
        expected: `${roomNeeded / 1024 / 1024} MiB`,
        advice: 'make room',
      }),
    ];
  return [subject.ok(`${directory} can be written, ${megabytes} MiB left`)];
}

function ofReplicas({ config: { state } }: Patient): Finding[] {
  const { tls } = state;
  if (tls === undefined) return [];
  const subject = new Subject('state.tls');
  return [tls.cert, tls.clientCa].flatMap((file) => checkFile(file, subject));
}

async function ofCoordination({ config, running, limitMs }: Patient): Promise<Finding[]> {
  const { coordination } = config;
  if (coordination === undefined) return [];
  const subject = new Subject(`coordination (${coordination.type})`);
  const advice =
    'start it, or correct its address and our rights there: while it is away no replica hears what operators release on another';
  if (running !== undefined) {
    const { error } = running.state.coordination;
    return [error === undefined ? subject.ok('reached by the running Pontoon') : subject.fail(error, { advice })];
  }
  const shared = openCoordination(coordination, { log: pino({ level: 'silent' }), registries: config.registries });
  try {
    await within(new Promise<void>((resolve) => shared.watch('releases', () => resolve())), limitMs);
    return [subject.ok('can be read')];
  } catch (error) {
    return [subject.fail(shared.error ?? reasonOf(error), { advice })];
  } finally {
    await within(shared.close(), limitMs).catch(() => undefined);
  }
}

/** What holds things up now. */
export const guardsCheck: Check = {
  name: 'guards',
  examine: async ({ running }) => {
    if (running === undefined) return [];
    const subject = new Subject('guards');
    const { waitingFor } = running.state;
    const waiting = waitingFor.map((registry) =>
      subject.fail(`nothing is shown to Istio yet: registry ${registry} has not been read`, {
        advice: `mend it, or let the start go on without it: pontoon release ${registry} --start`,
      }),
    );
    const holds = running.guards.holds.map(({ registry, service, held, reason, left }) => {
      const what = service === undefined ? registry : `${registry} ${service.name}`;
      const time = left === 0 ? 'past its time' : `for ${Math.ceil(left / 1000)} s`;
      return subject.warn(`${counted(held, 'instance')} of ${what} held ${time}: ${reason}`, {
        advice: `if they are really gone: pontoon release ${registry}${service === undefined ? '' : ` ${service.name}`}`,
      });
    });
    return waiting.length + holds.length > 0
      ? [...waiting, ...holds]
      : [subject.ok('nothing is held, nothing is waited for')];
  },
};
