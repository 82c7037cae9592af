import { request as requestPlain } from 'node:http';
import { request as requestTls } from 'node:https';
import { type ClientTls, readClientTls } from '#config/fields.js';
import { within } from './dial.js';
import { counted, type Finding, Subject } from './finding.js';
import type { Check, Patient } from './patient.js';
import { tlsOf, urlsOf } from './servers.js';

/** Beyond this a clock is wrong: Dubbo's warm-up, leases and the rest of a hold after a restart are counted by it. */
const wrongMs = 5_000;
/** Beyond this, leases of 15 s go astray. */
const badMs = 15_000;

/** Our clock against those of whom we ask: the Date header of what they answer. */
export const clocksCheck: Check = {
  name: 'clocks',
  examine: async (patient) => {
    const skews = (
      await Promise.all(
        clocks(patient).map(async (clock) => ({ name: clock.name, skew: await skewOf(clock, patient.limitMs) })),
      )
    ).filter((one): one is { name: string; skew: number } => one.skew !== undefined);
    return skews.length === 0 ? [] : judged(skews);
  },
};

interface ClockAddress {
  readonly name: string;
  readonly url: string;
  readonly tls?: ClientTls | undefined;
}

function clocks({ config, running, istiods }: Patient): ClockAddress[] {
  return [
    ...(running === undefined ? [] : [{ name: 'Pontoon', url: running.url }]),
    ...config.registries.flatMap((registry) =>
      urlsOf(registry).map((url) => ({ name: `registry ${registry.name} (${url})`, url, tls: tlsOf(registry) })),
    ),
    ...istiods.map((url) => ({ name: `istiod ${url}`, url })),
  ];
}

function judged(skews: readonly { readonly name: string; readonly skew: number }[]): Finding[] {
  const subject = new Subject('clocks');
  const wrong = skews.filter(({ skew }) => Math.abs(skew) > wrongMs);
  // If all differ by the same, it is our own clock.
  const isOurs =
    skews.length > 1 && wrong.length === skews.length && spread(skews.map(({ skew }) => skew)) < 2 * wrongMs;
  if (wrong.length === 0) return [subject.ok(`${counted(skews.length, 'clock')} within ${wrongMs / 1000} s of ours`)];
  const advice = 'set the clocks by NTP: weights of starting Dubbo providers, leases and holds are counted by them';
  if (isOurs)
    return [
      say(
        subject,
        `this machine's clock is ${text(-(skews[0]?.skew ?? 0))} that of all others`,
        skews[0]?.skew ?? 0,
        advice,
      ),
    ];
  return wrong.map(({ name, skew }) => say(subject, `${name} is ${text(skew)} ours`, skew, advice));
}

function say(subject: Subject, found: string, skew: number, advice: string): Finding {
  const more = { expected: `within ${wrongMs / 1000} s`, advice };
  return Math.abs(skew) > badMs ? subject.fail(found, more) : subject.warn(found, more);
}

function text(skew: number): string {
  return `${Math.round(Math.abs(skew) / 1000)} s ${skew > 0 ? 'ahead of' : 'behind'}`;
}

function spread(values: readonly number[]): number {
  return Math.max(...values) - Math.min(...values);
}

/** ms by which a server's clock is ahead of ours; undefined if it cannot be told. The header has whole seconds only. */
async function skewOf({ url, tls }: ClockAddress, limitMs: number): Promise<number | undefined> {
  const sentAt = Date.now();
  try {
    const date = await within(dateOf(url, tls, limitMs), limitMs);
    return Number.isNaN(date) ? undefined : date + 500 - (sentAt + Date.now()) / 2;
  } catch {
    // Whether it can be reached is another check's.
    return undefined;
  }
}

/** The Date header of an answer, whatever that is; nothing secret is sent, and so nobody has to vouch for the server. */
function dateOf(url: string, tls: ClientTls | undefined, timeout: number): Promise<number> {
  return new Promise((resolve, reject) => {
    const options = { method: 'HEAD', timeout };
    const secure = () => requestTls(url, { ...options, ...readClientTls(tls ?? {}), rejectUnauthorized: false });
    const sent = url.startsWith('https:') ? secure() : requestPlain(url, options);
    sent
      .once('response', (response) => {
        response.resume();
        resolve(Date.parse(response.headers.date ?? ''));
        sent.destroy();
      })
      .on('error', reject)
      .once('timeout', () => sent.destroy(new Error('no answer in time')))
      .end();
  });
}
