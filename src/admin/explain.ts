import type { Held } from '#guard/hold.js';
import { compareText, endpointPlace, type MeshService } from '#model/mesh.js';
import { reasonOf } from '#model/reason.js';
import { type Instance, instanceText, type RegistryService, type ServiceKey, serviceId } from '#model/service.js';
import type { Step } from '#policy/trace.js';
import { heldOf, heldText } from './guards.js';
import { publicationSteps, publishedAs } from './publications.js';
import { clients, type Parts } from './report.js';

/** Why an instance is, or is not, where one looks for it. */
export interface InstanceExplanation {
  readonly id: string;
  /** `address:port`, as the registry says it; empty for a record that could not be read. */
  readonly address: string;
  readonly steps: readonly Step[];
  /** Whether it is an endpoint of the mesh service; or why not. */
  readonly outcome: string;
}

/** The way of one registry's service into the mesh. */
export interface Explanation {
  readonly service: ServiceKey;
  readonly steps: readonly Step[];
  readonly instances: readonly InstanceExplanation[];
}

/** Everything that is known of what was asked for. */
export interface Explanations {
  readonly asked: string;
  readonly found: readonly Explanation[];
  /** What else is to be said: of registries that cannot be asked, of names that are not even read. */
  readonly remarks: readonly string[];
}

const most = 20;
const mostChanges = 3;

/**
 * Walks what is asked for through every stage: registry, policies, merging, Istio's rules, clients.
 * @param asked a host, a service's name, an instance's id, an address or `address:port`; whole, in any case
 */
export function explain(parts: Parts, asked: string): Explanations {
  const wanted = asked.trim().toLowerCase();
  const { catalog } = parts;
  const found: Explanation[] = [];
  let more = 0;
  for (const view of catalog.views())
    for (const [id, service] of view.services) {
      const scope = matching(parts, id, service, wanted);
      if (scope === undefined) continue;
      if (found.length < most) found.push(explanation(parts, id, service, scope === 'instances' ? wanted : undefined));
      else more++;
    }
  const remarks = more === 0 ? [] : [`and ${more} more: ask for one of them`];
  return { asked, found, remarks: [...remarks, ...registryRemarks(parts, wanted, found.length)] };
}

function matching(
  parts: Parts,
  id: string,
  service: RegistryService,
  wanted: string,
): 'service' | 'instances' | undefined {
  const contribution = parts.catalog.contribution(id);
  const names = [service.key.name, id, contribution?.host ?? '', ...(contribution?.aliases ?? [])];
  if (names.some((name) => name.toLowerCase() === wanted)) return 'service';
  const isAsked = service.instances.some((instance) => isInstance(instance, wanted));
  return isAsked || service.rejected.some(({ record }) => record.toLowerCase() === wanted) ? 'instances' : undefined;
}

function isInstance({ id, address, ports }: Instance, wanted: string): boolean {
  if (id.toLowerCase() === wanted || address.toLowerCase() === wanted) return true;
  return ports.some(({ number }) => `${address}:${number}`.toLowerCase() === wanted);
}

function explanation(parts: Parts, id: string, service: RegistryService, instance: string | undefined): Explanation {
  const { catalog } = parts;
  const steps: Step[] = [registryStep(parts, service)];
  const ofInstances = new Map<string, Step[]>();
  try {
    catalog.trace(id, {
      service: (step) => steps.push(step),
      instance: (record, step) => void ofInstances.set(record, [...(ofInstances.get(record) ?? []), step]),
    });
  } catch (error) {
    steps.push({ step: 'host', result: 'none', rule: reasonOf(error) });
  }
  steps.push(...meshSteps(parts, id));
  const contribution = catalog.contribution(id);
  const leftOut = new Map(contribution?.leftOut.map(({ record, reason }) => [record, reason]));
  const held = heldOf(parts, service.key);
  const instances = service.instances
    .filter((one) => instance === undefined || isInstance(one, instance))
    .map((one) => ({
      id: one.id,
      address: instanceText(one),
      steps: [...guardSteps(held.get(one.id)), ...(ofInstances.get(one.id) ?? [])],
      outcome: leftOut.has(one.id)
        ? `gets no traffic: ${leftOut.get(one.id)}`
        : outcome(parts, service, contribution?.host, one),
    }));
  const rejected = service.rejected
    .filter(({ record }) => instance === undefined || record.toLowerCase() === instance)
    .map(({ record, reason }) => ({ id: record, address: '', steps: [], outcome: `cannot be used: ${reason}` }));
  return {
    service: service.key,
    steps,
    instances: [...instances, ...rejected].sort((a, b) => compareText(a.id, b.id)),
  };
}

