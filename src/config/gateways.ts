import type { z } from 'zod';
import type { CoordinationConfig } from '#coordination/config.js';
import type { GatewayPortSettings } from '#publish/gatewayports.js';
import type { IstioConfig } from './istio.js';
import type { Networks } from './policies.js';
import type { PublicationConfig } from './publications.js';

/** What of the configuration says how services are called through gateways. */
interface GatewayConfig {
  readonly publications: readonly PublicationConfig[];
  readonly networks: Networks;
  readonly istio: Pick<IstioConfig, 'network' | 'xds' | 'files' | 'grace'>;
  readonly state: { readonly directory?: string | undefined };
  readonly coordination?: CoordinationConfig | undefined;
}

type Gateway = NonNullable<Networks[string]['gateways']>[number];

/** Gateways of the own network that take published services. */
export function ownGateways({
  istio,
  networks,
}: Pick<GatewayConfig, 'networks'> & { readonly istio: Pick<IstioConfig, 'network'> }): Gateway[] {
  const own = istio.network === undefined ? undefined : networks[istio.network];
  return own?.gateways?.filter(({ ports }) => ports !== undefined) ?? [];
}

/** The ports of the own network's gateways, and which gateways those are; undefined if there are none. */
export function gatewayPortSettings(
  config: Pick<GatewayConfig, 'networks' | 'istio'>,
): GatewayPortSettings | undefined {
  const gateways = ownGateways(config);
  const range = gateways[0]?.ports;
  if (range === undefined) return undefined;
  const places = new Map(
    gateways.map(({ selector, bind }) => [
      JSON.stringify([Object.entries(selector).sort(), bind]),
      { selector, ...(bind === undefined ? {} : { bind }) },
    ]),
  );
  return { range, gateways: [...places.values()], grace: config.istio.grace };
}

/** Ports of a gateway's pod that Istio has for itself. */
const reserved = { from: 15_000, to: 15_099 };

/** What is published with an address that is not the instances' own needs something that takes calls there. */
export function checkGateways(config: GatewayConfig, context: z.RefinementCtx): void {
  const { publications, networks, istio, state, coordination } = config;
  const fail = (path: (string | number)[], message: string): void =>
    context.addIssue({ code: 'custom', path, message });
  const { network } = istio;
  if (network !== undefined && networks[network] === undefined)
    fail(
      ['istio', 'network'],
      `no network is named "${network}"; there is ${Object.keys(networks).join(', ') || 'none'}`,
    );
  for (const [name, { gateways = [] }] of Object.entries(networks))
    for (const [index, { ports, port }] of gateways.entries()) {
      const path = ['networks', name, 'gateways', index, 'ports'];
      const range = gateways.find((gateway) => gateway.ports !== undefined)?.ports;
      if (ports === undefined || range === undefined) continue;
      if (ports.from !== range.from || ports.to !== range.to)
        fail(path, `a service has one port at all gateways of a network; expected ${range.from}-${range.to} as above`);
      if (port !== undefined && port >= ports.from && port <= ports.to)
        fail(path, `port ${port}, where it takes HTTP by its host, is in this range`);
      if (ports.from <= reserved.to && ports.to >= reserved.from)
        fail(path, `${reserved.from} to ${reserved.to} are Istio's own in a gateway's pod`);
    }
  for (const [index, { addresses, endpoints }] of publications.entries()) {
    const path = ['publications', index, 'addresses'];
    if (addresses === 'instances') continue;
    if (endpoints !== undefined)
      fail(
        ['publications', index, 'endpoints'],
        `${addresses} leads to all endpoints of a service: expected addresses: instances, or no endpoints`,
      );
    if (addresses === 'vip') continue;
    if (network === undefined) fail(path, 'gateway needs istio.network, the network that this mesh is in');
    else if (ownGateways(config).length === 0)
      fail(path, `gateway needs networks.${network}.gateways with ports, such as 20000-29999`);
    if (state.directory === undefined && coordination === undefined)
      fail(path, 'gateway needs state.directory or coordination: its ports have to outlive a restart');
    if (istio.xds.length === 0 && istio.files === undefined)
      fail(
        path,
        'gateway needs istio.xds or istio.files: Gateways and VirtualServices do not become Kubernetes objects',
      );
  }
}
