import { Catalog } from '#catalog/catalog.js';
import { isServed } from '#catalog/shards.js';
import { parseRanges, VipAllocator } from '#catalog/vip.js';
import { nameFilter } from '#config/fields.js';
import type { Config, RegistryConfig } from '#config/schema.js';
import { type EndpointChange, hostEntry } from '#journal/entry.js';
import { compareText, type MeshService } from '#model/mesh.js';
import { type RegistryService, serviceId } from '#model/service.js';
import { Claims } from '#publish/claims.js';
import { preview, type WritePlan } from '#publish/preview.js';
import { cause } from '#sources/contract.js';
import { publicationsOf } from '../publishing.js';
import { adapterOf, catalogSettings, registryPolicies, type SourceChanges, sourceChanges } from '../registries.js';
import { checkReloadable } from '../reloadable.js';
import type { Parts } from './report.js';

/** What would become of one host. */
export interface HostPlan {
  readonly host: string;
  readonly text: string;
  readonly endpoints: readonly EndpointChange[];
  /** What istiod would push to proxies: endpoints alone, or everything that concerns the service. */
  readonly push: 'full' | 'endpoints';
}

/** What another configuration would change, with what is known of the registries now. */
export interface Plan {
  readonly registries: SourceChanges;
  /** Registries of which nothing is known yet: what they would add is not in the plan. */
  readonly unread: readonly string[];
  /** Parts of the configuration that only a restart takes over. */
  readonly restart: string | undefined;
  readonly hosts: readonly HostPlan[];
  /** What would be written into registries. */
  readonly writes: readonly WritePlan[];
  /** Services that would be left out or refused and are not now, with the reason. */
  readonly lost: readonly { readonly id: string; readonly reason: string }[];
}

/** Compares what is served now with what another configuration would make of the same registries. Changes nothing. */
export function plan(parts: Parts, next: Config): Plan {
  const { catalog, config } = parts;
  const shadow = shadowCatalog(parts, next);
  try {
    const hosts: HostPlan[] = [];
    for (const host of new Set([...catalog.services.keys(), ...shadow.services.keys()])) {
      const before = present(catalog.services.get(host));
      const after = shadow.services.get(host);
      const change = hostEntry(before, after, () => 'by this configuration');
      if (change === undefined) continue;
      const removed = shadow.elsewhereText(host) ?? 'removed: emptied at once, deleted after its grace';
      const text = after === undefined ? removed : change.text;
      hosts.push({ host, text, endpoints: change.endpoints, push: pushOf(before, after) });
    }
    const known = new Set([...catalog.rejected(), ...catalog.dropped()].map(({ id, reason }) => `${id} ${reason}`));
    const complete = new Set(
      catalog.views().flatMap((view) => (view.complete || view.isRestored ? [view.registry] : [])),
    );
    return {
      registries: sourceChanges(config, next),
      unread: next.registries
        .filter((registry) => !complete.has(registry.name) || !isKnown(config, registry))
        .map(({ name }) => name),
      restart: checkReloadable(config, next),
      hosts: hosts.sort((a, b) => compareText(a.host, b.host)),
      writes: writesOf(parts, next, shadow),
      lost: [...shadow.rejected(), ...shadow.dropped()]
        .filter(({ id, reason }) => !known.has(`${id} ${reason}`))
        .map(({ id, reason }) => ({ id, reason })),
    };
  } finally {
    shadow.close();
  }
}

/** What another configuration would write, compared with what stands. Registries of which nothing is published by either are left alone. */
function writesOf({ catalog, publishing, config }: Parts, next: Config, shadow: Catalog): WritePlan[] {
  const { owner } = next.state;
  const claims = new Claims({
    gateways: publishing.gatewaysOf(() => next),
    owner,
    run: publishing.run,
    isOwn: publishing.isOwn,
    serviceOf: (key) => shadow.view(key.registry)?.services.get(serviceId(key)),
  });
  claims.configure(
    publicationsOf(next, (registry) => adapterOf(registry).target),
    shadow.services,
  );
  return next.registries.flatMap((registry) => {
    const kind = adapterOf(registry).target;
    const isConcerned = [...config.publications, ...next.publications].some(({ to }) => to === registry.name);
    if (kind === undefined || !isConcerned || !isKnown(config, registry)) return [];
    return preview(registry.name, kind, {
      claims,
      ledger: publishing.ledger,
      orders: () => publishing.orders,
      isOwn: publishing.isOwn,
      serves: (host) => isServed(host, next.istio.serve),
      view: (name) => catalog.view(name),
    });
  });
}

/** What is known now, under another configuration. A registry of another type is another registry. */
function shadowCatalog({ catalog, config, publishing }: Parts, next: Config): Catalog {
  const settings = catalogSettings(next);
  const { vip } = next.istio;
  const vips = new VipAllocator(vip === 'off' ? [] : parseRanges(vip.ranges));
  const empty = [...catalog.services.values()].map((service) => ({ service, left: undefined }));
  const shadow = new Catalog(settings, vips, { registries: [], empty });
  const views = shadow.configure(settings, registryPolicies(next, publishing.isOwn));
  for (const [index, registry] of next.registries.entries()) {
    const listing = views[index]?.listing();
    const known = isKnown(config, registry) ? catalog.view(registry.name)?.services.values() : undefined;
    const includes = nameFilter(registry.include, registry.exclude);
    // Names of pods are none of services.
    const isWanted = ({ key }: RegistryService) => catalog.isWorkload(serviceId(key)) || includes(key.name);
    listing?.add([...(known ?? [])].filter(isWanted));
    listing?.commit(cause('plan'));
    views[index]?.settleAll();
  }
  return shadow;
}

function isKnown(now: Config, { name, type }: RegistryConfig): boolean {
  return now.registries.some((registry) => registry.name === name && registry.type === type);
}

/** A gone service that waits for its deletion is none any more. */
function present(service: MeshService | undefined): MeshService | undefined {
  return service?.origins.length === 0 ? undefined : service;
}

/** Only endpoints of a service that stays as it is, with the same identities, and that are addresses, go without a full push. */
function pushOf(before: MeshService | undefined, after: MeshService | undefined): 'full' | 'endpoints' {
  if (before === undefined || after === undefined) return 'full';
  const identities = ({ endpoints }: MeshService) =>
    [...new Set(endpoints.map(({ serviceAccount }) => serviceAccount ?? ''))].sort().join(' ');
  const shape = ({ endpoints, origins, ...service }: MeshService) => JSON.stringify(service);
  const isSame = shape(before) === shape(after) && identities(before) === identities(after);
  return isSame && after.resolution === 'static' ? 'endpoints' : 'full';
}
