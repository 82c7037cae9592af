import { createHash } from 'node:crypto';
import type { MeshPort, MeshService } from '#model/mesh.js';
import { isHttp, protocols } from '#model/protocol.js';
import type { Rejection } from '#model/service.js';
import type { IstioResource } from './resource.js';
import { hostErrors, namespaceErrors } from './validate.js';

/** What makes an edge gateway of this network take a port: labels of its pods, in any namespace, and the address that it listens on. */
export interface GatewayPlace {
  readonly selector: Readonly<Record<string, string>>;
  /** IP address; all of the pod's, unless given. */
  readonly bind?: string | undefined;
}

/** A port of a mesh service that can be called from outside of this network: at this port of each of its gateways. */
export interface Exposure {
  /** The service port's number. */
  readonly number: number;
  /** The gateways' port, which is this service port's alone. */
  readonly port: number;
  readonly gateways: readonly GatewayPlace[];
}

/** Which services can be called through this network's gateways. */
export interface Exposures {
  of(host: string): readonly Exposure[];
  /** Hears the hosts of which something else is said now. */
  on(event: 'change', heard: (hosts: ReadonlySet<string>) => void): unknown;
}

export const noExposures: Exposures = { of: () => [], on: () => undefined };

/** What of a service's exposures becomes resources, and what cannot. */
export interface GatewayResources {
  readonly resources: readonly IstioResource<'Gateway' | 'VirtualService'>[];
  readonly rejected: readonly Rejection[];
}

/**
 * The Gateways and VirtualServices of a service: of each exposed port a VirtualService, and for each place of gateways a Gateway. Not one Gateway for all: istiod decodes and
 * checks a changed one whole, and builds each TCP port of a Gateway by going through all VirtualServices that are bound to it.
 * See https://istio.io/latest/docs/reference/config/networking/gateway/
 */
export function gatewayResources(service: MeshService, exposures: readonly Exposure[]): GatewayResources {
  const resources: IstioResource<'Gateway' | 'VirtualService'>[] = [];
  const rejected: Rejection[] = [];
  for (const exposure of exposures) {
    const port = service.ports.find(({ number }) => number === exposure.number);
    if (port === undefined) continue;
    const errors = gatewayErrors(service);
    if (errors.length === 0) resources.push(...ofPort(service, port, exposure));
    else rejected.push({ record: `gateway port ${exposure.port}`, reason: errors.join('; ') });
  }
  return { resources, rejected };
}

/** Why no gateway can lead to a service, if there is a reason. */
export function gatewayErrors({ host, namespace }: Pick<MeshService, 'host' | 'namespace'>): string[] {
  const errors = [...namespaceErrors(namespace), ...hostErrors(host)];
  if (!host.includes('.'))
    errors.push(
      `a VirtualService leads to hosts with a dot only: istiod adds namespace and cluster domain to "${host}"; give it another host`,
    );
  return errors;
}

function ofPort(
  service: MeshService,
  port: MeshPort,
  exposure: Exposure,
): IstioResource<'Gateway' | 'VirtualService'>[] {
  const { host, namespace, revision } = service;
  const about = { namespace, host, labels: revision === undefined ? {} : { 'istio.io/rev': revision } };
  const isOverHttp = isHttp(port.protocol);
  const protocol = isOverHttp ? protocols[port.protocol].istio : 'TCP';
  const gateways = exposure.gateways.map(({ selector, bind = '' }, index) => {
    const server = { port: { number: exposure.port, protocol, name: `port-${exposure.port}` }, hosts: ['*'], bind };
    return {
      ...about,
      type: 'Gateway' as const,
      name: labelFor(host, port, index),
      body: { servers: [server], selector: { ...selector } },
    };
  });
  const route = [{ destination: { host, port: { number: port.number } } }];
  const virtualService = {
    ...about,
    type: 'VirtualService' as const,
    name: labelFor(host, port, 0),
    body: {
      // Callers' Host is the address that they dialled.
      hosts: ['*'],
      gateways: gateways.map(({ name }) => `${namespace}/${name}`),
      http: isOverHttp ? [{ route }] : [],
      tcp: isOverHttp ? [] : [{ route }],
      // Gateways may be of another namespace than the service; sidecars have nothing of it.
      exportTo: ['*'],
    },
  };
  return [...gateways, virtualService];
}

/** istiod takes no dots in a Gateway's name. @returns a DNS label that no other port has: its hash is part of it */
function labelFor(host: string, { number }: MeshPort, index: number): string {
  const hash = createHash('sha256').update(`${host} ${number} ${index}`).digest('hex').slice(0, 8);
  const name = host
    .toLowerCase()
    .replaceAll(/[^a-z0-9]+/g, '-')
    .slice(0, 40);
  return `${name}-${number}-${hash}`;
}