function guardSteps(held: Held | undefined): Step[] {
  if (held === undefined) return [];
  return [{ step: 'guard', result: heldText(held), rule: `guards.${held.hold?.scope ?? ''}` }];
}

function registryStep({ supervisors, catalog }: Parts, { key, rejected }: RegistryService): Step {
  const status = supervisors.map((supervisor) => supervisor.status()).find(({ registry }) => registry === key.registry);
  const view = catalog.view(key.registry);
  const said = view?.said.get(serviceId(key));
  const held = catalog.guard(key.registry)?.heldOf(serviceId(key)).size ?? 0;
  const kept = held === 0 ? '' : `, ${held} more are held`;
  const unreadable = view?.unreadable.get(serviceId(key));
  const doubt = unreadable === undefined ? '' : `, cannot be read now: ${reasonOf(unreadable)}`;
  return {
    step: 'registry',
    result: `${said?.instances.length ?? 0} instances${kept}, ${rejected.length} records that cannot be used${doubt}`,
    rule: `${key.registry} is ${status?.state ?? 'gone'}${status?.error === undefined ? '' : `: ${status.error}`}`,
  };
}

function meshSteps(parts: Parts, id: string): Step[] {
  const { catalog, projection } = parts;
  const lost = catalog.rejected().filter((rejected) => rejected.id === id);
  const steps: Step[] = lost.map(({ reason }) => ({ step: 'merge', result: 'not in the mesh', rule: reason }));
  const contribution = catalog.contribution(id);
  if (contribution === undefined) return steps;
  for (const host of [contribution.host, ...contribution.aliases]) {
    const elsewhere = catalog.elsewhereText(host);
    if (elsewhere !== undefined) steps.push({ step: 'merge', result: 'not in the mesh here', rule: elsewhere });
    const service = catalog.services.get(host);
    if (service === undefined || !service.origins.some((key) => serviceId(key) === id)) continue;
    steps.push(mergeStep(service, host));
    const refused = projection.rejected().get(host) ?? [];
    const names = projection.resources(host).map(({ type, namespace, name }) => {
      const id = `${namespace}/${name}`;
      return type === 'ServiceEntry' ? id : `${type} ${id}`;
    });
    steps.push({
      step: 'Istio',
      result: names.length === 0 ? 'nothing is sent' : names.join(', '),
      rule:
        refused.length === 0
          ? 'all of it is valid'
          : refused.map(({ record, reason }) => `${record}: ${reason}`).join('; '),
    });
  }
  for (const host of [contribution.host, ...contribution.aliases]) steps.push(...publicationSteps(parts, host));
  const connected = clients(parts);
  steps.push({
    step: 'clients',
    result: `${connected.length} connected`,
    rule: connected.map(({ node }) => node).join(', ') || 'no istiod is connected',
  });
  return steps;
}

function mergeStep({ origins, endpoints, ports, vips }: MeshService, host: string): Step {
  const numbers = ports.map(({ number, name }) => `${number} ${name}`).join(', ');
  return {
    step: 'merge',
    result: `${host}: ${endpoints.length} endpoints, ports ${numbers}${vips.length === 0 ? '' : `, address ${vips.join(', ')}`}`,
    rule: `from ${origins.map(serviceId).join(' and ')}`,
  };
}

