import { setTimeout as sleep } from 'node:timers/promises';
import type { ResourceReport } from '#admin/report.js';
import { isServed } from '#catalog/shards.js';
import { hostPortText } from '#config/fields.js';
import type { ListenerConfig } from '#config/istio.js';
import { reasonOf } from '#model/reason.js';
import { type Finding, listed, Subject } from './finding.js';
import { difference, type HeldResource, isSettled, lasting, ofDifference } from './holdings.js';
import type { Check, Patient, Running } from './patient.js';
import { shownBy } from './sets.js';
import { compareSources, type IstiodSource } from './sources.js';

/** ms after which what differs is looked at again: istiod gathers changes for 100 ms, and under load for up to 10 s. */
const secondLookMs = 1_500;

/** Each istiod: its configSources against our listeners, and what it holds against what we have. */
export const istiodCheck: Check = {
  name: 'istiod',
  examine: async (patient) => (await Promise.all(patient.istiods.map((url) => ofIstiod(url, patient)))).flat(),
};

async function ofIstiod(url: string, patient: Patient): Promise<Finding[]> {
  const subject = new Subject(`istiod ${url}`);
  const debug = (page: string) => answerOf(`${url.replace(/\/$/, '')}/debug/${page}`, patient.limitMs);
  try {
    const mesh = (await debug('mesh')) as { readonly configSources?: readonly IstiodSource[] };
    const { findings, read } = compareSources(mesh.configSources ?? [], patient.config, subject);
    const { running } = patient;
    if (running === undefined) return [...findings];
    const shown = (resources: readonly ResourceReport[]) =>
      read.flatMap((listener) => shownBy(listener, patient.config, resources));
    return [
      ...findings,
      ...doubles(read, patient, running, subject),
      ...(await held(
        () => debug('configz'),
        shown,
        running,
        (host) => isServed(host, patient.config.istio.serve),
        subject,
      )),
    ];
  } catch (error) {
    return [
      subject.unknown(reasonOf(error), {
        advice:
          'name the address of its debug pages; they answer in full on its own machine: kubectl -n istio-system port-forward deploy/istiod 15014, then --istiod http://127.0.0.1:15014',
      }),
    ];
  }
}

/** @throws Error that says why there is no answer that can be used */
async function answerOf(url: string, limitMs: number): Promise<unknown> {
  let response: Response;
  try {
    response = await fetch(url, { signal: AbortSignal.timeout(limitMs) });
  } catch (error) {
    throw new Error(`${url}: ${reasonOf(error instanceof Error && error.cause !== undefined ? error.cause : error)}`);
  }
  if (!response.ok) throw new Error(`${url} answered ${response.status}`);
  return response.json().catch(() => {
    throw new Error(`${url} did not answer with JSON`);
  });
}

/** One istiod reads two listeners: then nothing may be in both. */
function doubles(
  read: readonly ListenerConfig[],
  { config }: Patient,
  { resources }: Running,
  subject: Subject,
): Finding[] {
  return read.flatMap((listener, index) =>
    read.slice(0, index).flatMap((other) => {
      const names = new Set(shownBy(other, config, resources).map(({ name }) => name));
      const both = shownBy(listener, config, resources).filter(({ name }) => names.has(name));
      if (both.length === 0) return [];
      return subject.fail(
        `it reads listeners ${hostPortText(other.listen)} and ${hostPortText(listener.listen)}, and both have ${listed(both.map(({ name }) => name))}`,
        {
          expected: 'each name in one source',
          advice: 'take one of the listeners out of its configSources, or divide them by when',
        },
      );
    }),
  );
}

async function held(
  configz: () => Promise<unknown>,
  shown: (resources: readonly ResourceReport[]) => readonly ResourceReport[],
  running: Running,
  isOurs: (host: string) => boolean,
  subject: Subject,
): Promise<Finding[]> {
  const look = async () => {
    const [entries, resources] = await Promise.all([configz(), running.resourcesNow()]);
    return difference(Array.isArray(entries) ? (entries as HeldResource[]) : [], shown(resources), isOurs);
  };
  // Before the first set is complete nothing is sent.
  if (running.state.waitingFor.length > 0) return [];
  let found = await look();
  if (!isSettled(found)) {
    await sleep(secondLookMs);
    found = lasting(found, await look());
  }
  return ofDifference(found, subject);
}
