import { addressKind, dnsLabel, parseAddress, parsePort, short } from '#model/address.js';
import { isLocality } from '#model/locality.js';
import { endpointPlace } from '#model/mesh.js';
import { reasonOf } from '#model/reason.js';
import type { Rejection } from '#model/service.js';
import { type ServiceEntry, ServiceEntry_Resolution, type WorkloadEntry } from '#proto/istio/networking.js';
import type { IstioResource } from './resource.js';

/**
 * Istio's rules for a ServiceEntry, and those of Envoy that Istio does not check. istiod never refuses a resource: it logs a warning, keeps the previous
 * copy or has none. And one bad endpoint rejects a whole entry. So what breaks a rule is taken out here, with the reason.
 * Follows istio.io/istio, pkg/config/validation, ValidateServiceEntry.
 */
export interface Checked {
  /** The resource without its bad endpoints; undefined if it cannot be sent at all. */
  readonly resource: IstioResource<'ServiceEntry'> | undefined;
  readonly rejected: readonly Rejection[];
}

/** Takes out of a resource what breaks a rule. */
export function checkServiceEntry(resource: IstioResource<'ServiceEntry'>): Checked {
  const { body } = resource;
  const whole = entryErrors(resource);
  if (whole.length > 0)
    return {
      resource: undefined,
      rejected: [{ record: `${resource.namespace}/${resource.name}`, reason: whole.join('; ') }],
    };
  const rejected: Rejection[] = [];
  const endpoints = body.endpoints.filter((endpoint) => {
    const errors = endpointErrors(endpoint, body);
    if (errors.length === 0) return true;
    rejected.push({ record: `endpoint ${short(endpointPlace(endpoint))}`, reason: errors.join('; ') });
    return false;
  });
  return { resource: rejected.length === 0 ? resource : { ...resource, body: { ...body, endpoints } }, rejected };
}

const hostLabel = /^[a-zA-Z0-9]([-a-zA-Z0-9]{0,61}[a-zA-Z0-9])?$/;
const labelValue = /^([A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?)?$/;
const labelName = /^[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?$/;

/** What is wrong with the namespace of a resource, if anything. */
export function namespaceErrors(namespace: string): string[] {
  return dnsLabel.test(namespace) ? [] : [`namespace "${namespace}" is not a DNS label: set another by configuration`];
}

/** What is wrong with a host, if anything. */
export function hostErrors(host: string): string[] {
  if (host.length > 253 || !host.split('.').every((label) => hostLabel.test(label)))
    return [`host "${short(host)}" is not a DNS name`];
  return /(^|\.)\d+$/.test(host) ? [`host "${host}" ends in a number`] : [];
}

function entryErrors({ namespace, name, body }: IstioResource<'ServiceEntry'>): string[] {
  const errors = namespaceErrors(namespace);
  if (name.length > 253 || !name.split('.').every((label) => dnsLabel.test(label)))
    errors.push(`name "${short(name)}" is not a DNS name of at most 253 characters`);
  if (body.hosts.length === 0) errors.push('no host');
  errors.push(...body.hosts.flatMap(hostErrors));
  for (const address of body.addresses)
    if (addressKind(address) === 'dns') errors.push(`address "${address}" is not an IP address`);
  if (body.ports.length === 0) errors.push('no port');
  for (const port of body.ports) {
    const number = portError(port.number);
    if (number !== undefined) errors.push(number);
    if (!dnsLabel.test(port.name)) errors.push(`port name "${short(port.name)}" is not a DNS label`);
  }
  const twice =
    duplicate(body.ports.map((port) => port.name)) ?? duplicate(body.ports.map((port) => String(port.number)));
  if (twice !== undefined) errors.push(`two ports have the name or number ${twice}`);
  return errors;
}

function endpointErrors(endpoint: WorkloadEntry, entry: ServiceEntry): string[] {
  const errors: string[] = [];
  try {
    const { kind, text } = parseAddress(endpoint.address);
    if (text !== endpoint.address) errors.push(`address "${endpoint.address}" is not normalised: expected ${text}`);
    if (kind === 'dns' && entry.resolution === ServiceEntry_Resolution.STATIC)
      errors.push('a DNS name under static resolution');
  } catch (error) {
    errors.push(reasonOf(error));
  }
  const names = entry.ports.map(({ name }) => name);
  for (const [name, number] of Object.entries(endpoint.ports)) {
    if (!names.includes(name)) errors.push(`port "${short(name)}" is none of the service's ports`);
    const wrong = portError(number);
    if (wrong !== undefined) errors.push(wrong);
  }
  for (const [key, value] of Object.entries(endpoint.labels)) {
    const [name = '', prefix] = key.split('/').reverse();
    if (!labelName.test(name) || (prefix !== undefined && !prefix.split('.').every((label) => dnsLabel.test(label))))
      errors.push(`label "${short(key)}" is not a label name`);
    if (!labelValue.test(value)) errors.push(`label ${short(key)}="${short(value)}" is not a label value`);
  }
  if (endpoint.locality !== '' && !isLocality(endpoint.locality))
    errors.push(`locality "${short(endpoint.locality)}" is not region/zone/subzone`);
  if (!Number.isInteger(endpoint.weight) || endpoint.weight < 1 || endpoint.weight > 4_294_967_295)
    errors.push(`weight ${endpoint.weight} is not a whole number of at least 1`);
  return errors;
}

function portError(number: number): string | undefined {
  try {
    parsePort(number);
    return undefined;
  } catch (error) {
    return reasonOf(error);
  }
}

function duplicate(values: readonly string[]): string | undefined {
  return values.find((value, index) => values.indexOf(value) !== index);
}
