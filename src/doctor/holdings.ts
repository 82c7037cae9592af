import type { ResourceReport } from '#admin/report.js';
import { createTime } from '#istio/resource.js';
import { counted, type Finding, listed, type Subject } from './finding.js';

/** An Istio resource as istiod's /debug/configz shows it. */
export interface HeldResource {
  readonly kind?: string;
  readonly metadata?: {
    readonly name?: string;
    readonly namespace?: string;
    readonly resourceVersion?: string;
    readonly creationTimestamp?: string;
  };
  readonly spec?: { readonly hosts?: readonly string[] };
}

/** In what istiod's ServiceEntries differ from ours; names of resources. */
export interface Difference {
  readonly missing: readonly string[];
  /** There in another version. */
  readonly other: readonly string[];
  /** From a Pontoon, and not ours. */
  readonly extra: readonly string[];
  /** Of others, with a host of ours: `namespace/name (host)`. */
  readonly foreign: readonly string[];
  readonly same: number;
}

const ourTime = createTime.seconds * 1_000;

/**
 * Compares what istiod holds with what it should have from us.
 * @param isServed whether this process would show a host; all unless given
 */
export function difference(
  held: readonly HeldResource[],
  ours: readonly ResourceReport[],
  isServed: (host: string) => boolean = () => true,
): Difference {
  const entries = new Map(
    held
      .filter(({ kind, spec }) => (kind ?? 'ServiceEntry') === 'ServiceEntry' && spec?.hosts !== undefined)
      .map((entry) => [`${entry.metadata?.namespace ?? ''}/${entry.metadata?.name ?? ''}`, entry]),
  );
  const hosts = new Set(ours.map(({ mesh }) => mesh.host));
  const missing: string[] = [];
  const other: string[] = [];
  for (const { name, version } of ours) {
    const entry = entries.get(name);
    if (entry === undefined) missing.push(name);
    else if (entry.metadata?.resourceVersion !== version) other.push(name);
    entries.delete(name);
  }
  const extra: string[] = [];
  const foreign: string[] = [];
  for (const [name, { metadata, spec }] of entries) {
    const { hosts: named = [] } = spec ?? {};
    if (Date.parse(metadata?.creationTimestamp ?? '') !== ourTime) {
      const host = named.find((one) => hosts.has(one));
      if (host !== undefined) foreign.push(`${name} (${host})`);
    } else if (named.some(isServed)) extra.push(name);
  }
  return { missing, other, extra, foreign, same: ours.length - missing.length - other.length };
}

/** What two looks have in common: the rest was on its way. */
export function lasting(first: Difference, second: Difference): Difference {
  const both = (key: 'missing' | 'other' | 'extra') => second[key].filter((name) => first[key].includes(name));
  return { ...second, missing: both('missing'), other: both('other'), extra: both('extra') };
}

export function isSettled({ missing, other, extra }: Difference): boolean {
  return missing.length + other.length + extra.length === 0;
}

/** The difference as findings. */
export function ofDifference({ missing, other, extra, foreign, same }: Difference, subject: Subject): Finding[] {
  const log = "look for them in istiod's log: it says what it refuses there";
  const findings: Finding[] = [];
  if (missing.length > 0)
    findings.push(
      subject.fail(`${counted(missing.length, 'resource')} of ours not held: ${listed(missing)}`, {
        expected: counted(missing.length + other.length + same, 'resource'),
        advice: `check configSources and the clients of Pontoon; ${log}`,
      }),
    );
  if (other.length > 0)
    findings.push(
      subject.fail(`${counted(other.length, 'resource')} held in another version than ours: ${listed(other)}`, {
        advice: `wait some seconds and ask again; ${log}`,
      }),
    );
  if (extra.length > 0)
    findings.push(
      subject.warn(
        `${counted(extra.length, 'resource')} from a Pontoon that this one does not have: ${listed(extra)}`,
        {
          advice:
            'if no other Pontoon serves this istiod, its connection to us is lost: see the listeners, and restart istiod',
        },
      ),
    );
  if (foreign.length > 0)
    findings.push(
      subject.warn(`${counted(foreign.length, 'host')} also in resources of others: ${listed(foreign)}`, {
        advice:
          'istiod gives the host to the older one or joins their endpoints: remove one of the two, or give ours another host by a policy',
      }),
    );
  if (findings.length === 0) findings.push(subject.ok(`holds all ${counted(same, 'resource')} as we sent them`));
  return findings;
}
