import type { Instance } from '#model/service.js';

/** At which ports a workload takes mutual TLS only: at all but the exceptions, or at these alone. */
export interface StrictPorts {
  readonly standard: boolean;
  /** Ports that are the other way round. */
  readonly except: readonly number[];
}

/** What runs at an address and belongs to the mesh: a pod. Instances of any registry with that address are one with it. */
export interface Workload {
  readonly registry: string;
  /** `namespace/name`. */
  readonly name: string;
  readonly address: string;
  /** `region/zone/subzone`. */
  readonly locality: string | undefined;
  readonly network: string | undefined;
  /** SPIFFE URI of its certificate, if it takes mutual TLS; undefined if not. */
  readonly identity: string | undefined;
  /** At which ports callers outside the mesh are refused; undefined if at none, or if nobody says. */
  readonly strict?: StrictPorts;
  /** How Istio's proxies reach it. */
  readonly labels: Readonly<Record<string, string>>;
  /** When it came to be: ms since 1970. Of two at one address the newer one counts. */
  readonly since: number;
}

/** What an adapter says of a workload, in the metadata of an instance. */
export const workloadKeys = {
  /** SPIFFE URI. */
  identity: 'identity',
  /** `istio`: its sidecar takes mutual TLS. `hbone`: a node's proxy takes HBONE for it. */
  transport: 'transport',
  /** Where it takes mutual TLS only: see {@link strictText}. */
  strict: 'strict',
} as const;

const sidecar = { 'security.istio.io/tlsMode': 'istio' };
/** istiod tunnels to such endpoints from proxies that can; the others call them in plaintext, as Istio's own endpoints. */
const ambient = { 'networking.istio.io/tunnel': 'http' };
const plain = {};

/** As metadata: `all`, `all but 8080,8081`, or `8080,8081`. */
export function strictText({ standard, except }: StrictPorts): string {
  const ports = except.join(',');
  if (!standard) return ports;
  return ports === '' ? 'all' : `all but ${ports}`;
}

function strictPorts(text: string): StrictPorts {
  const standard = text.startsWith('all');
  return { standard, except: (text.match(/\d+/g) ?? []).map(Number) };
}

/** Reads a workload from an instance of a kind that describes workloads. */
export function workloadOf(
  registry: string,
  { id, address, metadata, changedAt }: Instance,
  place: Pick<Workload, 'locality' | 'network'>,
): Workload {
  const transport = metadata[workloadKeys.transport];
  const strict = metadata[workloadKeys.strict];
  return {
    registry,
    name: id,
    address,
    ...place,
    identity: transport === 'istio' ? metadata[workloadKeys.identity] : undefined,
    ...(strict === undefined ? {} : { strict: strictPorts(strict) }),
    labels: transport === 'istio' ? sidecar : transport === 'hbone' ? ambient : plain,
    since: changedAt,
  };
}
