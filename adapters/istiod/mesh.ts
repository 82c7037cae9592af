import { isDeepStrictEqual } from 'node:util';
import { compareText } from '#model/mesh.js';
import type { Protocol } from '#model/protocol.js';
import type { Instance, RegistryService, ServiceKey } from '#model/service.js';
import type { Endpoints, MeshCluster, MeshEndpoint } from './decode.js';

/** What all services of an istiod have in common. */
export interface MeshSettings {
  readonly registry: string;
  /** Whether a service is wanted; of others not even the endpoints are asked for. */
  readonly isWanted: (cluster: MeshCluster) => boolean;
}

/** Which endpoint sets are to be asked for from now on, and which no more. */
export interface Watching {
  readonly added: readonly string[];
  readonly removed: readonly string[];
}

/** What changed of one host: the service as it is now, and the key of one that is gone. */
export interface HostChange {
  readonly changed: RegistryService | undefined;
  readonly removed: ServiceKey | undefined;
}

/** Hosts that services of several clusters share: they may have the name of one that does not. */
const multiCluster = '.svc.clusterset.local';

/** What one conversation with an istiod has told: clusters and endpoint sets, and what they are as services, one for each host. */
export class Mesh {
  readonly #settings: MeshSettings;
  /** By name. */
  readonly #clusters = new Map<string, MeshCluster>();
  /** Host → its clusters, by name. */
  readonly #byHost = new Map<string, Map<string, MeshCluster>>();
  /** Endpoint sets that are asked for: undefined until they are told. */
  readonly #sets = new Map<string, Endpoints | undefined>();
  /** Set → host. */
  readonly #hostOf = new Map<string, string>();
  #untold = 0;
  readonly #added = new Set<string>();
  readonly #removed = new Set<string>();
  readonly #touched = new Set<string>();
  /** Hosts that were given, with their keys. */
  readonly #given = new Map<string, ServiceKey>();

  constructor(settings: MeshSettings) {
    this.#settings = settings;
  }

  /** Whether all endpoint sets that are asked for have been told. */
  get isComplete(): boolean {
    return this.#untold === 0;
  }

  /** Takes over a cluster as it is now. */
  setCluster(cluster: MeshCluster): void {
    const before = this.#clusters.get(cluster.name);
    if (!this.#settings.isWanted(cluster)) {
      this.removeCluster(cluster.name);
      return;
    }
    if (isDeepStrictEqual(before, cluster)) return;
    if (before?.endpointSet !== undefined && before.endpointSet !== cluster.endpointSet)
      this.#forget(before.endpointSet);
    this.#clusters.set(cluster.name, cluster);
    const clusters = this.#byHost.get(cluster.host);
    if (clusters === undefined) this.#byHost.set(cluster.host, new Map([[cluster.name, cluster]]));
    else clusters.set(cluster.name, cluster);
    if (cluster.endpointSet !== undefined) this.#watch(cluster.endpointSet, cluster.host);
    this.#touched.add(cluster.host);
  }

  removeCluster(name: string): void {
    const before = this.#clusters.get(name);
    if (before === undefined) return;
    this.#clusters.delete(name);
    const clusters = this.#byHost.get(before.host);
    clusters?.delete(name);
    if (clusters?.size === 0) this.#byHost.delete(before.host);
    if (before.endpointSet !== undefined) this.#forget(before.endpointSet);
    this.#touched.add(before.host);
  }

