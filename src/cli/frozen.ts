import { Catalog } from '#catalog/catalog.js';
import { VipAllocator } from '#catalog/vip.js';
import type { Config } from '#config/schema.js';
import { compareText, type MeshService } from '#model/mesh.js';
import type { Instance, ServiceKey } from '#model/service.js';
import { markOf } from '#publish/mark.js';
import type { Known } from '#snapshot/known.js';
import { catalogSettings, registryPolicies } from '../registries.js';

/**
 * The mesh as a configuration makes it of what was known, as a file for a registry of type `file`: a registry that is lost for good can be served from it. One service a
 * line, as JSON, which is YAML, too. Policies have been applied: they are not to be applied again.
 */
export function fileServices(known: Known, config: Config): string {
  const settings = catalogSettings(config);
  const catalog = new Catalog(settings, new VipAllocator([]), known);
  try {
    const isOwn = (_key: ServiceKey, { metadata }: Instance) => markOf(metadata)?.owner === config.state.owner;
    catalog.configure(settings, registryPolicies(config, isOwn));
    const held = [...catalog.services.values()].filter(({ origins }) => origins.length > 0);
    const services = held.sort((a, b) => compareText(a.host, b.host)).map(fileService);
    return `{"services":[\n${services.map((service) => JSON.stringify(service)).join(',\n')}\n]}\n`;
  } finally {
    catalog.close();
  }
}

function fileService({ host, ports, endpoints }: MeshService): object {
  return {
    name: host,
    ports,
    instances: endpoints.map(({ address, ports, weight, draining, locality, network, labels }) => ({
      address,
      ports,
      weight: weight / 100,
      status: draining ? 'drain' : 'serve',
      locality,
      network,
      metadata: labels,
    })),
  };
}
