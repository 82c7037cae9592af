import { gatewayErrors } from '#istio/gateway.js';
import type { Endpoint, MeshPort, MeshService } from '#model/mesh.js';
import type { Metadata, Rejection } from '#model/service.js';
import { boundedWeight } from '#policy/weight.js';

/** An endpoint that a publication takes. */
export interface Chosen {
  readonly endpoint: Endpoint;
  /** The number that is dialled there. */
  readonly port: number;
  readonly isUp: boolean;
  /** What its registry says of the instance, as the publication chooses. */
  readonly metadata: Metadata;
}

/** What callers are to dial, before it is brought to the registry's scale and marked. */
export interface Addressed extends Pick<Chosen, 'port' | 'isUp' | 'metadata'> {
  readonly address: string;
  /** In the mesh's scale, where 100 means "as any other". */
  readonly weight: number;
  readonly locality: string | undefined;
}

/** What callers of a service are to dial, and what of it cannot be. */
export interface Addresses {
  readonly instances: readonly Addressed[];
  readonly refused: readonly Rejection[];
}

/** The gateways of the network that the mesh is in, where they take published services. */
export interface PublishingGateways {
  readonly gateways: readonly { readonly address: string; readonly locality?: string | undefined }[];
  /** The gateways' port for a port of a mesh service; undefined while there is none. */
  port(host: string, number: number): number | undefined;
  /** Why some get none; undefined if they will. */
  readonly error: string | undefined;
}

/** What of a mesh service a publication takes. */
export interface Selection {
  readonly service: MeshService;
  readonly port: MeshPort;
  readonly chosen: readonly Chosen[];
}

/** What a service is dialled at, as the publication's `addresses` says. */
export function addressesOf(
  selection: Selection,
  addresses: 'instances' | 'gateway' | 'vip',
  gateways: PublishingGateways,
): Addresses {
  if (addresses === 'instances') return { instances: selection.chosen.map(ownAddress), refused: [] };
  const one = standIn(selection);
  if (one === undefined) return nothing;
  return addresses === 'vip' ? byVip(selection, one) : byGateways(selection, one, gateways);
}

const nothing: Addresses = { instances: [], refused: [] };

function ownAddress({ endpoint, ...rest }: Chosen): Addressed {
  return { address: endpoint.address, weight: endpoint.weight, locality: endpoint.locality, ...rest };
}

type StandIn = Omit<Addressed, 'address' | 'port'>;

/**
 * One instance for all: up as long as one of them is.
 * @returns undefined if nobody stands behind: a Dubbo consumer goes on with providers of which all are disabled
 */
function standIn({ chosen: [first, ...others] }: Selection): StandIn | undefined {
  if (first === undefined) return undefined;
  const up = [first, ...others].filter(({ isUp }) => isUp);
  const { locality } = first.endpoint;
  return {
    isUp: up.length > 0,
    weight: up.reduce((sum, { endpoint }) => sum + endpoint.weight, 0),
    locality: others.every(({ endpoint }) => endpoint.locality === locality) ? locality : undefined,
    // What differs is no word about all of them.
    metadata: Object.fromEntries(
      Object.entries(first.metadata).filter(([key, value]) => others.every((one) => one.metadata[key] === value)),
    ),
  };
}

function byVip({ service, port }: Selection, one: StandIn): Addresses {
  const [address] = service.vips;
  if (address === undefined) return refused('it has no virtual address: see istio.vip');
  return { instances: [{ ...one, address, port: port.number, weight: whole(one.weight) }], refused: [] };
}

/** One for each gateway, all at the same port; each carries its part. */
function byGateways({ service, port }: Selection, one: StandIn, { gateways, ...ports }: PublishingGateways): Addresses {
  const [error] = gatewayErrors(service);
  if (error !== undefined) return refused(error);
  const number = ports.port(service.host, port.number);
  if (number === undefined) return refused(ports.error ?? 'its port at the gateways is not given out yet');
  return {
    instances: gateways.map(({ address, locality = one.locality }) => ({
      ...one,
      address,
      port: number,
      locality,
      weight: whole(one.weight / gateways.length),
    })),
    refused: [],
  };
}

function refused(reason: string): Addresses {
  return { instances: [], refused: [{ record: 'the service', reason }] };
}

function whole(weight: number): number {
  return boundedWeight(Math.round(weight));
}
