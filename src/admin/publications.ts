import { compareText } from '#model/mesh.js';
import type { Note, Rejection, ServiceKey } from '#model/service.js';
import type { Step } from '#policy/trace.js';
import type { PublishedInstance } from '#publish/contract.js';
import type { Want } from '#publish/desired.js';
import type { Orders } from '#publish/orders.js';
import type { TargetStatus } from '#publish/status.js';
import type { Parts } from './report.js';

/** A service that is not published, or not by this publication. */
export interface RefusedService {
  /** Of the mesh service. */
  readonly host: string;
  readonly reason: string;
}

/** How a publication is doing. */
export interface PublicationReport {
  readonly name: string;
  readonly to: string;
  /** `paused`: it stays as it stands. `withdrawn`: all of it was taken back. Both until `pontoon resume`, or as configured. */
  readonly state: 'active' | 'paused' | 'withdrawn';
  readonly addresses: string;
  /** What it wants to stand there, after conflicts with other publications. */
  readonly services: number;
  readonly instances: number;
  /** Services that it chooses and that cannot stand there. */
  readonly refused: readonly RefusedService[];
  /** Services of its choice that another publication, or another host, has. */
  readonly conflicts: readonly RefusedService[];
  /** Instances that are not published, with the reason; see the services. */
  readonly refusedInstances: number;
}

/** What is published where. */
export interface PublicationsReport {
  readonly owner: string;
  /** Why what is ours cannot be written down; undefined while it can, or where there is no directory for it. */
  readonly ledgerError: string | undefined;
  /** Registries that can be written to. */
  readonly targets: readonly TargetStatus[];
  readonly publications: readonly PublicationReport[];
  /** What operators have ordered. */
  readonly orders: Orders;
}

export function publicationsReport({ publishing, config }: Parts): PublicationsReport {
  const { claims, orders, ledger } = publishing;
  const ofPublication = new Map<
    string,
    PublicationReport & { refused: RefusedService[]; conflicts: RefusedService[] }
  >();
  for (const { config: one } of claims.publications) {
    const { name, to, addresses } = one;
    const ordered = orders.registries[to] ?? orders.publications[name];
    const state = ordered ?? (one.paused ? 'paused' : 'active');
    const counts = { services: 0, instances: 0, refusedInstances: 0 };
    ofPublication.set(name, { name, to, state, addresses, ...counts, refused: [], conflicts: [] });
  }
  for (const one of claims.all()) {
    const report = ofPublication.get(one.publication);
    if (report === undefined) continue;
    if ('reason' in one) report.refused.push({ host: one.host, reason: one.reason });
    else {
      const winner = claims.of(one.id)[0];
      const isOther = winner !== undefined && winner !== one;
      if (isOther) report.conflicts.push({ host: one.host, reason: takenText(one, winner) });
      else Object.assign(report, added(report, one, refusedOf(publishing, one).length));
    }
  }
  const targets = publishing.engines.map((engine) => engine.status());
  return {
    owner: config.state.owner,
    ledgerError: ledger.error,
    targets,
    publications: [...ofPublication.values()],
    orders,
  };
}

function added(report: PublicationReport, { service }: Want, refused: number) {
  return {
    services: report.services + (service.instances.length > 0 ? 1 : 0),
    instances: report.instances + service.instances.length,
    refusedInstances: report.refusedInstances + refused,
  };
}

function takenText({ service }: Want, { publication, host }: Want): string {
  return `${publication} publishes ${host} as ${service.key.name}: give one of them another name`;
}

function refusedOf({ engines }: Parts['publishing'], { id, service, refused }: Want): readonly Rejection[] {
  const engine = engines.find(({ registry }) => registry === service.key.registry);
  return [...refused, ...(engine?.service(id).refused ?? [])];
}

/** One service that a publication publishes. */
export interface PublishedServiceReport {
  /** Of the mesh service. */
  readonly host: string;
  /** In the registry. */
  readonly service: ServiceKey;
  /** What is to stand there. */
  readonly instances: readonly PublishedInstance[];
  /** What stands there, as its source reads it: `Instance.id` and `address:port`. */
  readonly placed: readonly { readonly id: string; readonly address: string }[];
  readonly refused: readonly Rejection[];
  /** What the registry did not take of instances that stand there, such as metadata. */
  readonly notes: readonly Note[];
}

/** The services of one publication, in the order of their hosts; undefined if there is none of that name. */
export function publishedServices({ publishing }: Parts, name: string): PublishedServiceReport[] | undefined {
  const { claims, engines } = publishing;
  const publication = claims.publications.find(({ config }) => config.name === name);
  if (publication === undefined) return undefined;
  const engine = engines.find(({ registry }) => registry === publication.config.to);
  return claims
    .all()
    .flatMap((one) => ('id' in one && one.publication === name && claims.of(one.id)[0] === one ? [one] : []))
    .map((one) => {
      const { placed = [], notes = [] } = engine?.service(one.id) ?? {};
      return {
        host: one.host,
        service: one.service.key,
        instances: one.service.instances,
        placed: placed.map(({ id, instance }) => ({ id, address: `${instance.address}:${instance.port}` })),
        refused: refusedOf(publishing, one),
        notes,
      };
    })
    .sort((a, b) => compareText(a.host, b.host));
}

/** Where a mesh service is published, and why not. */
export function publicationSteps({ publishing, catalog }: Parts, host: string): Step[] {
  const { claims, orders, engines } = publishing;
  const service = catalog.services.get(host);
  const out = service === undefined ? [] : claims.out(service);
  return [
    ...claims.ofHost(host).map((one): Step => {
      const step = `publication ${one.publication}`;
      if ('reason' in one) return { step, result: 'not published', rule: one.reason };
      const winner = claims.of(one.id)[0];
      if (winner !== undefined && winner !== one)
        return { step, result: 'not published', rule: takenText(one, winner) };
      const { registry, name } = one.service.key;
      const engine = engines.find((engine) => engine.registry === registry);
      const { placed = [], notes = [] } = engine?.service(one.id) ?? {};
      const refused = refusedOf(publishing, one).map(({ record, reason }) => `${record}: ${reason}`);
      const ordered = orders.registries[registry] ?? orders.publications[one.publication] ?? orders.services[host];
      const noted = notes.map(({ record, text }) => `${record}: ${text}`);
      const said = [...(ordered === undefined ? [] : [`${ordered} by an operator`]), ...refused, ...noted];
      const counts = `${placed.length} of ${one.service.instances.length} instances stand there`;
      return { step, result: `${name} in ${registry}: ${counts}`, rule: said.join('; ') || 'all of it is published' };
    }),
    ...out.map(({ publication, reason }) => ({
      step: `publication ${publication}`,
      result: 'not published',
      rule: reason,
    })),
  ];
}

/** How an instance of a registry is published. */
export function publishedAs({ publishing }: Parts, host: string, address: string): string[] {
  const { claims, engines } = publishing;
  return claims.ofHost(host).flatMap((one) => {
    if (!('id' in one) || claims.of(one.id)[0] !== one) return [];
    const { registry, name } = one.service.key;
    const engine = engines.find((engine) => engine.registry === registry);
    const placed = engine?.service(one.id).placed.find(({ instance }) => instance.address === address);
    const refused = refusedOf(publishing, one).find(({ record }) => record.startsWith(`${address}:`));
    if (refused !== undefined) return [`not published as ${name} in ${registry}: ${refused.reason}`];
    return placed === undefined ? [] : [`published as ${name} in ${registry} (${placed.id})`];
  });
}
