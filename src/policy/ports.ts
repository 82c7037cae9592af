import { compareText, type MeshPort } from '#model/mesh.js';
import { type Protocol, parseProtocol, portName, protocolOfName, protocols } from '#model/protocol.js';
import type { InstancePort, Metadata, RegistryService } from '#model/service.js';
import type { PortRule } from './policy.js';

/** A port that a registry's service asks for; without a number where a rule shall choose it. */
export interface PortClaim {
  readonly name: string;
  readonly protocol: Protocol;
  readonly number: number | undefined;
}

/** An instance's port by its name in the mesh. */
export interface EndpointPort {
  readonly name: string;
  readonly protocol: Protocol;
  readonly number: number;
}

/** What policies say of a service's ports. */
export interface Spoken {
  /** Instead of what registry and metadata say of ports without a name. */
  readonly protocol: Protocol | undefined;
  readonly rules: readonly PortRule[];
}

const silent: Spoken = { protocol: undefined, rules: [] };

/**
 * Names an instance's port. A policy's protocol counts for ports without a name; else, where the registry has no word about the protocol (plain http), the
 * application's metadata may have one.
 */
export function endpointPort(port: InstancePort, metadata: Metadata, spoken = silent): EndpointPort {
  const isSilent = port.name === '' && port.protocol === 'http';
  const said = port.name === '' ? spoken.protocol : undefined;
  const protocol = said ?? (isSilent ? parseProtocol(metadata.protocol ?? '') : undefined) ?? port.protocol;
  const name = portName(port.name, protocol);
  const rule = spoken.rules.find((one) => one.name === name);
  return { name, protocol, number: rule?.target ?? port.number };
}

/**
 * The ports of a registry's service: those of policies, those that the registry declares, then those that any of its instances has, usable or not, so that a sick instance
 * takes no port away.
 */
export function portClaims(service: RegistryService, spoken = silent): PortClaim[] {
  const claims = new Map<string, PortClaim>();
  for (const { name, number, protocol } of spoken.rules)
    claims.set(name, { name, number, protocol: protocol ?? protocolOfName(name) });
  for (const port of service.ports) {
    const name = portName(port.name, port.protocol);
    if (!claims.has(name)) claims.set(name, { name, protocol: port.protocol, number: port.number });
  }
  for (const { ports, metadata } of service.instances)
    for (const instancePort of ports) {
      const { name, protocol } = endpointPort(instancePort, metadata, spoken);
      if (!claims.has(name)) claims.set(name, { name, protocol, number: undefined });
    }
  return [...claims.values()];
}

const protocolOrder = Object.keys(protocols);

/**
 * Gives each port name a number of its own. The first claim to a name counts; declared numbers come first, the others take their protocol's default.
 * Of those that want one number the protocol that is older in the table has it, and the next one takes the number above, as long as both are there.
 * @param claims of all registries that hold the host, in the order of the configuration
 */
export function numberPorts(claims: readonly PortClaim[]): MeshPort[] {
  const byName = new Map<string, PortClaim>();
  for (const claim of claims) if (!byName.has(claim.name)) byName.set(claim.name, claim);
  const taken = new Map<number, MeshPort>();
  const inferred: PortClaim[] = [];
  for (const claim of byName.values()) {
    if (claim.number === undefined || taken.has(claim.number)) inferred.push(claim);
    else taken.set(claim.number, { ...claim, number: claim.number });
  }
  inferred.sort(
    (a, b) => protocolOrder.indexOf(a.protocol) - protocolOrder.indexOf(b.protocol) || compareText(a.name, b.name),
  );
  for (const claim of inferred) {
    let { number = protocols[claim.protocol].port } = claim;
    while (taken.has(number)) number++;
    taken.set(number, { ...claim, number });
  }
  return [...taken.values()].sort((a, b) => a.number - b.number);
}
