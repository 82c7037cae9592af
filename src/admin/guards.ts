import { type Held, type Hold, leftOf } from '#guard/hold.js';
import type { AnswerCounts } from '#guard/inquiry.js';
import { instanceText, type ServiceKey, serviceId } from '#model/service.js';
import type { Parts } from './report.js';

/** One instance that is held. */
export interface HeldReport extends Pick<Held, 'why' | 'answer' | 'askedAt'> {
  readonly service: ServiceKey | undefined;
  readonly id: string;
  /** `address:port`; of several ports all of them. */
  readonly address: string;
}

/** A fall that is held. */
export interface HoldReport extends Pick<Hold, 'scope' | 'since' | 'reason'> {
  readonly registry: string;
  readonly service: ServiceKey | undefined;
  /** ms until its time is over; 0 if it goes on past it, since most of its instances live. */
  readonly left: number;
  /** How many instances are held, and how many of those that were have turned out dead. */
  readonly held: number;
  readonly dead: number;
  /** The first of them. */
  readonly instances: readonly HeldReport[];
}

/** All that is held, and what instances that were asked have said since the start. */
export interface GuardsReport {
  readonly holds: readonly HoldReport[];
  readonly probes: AnswerCounts;
}

export function guardsReport({ catalog, guarding }: Parts): GuardsReport {
  const now = performance.now();
  const holds = catalog.views().flatMap(({ registry, services }) => {
    const keyOf = (id: string | undefined): ServiceKey | undefined => services.get(id ?? '')?.key;
    return (catalog.guard(registry)?.holds() ?? []).map((hold) => ({
      scope: hold.scope,
      registry,
      service: keyOf(hold.service),
      since: hold.since,
      left: leftOf(hold, now),
      reason: hold.reason,
      held: hold.instances.size,
      dead: hold.dead,
      instances: firstOf(hold).map((held) => ({ ...heldReport(held), service: keyOf(held.service) })),
    }));
  });
  return { holds, probes: guarding.answers };
}

/** Instances of a hold that are shown. */
const most = 1_000;

function firstOf({ instances }: Hold): Held[] {
  const first: Held[] = [];
  for (const held of instances) {
    if (first.length === most) break;
    first.push(held);
  }
  return first;
}

/** What is held of one service of a registry, by the instances' ids. */
export function heldOf({ catalog }: Parts, key: ServiceKey): ReadonlyMap<string, Held> {
  const held = catalog.guard(key.registry)?.heldOf(serviceId(key)).values() ?? [];
  return new Map([...held].map((one) => [one.instance.id, one]));
}

/** Why an instance is still there, for people. */
export function heldText({ why, answer, hold }: Held): string {
  const lost = why === 'gone' ? 'its registry lists it no longer' : `its registry says ${why}`;
  const said = answer === undefined ? 'not asked yet' : `when asked: ${answer}`;
  return `held: ${lost}; ${said}; ${hold?.reason ?? ''}`;
}

function heldReport({ instance, why, answer, askedAt }: Held): Omit<HeldReport, 'service'> {
  return {
    id: instance.id,
    address: instanceText(instance),
    why,
    ...(answer === undefined ? {} : { answer }),
    ...(askedAt === undefined ? {} : { askedAt }),
  };
}