  /** Names of all clusters. */
  clusters(): string[] {
    return [...this.#clusters.keys()];
  }

  /** Takes over an endpoint set; one that nobody asks for any more is left out. */
  setEndpoints(name: string, { endpoints, rejected }: Endpoints): void {
    const host = this.#hostOf.get(name);
    if (host === undefined) return;
    const before = this.#sets.get(name);
    const next = { endpoints, rejected };
    if (before === undefined) this.#untold--;
    else if (isDeepStrictEqual(before, next)) return;
    this.#sets.set(name, next);
    this.#touched.add(host);
  }

  /** What of the endpoint sets is to be asked for, since the last time. */
  takeWatching(): Watching | undefined {
    const [added, removed] = [[...this.#added], [...this.#removed]];
    for (const set of removed) this.#drop(set);
    this.#added.clear();
    this.#removed.clear();
    return added.length + removed.length === 0 ? undefined : { added, removed };
  }

  /** What has changed since the last time, host by host. A service of which an endpoint set is still to come waits for it. */
  *takeChanges(): Generator<HostChange, void> {
    for (const host of this.#touched) {
      const clusters = [...(this.#byHost.get(host)?.values() ?? [])];
      if (clusters.some(({ endpointSet }) => endpointSet !== undefined && this.#sets.get(endpointSet) === undefined))
        continue;
      this.#touched.delete(host);
      const before = this.#given.get(host);
      const service = this.#service(clusters);
      if (service === undefined) this.#given.delete(host);
      else this.#given.set(host, service.key);
      yield { changed: service, removed: isDeepStrictEqual(before, service?.key) ? undefined : before };
    }
  }

  #watch(set: string, host: string): void {
    if (this.#hostOf.has(set)) return;
    this.#hostOf.set(set, host);
    // One that is asked for no more, and again in the same breath, is asked for all the time.
    if (this.#removed.delete(set)) return;
    this.#sets.set(set, undefined);
    this.#untold++;
    this.#added.add(set);
  }

  #forget(set: string): void {
    if (!this.#hostOf.delete(set)) return;
    if (this.#added.delete(set)) this.#drop(set);
    else this.#removed.add(set);
  }

  #drop(set: string): void {
    if (this.#sets.get(set) === undefined) this.#untold--;
    this.#sets.delete(set);
  }

  #service(unordered: readonly MeshCluster[]): RegistryService | undefined {
    const clusters = [...unordered].sort((a, b) => a.port - b.port);
    const [first] = clusters;
    if (first === undefined) return undefined;
    const { host, service, namespace } = first;
    const said = clusters.map((cluster) => {
      const { endpoints, rejected } =
        cluster.endpointSet === undefined ? cluster.inline : (this.#sets.get(cluster.endpointSet) ?? cluster.inline);
      return { port: portOf(cluster), endpoints, rejected };
    });
    const note = clusters.find(({ note }) => note !== undefined)?.note;
    return {
      key: {
        registry: this.#settings.registry,
        namespace,
        group: host.endsWith(multiCluster) ? 'clusterset' : '',
        name: service,
        version: '',
      },
      kind: 'istiod',
      ports: said.map(({ port }) => port),
      metadata: { host },
      instances: instancesOf(said),
      rejected: said.flatMap(({ rejected }) => rejected),
      ...(note === undefined ? {} : { notes: [{ record: 'the service', text: note }] }),
      consumers: [],
    };
  }
}

interface Port {
  readonly name: string;
  readonly protocol: Protocol;
  readonly number: number;
}

interface SaidOfPort {
  readonly port: Port;
  readonly endpoints: readonly MeshEndpoint[];
}

/** istiod tells neither names nor, but for HTTP/2, protocols of ports: the number names them, so that a second port changes nothing of the first. */
function portOf({ port, isHttp2 }: MeshCluster): Port {
  return { name: String(port), protocol: isHttp2 ? 'http2' : 'http', number: port };
}

/**
 * Endpoints of different ports at one address are one instance: a pod. Where an address has several endpoints of one port, nothing says which of them belong
 * together, and each is an instance of its own.
 */
function instancesOf(said: readonly SaidOfPort[]): Instance[] {
  const byAddress = new Map<string, [Port, MeshEndpoint][]>();
  for (const { port, endpoints } of said)
    for (const endpoint of endpoints) {
      const known = byAddress.get(endpoint.address);
      if (known === undefined) byAddress.set(endpoint.address, [[port, endpoint]]);
      else known.push([port, endpoint]);
    }
  return [...byAddress.values()]
    .flatMap((pairs) => {
      const isOne = new Set(pairs.map(([{ number }]) => number)).size === pairs.length;
      return isOne ? [instanceOf(pairs)] : pairs.map((pair) => instanceOf([pair]));
    })
    .sort((a, b) => compareText(a.id, b.id));
}

function instanceOf(pairs: readonly [Port, MeshEndpoint][]): Instance {
  const [[, first]] = pairs as [[Port, MeshEndpoint]];
  const { address, port, status, weight, locality, metadata } = first;
  return {
    id: `${address.includes(':') ? `[${address}]` : address}:${port}`,
    address,
    ports: pairs.map(([{ name, protocol }, endpoint]) => ({ name, protocol, number: endpoint.port })),
    status,
    weight,
    zone: '',
    locality,
    network: undefined,
    metadata,
    changedAt: 0,
  };
}
