import type { KubeObject } from '#kubernetes/collection.js';
import { compareText } from '#model/mesh.js';
import type { Metadata } from '#model/service.js';
import type { StrictPorts } from '#model/workload.js';

/** What is kept of a PeerAuthentication. */
export interface PeerPolicy {
  readonly namespace: string;
  readonly name: string;
  /** Labels of the pods that it is for; undefined: all of the namespace, or of the mesh. */
  readonly selector: Metadata | undefined;
  /** Undefined where it says nothing: what stands above it counts. */
  readonly isStrict: boolean | undefined;
  /** By number: `undefined` as above. */
  readonly ports: Readonly<Record<number, boolean | undefined>>;
  /** ms since 1970. */
  readonly since: number;
}

interface MutualTls {
  readonly mode?: string;
}

interface RawPolicy extends KubeObject {
  readonly spec?: {
    readonly selector?: { readonly matchLabels?: Metadata };
    readonly mtls?: MutualTls;
    readonly portLevelMtls?: Readonly<Record<string, MutualTls>>;
  };
}

export function decodePeerAuthentication(object: KubeObject): PeerPolicy {
  const { metadata = {}, spec = {} } = object as RawPolicy;
  const labels = spec.selector?.matchLabels ?? {};
  const ports = Object.entries(spec.portLevelMtls ?? {}).map(([port, mtls]) => [Number(port), isStrict(mtls)] as const);
  return {
    namespace: metadata.namespace ?? '',
    name: metadata.name ?? '',
    selector: Object.keys(labels).length === 0 ? undefined : labels,
    isStrict: isStrict(spec.mtls),
    ports: Object.fromEntries(ports),
    since: Date.parse(metadata.creationTimestamp ?? '') || 0,
  };
}

function isStrict({ mode = 'UNSET' }: MutualTls = {}): boolean | undefined {
  return mode === 'UNSET' ? undefined : mode === 'STRICT';
}

/** The PeerAuthentications of a cluster, by `namespace/name`, and what they make of a pod. */
export class PeerPolicies {
  readonly #byId = new Map<string, PeerPolicy>();
  readonly #byNamespace = new Map<string, PeerPolicy[]>();
  readonly #root: string;

  /** @param root Istio's root namespace: what stands there without a selector is for the whole mesh */
  constructor(root: string) {
    this.#root = root;
  }

  get(id: string): PeerPolicy | undefined {
    return this.#byId.get(id);
  }

  set(id: string, policy: PeerPolicy | undefined): void {
    const namespace = id.split('/')[0] ?? '';
    if (policy === undefined) this.#byId.delete(id);
    else this.#byId.set(id, policy);
    const others = (this.#byNamespace.get(namespace) ?? []).filter((one) => `${namespace}/${one.name}` !== id);
    const all = policy === undefined ? others : [...others, policy].sort(olderFirst);
    if (all.length === 0) this.#byNamespace.delete(namespace);
    else this.#byNamespace.set(namespace, all);
  }

  /** Whether a policy of this namespace is for pods of others, too. */
  isForAll(namespace: string): boolean {
    return namespace === this.#root;
  }

  /**
   * At which ports a pod takes mutual TLS only. As istiod composes it: of several on one level the oldest counts; what one does not say is as on the level above,
   * which is the pod's own policy, its namespace's, the mesh's; without any it is PERMISSIVE. A policy with a selector in the root namespace counts for nobody.
   * @returns undefined if at none
   */
  strictOf(namespace: string, labels: Metadata): StrictPorts | undefined {
    const mesh = this.#whole(this.#root);
    const whole = namespace === this.#root ? undefined : this.#whole(namespace);
    const own = namespace === this.#root ? undefined : this.#selecting(namespace, labels);
    const standard = own?.isStrict ?? whole?.isStrict ?? mesh?.isStrict ?? false;
    const other = Object.entries(own?.ports ?? {}).flatMap(([port, strict]) =>
      (strict ?? standard) === standard ? [] : [Number(port)],
    );
    return standard || other.length > 0 ? { standard, except: other.sort((a, b) => a - b) } : undefined;
  }

  #whole(namespace: string): PeerPolicy | undefined {
    return this.#byNamespace.get(namespace)?.find(({ selector }) => selector === undefined);
  }

  #selecting(namespace: string, labels: Metadata): PeerPolicy | undefined {
    return this.#byNamespace
      .get(namespace)
      ?.find(
        ({ selector }) =>
          selector !== undefined && Object.entries(selector).every(([key, value]) => labels[key] === value),
      );
  }
}

function olderFirst(a: PeerPolicy, b: PeerPolicy): number {
  return a.since - b.since || compareText(a.name, b.name);
}
