import { compareText, type Endpoint, endpointKey, endpointPlace, type MeshPort } from '#model/mesh.js';
import { isHttp } from '#model/protocol.js';
import type { Rejection } from '#model/service.js';
import { boundedWeight } from './weight.js';

/** Where a network can be entered from outside. */
export interface EdgeGateway {
  readonly address: string;
  /** Where it takes HTTP and gRPC, told apart by their host; undefined if it does not. */
  readonly port?: number | undefined;
  readonly locality?: string | undefined;
}

/** Edge gateways by network. */
export type EdgeGateways = Readonly<Record<string, { readonly gateways?: readonly EdgeGateway[] | undefined }>>;

/**
 * Replaces endpoints of networks that have gateways by these, since they cannot be reached directly. A gateway's weight is its share of what stands behind. It is
 * a plain endpoint, without a network: istiod leaves out endpoints of other networks that have no mutual TLS.
 * @param port where the gateways take this very service, if a policy says so
 */
export function behindGateways(
  endpoints: readonly Endpoint[],
  networks: EdgeGateways,
  ports: readonly MeshPort[],
  port: number | undefined,
): { readonly endpoints: readonly Endpoint[]; readonly unreachable: readonly Rejection[] } {
  const behind = new Map<string, Endpoint[]>();
  const direct: Endpoint[] = [];
  for (const endpoint of endpoints) {
    const { network } = endpoint;
    const gateways = network === undefined ? [] : (networks[network]?.gateways ?? []);
    if (network === undefined || gateways.length === 0) direct.push(endpoint);
    // It is a gateway itself, as what another Pontoon has published.
    else if (gateways.some(({ address }) => address === endpoint.address))
      direct.push({ ...endpoint, network: undefined });
    else {
      const others = behind.get(network);
      if (others === undefined) behind.set(network, [endpoint]);
      else others.push(endpoint);
    }
  }
  if (behind.size === 0) return { endpoints: direct, unreachable: [] };
  const unreachable: Rejection[] = [];
  for (const [network, hidden] of behind) {
    const gateways = networks[network]?.gateways ?? [];
    direct.push(...gateways.flatMap((gateway) => entrance(gateway, hidden, gateways.length, ports, port) ?? []));
    for (const one of ports) {
      if (gateways.some((gateway) => numberAt(gateway, one, port) !== undefined)) continue;
      for (const endpoint of hidden)
        if (one.name in endpoint.ports)
          unreachable.push({
            record: endpointPlace(endpoint),
            reason: `network ${network} is behind its gateways, and no port of theirs is known for ${one.name}: set gatewayPort by a policy`,
          });
    }
  }
  return { endpoints: direct.sort((a, b) => compareText(endpointKey(a), endpointKey(b))), unreachable };
}

function entrance(
  gateway: EdgeGateway,
  hidden: readonly Endpoint[],
  count: number,
  ports: readonly MeshPort[],
  port: number | undefined,
): Endpoint | undefined {
  const dialled: Record<string, number> = {};
  for (const one of ports) {
    const number = numberAt(gateway, one, port);
    if (number !== undefined && hidden.some((endpoint) => one.name in endpoint.ports)) dialled[one.name] = number;
  }
  const served = hidden.filter((endpoint) => Object.keys(dialled).some((name) => name in endpoint.ports));
  if (served.length === 0) return undefined;
  const weight = served.reduce((sum, endpoint) => sum + endpoint.weight, 0) / count;
  return {
    address: gateway.address,
    ports: dialled,
    weight: boundedWeight(Math.round(weight)),
    draining: served.every(({ draining }) => draining),
    locality: gateway.locality ?? served[0]?.locality,
    network: undefined,
    labels: {},
    origins: served.flatMap(({ origins }) => origins),
  };
}

function numberAt(gateway: EdgeGateway, { protocol }: MeshPort, port: number | undefined): number | undefined {
  return port ?? (isHttp(protocol) ? gateway.port : undefined);
}