function outcome(parts: Parts, { key }: RegistryService, host: string | undefined, instance: Instance): string {
  const { catalog, projection } = parts;
  const no = (reason: string): string => `gets no traffic: ${reason}`;
  if (catalog.isWorkload(serviceId(key))) return podOutcome(catalog.servicesAt(instance.address));
  const service = host === undefined ? undefined : catalog.services.get(host);
  const elsewhere = host === undefined ? undefined : catalog.elsewhereText(host);
  if (elsewhere !== undefined) return `in another Pontoon's hands: ${elsewhere}`;
  if (service === undefined) return no('its service is not in the mesh');
  if (!service.origins.some((origin) => serviceId(origin) === serviceId(key)))
    return no(`another service holds ${host}`);
  const endpoint = service.endpoints.find(({ origins }) =>
    origins.some((one) => one.registry === key.registry && one.instance === instance.id),
  );
  const own = instanceText(instance);
  const places = endpoint === undefined ? [own] : [own, endpointPlace(endpoint)];
  const refused = [...service.unreachable, ...(projection.rejected().get(service.host) ?? [])].find(({ record }) =>
    places.some((place) => record === place || record === `endpoint ${place}`),
  );
  if (refused !== undefined) return no(refused.reason);
  if (endpoint === undefined) return no(`registries before ${key.registry} have enough endpoints of ${host}`);
  const way = endpoint.address === instance.address ? '' : ` through the gateway ${endpoint.address}`;
  return [`endpoint of ${host}${way}`, ...publishedAs(parts, service.host, endpoint.address)].join('; ');
}

/** @param services ids of those that have an endpoint where the pod is */
function podOutcome(services: readonly string[]): string {
  if (services.length === 0) return 'no service has an endpoint at its address';
  return `what it says goes for the endpoints of ${services.join(', ')}`;
}

/** What the journal knows of an instance or a host that is there no more; the newest first. */
function lastChanges({ journal }: Parts, wanted: string): string[] {
  const ofInstance = journal.query({ instance: wanted, limit: mostChanges });
  const entries = ofInstance.length > 0 ? ofInstance : journal.query({ host: wanted, limit: mostChanges });
  return entries.map(({ at, host, text, endpoints, registry, cause }) => {
    const own = endpoints.find(({ endpoint }) => endpoint === wanted || endpoint.startsWith(`${wanted}:`));
    const what = own === undefined ? text : `${own.endpoint} ${own.text}`;
    const from = registry === '' ? cause : `${registry}, ${cause}`;
    return `${new Date(at).toISOString()} ${host}: ${what} [${from}]`;
  });
}

function registryRemarks(parts: Parts, wanted: string, found: number): string[] {
  const { catalog, supervisors, config } = parts;
  const remarks: string[] = [];
  for (const view of catalog.views()) {
    for (const [id, error] of view.unreadable)
      if (id.toLowerCase().includes(encodeURIComponent(wanted).toLowerCase()))
        remarks.push(`${id} cannot be read: ${reasonOf(error)}`);
  }
  if (found > 0) return remarks;
  remarks.push('no registry holds it', ...lastChanges(parts, wanted));
  for (const { registry, state, error } of supervisors.map((supervisor) => supervisor.status()))
    if (state !== 'live') remarks.push(`${registry} is ${state}${error === undefined ? '' : `: ${error}`}`);
  const elsewhere = catalog.elsewhereText(wanted);
  if (elsewhere !== undefined) remarks.push(`if it is a host: ${elsewhere}`);
  for (const { name, include, exclude } of config.registries)
    if (include !== undefined || exclude !== undefined)
      remarks.push(
        `${name} reads ${(include ?? ['*']).join(', ')}${exclude === undefined ? '' : `, not ${exclude.join(', ')}`}`,
      );
  return remarks;
}
