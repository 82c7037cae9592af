import { addressKind } from '#model/address.js';
import { compareText, type Endpoint, endpointKey, type MeshPort, type MeshService } from '#model/mesh.js';
import { portName } from '#model/protocol.js';
import type { Contribution } from '#policy/contribution.js';
import { behindGateways, type EdgeGateways } from '#policy/gateways.js';
import { numberPorts } from '#policy/ports.js';
import { preferred } from '#policy/preference.js';

/** What the configuration says about all mesh services. */
export interface MeshDefaults {
  /** Istio namespace of services whose registry names none. */
  readonly namespace: string;
  readonly exportTo: readonly string[];
  readonly networks?: EdgeGateways;
}

/**
 * Makes one mesh service of what the registries say about a host.
 * @param contributions at least one; one per registry, in the order of the configuration: the first that has a field says it
 * @param known the service as it was: an emptied one keeps its ports, so that going to zero endpoints stays an incremental push
 */
export function merge(
  host: string,
  contributions: readonly [Contribution, ...Contribution[]],
  vips: readonly string[],
  defaults: MeshDefaults,
  known: MeshService | undefined,
): MeshService {
  const numbered = ports(contributions, known);
  const gatewayPort = first(contributions, 'gatewayPort');
  const reached = behindGateways(endpoints(preferred(contributions)), defaults.networks ?? {}, numbered, gatewayPort);
  const merged = localised(reached.endpoints);
  return {
    host,
    namespace: first(contributions, 'namespace') ?? defaults.namespace,
    exportTo: first(contributions, 'exportTo') ?? defaults.exportTo,
    location: first(contributions, 'location') ?? 'internal',
    revision: first(contributions, 'revision'),
    vips: contributions.some(({ native }) => native) ? [...new Set(contributions.flatMap((one) => one.vips))] : vips,
    ports: numbered,
    identities: identities(merged, known),
    native: contributions.some(({ native }) => native),
    ...shape(numbered, merged, known),
    endpoints: merged,
    unreachable: reached.unreachable,
    origins: contributions.map(({ key }) => key),
  };
}

function first<Key extends 'namespace' | 'exportTo' | 'location' | 'revision' | 'gatewayPort'>(
  contributions: readonly Contribution[],
  key: Key,
): Contribution[Key] {
  return contributions.find((one) => one[key] !== undefined)?.[key] as Contribution[Key];
}

function ports(
  contributions: readonly [Contribution, ...Contribution[]],
  known: MeshService | undefined,
): readonly MeshPort[] {
  const claims = contributions.flatMap((contribution) => contribution.ports);
  if (claims.length > 0) return numberPorts(claims);
  const { protocol } = contributions[0];
  return known?.ports ?? numberPorts([{ name: portName('', protocol), protocol, number: undefined }]);
}

/** An emptied service keeps its shape, too: a changed one would be a full push. */
function shape(
  ports: readonly MeshPort[],
  endpoints: readonly Endpoint[],
  known: MeshService | undefined,
): Pick<MeshService, 'resolution' | 'uniform'> {
  if (endpoints.length === 0) return { resolution: known?.resolution ?? 'static', uniform: known?.uniform ?? true };
  return {
    resolution: endpoints.some(({ address }) => addressKind(address) === 'dns') ? 'dns' : 'static',
    uniform: endpoints.every((endpoint) => ports.every(({ name }) => name in endpoint.ports)),
  };
}

/** An emptied service keeps them, too: other identities are a full push. */
function identities(endpoints: readonly Endpoint[], known: MeshService | undefined): readonly string[] {
  if (endpoints.length === 0) return known?.identities ?? [];
  return [...new Set(endpoints.flatMap(({ identity }) => identity ?? []))].sort(compareText);
}

/** An endpoint that several registries know is one: the first registry describes it, and all are its origins. */
function endpoints(contributions: readonly Contribution[]): Endpoint[] {
  if (contributions.length === 1) return [...(contributions[0]?.endpoints ?? [])];
  const merged = new Map<string, Endpoint>();
  for (const contribution of contributions)
    for (const endpoint of contribution.endpoints) {
      const key = endpointKey(endpoint);
      const first = merged.get(key);
      merged.set(key, first === undefined ? endpoint : { ...first, origins: [...first.origins, ...endpoint.origins] });
    }
  return [...merged].sort(([a], [b]) => compareText(a, b)).map(([, endpoint]) => endpoint);
}

/** A locality on some endpoints only loses the others in gateways with locality settings: so all have one, or none. */
function localised(endpoints: readonly Endpoint[]): readonly Endpoint[] {
  if (endpoints.every(({ locality }) => locality !== undefined)) return endpoints;
  return endpoints.map((endpoint) => ({ ...endpoint, locality: undefined }));
}
