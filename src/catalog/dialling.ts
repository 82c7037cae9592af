import type { Dialled, InquiryScope } from '#guard/inquiry.js';
import { instancePlace, serviceId } from '#model/service.js';
import type { Endpoint } from '#probe/prober.js';
import type { Catalog } from './catalog.js';

/** Witnesses that are looked for. */
const enough = 5;

/** How held instances are dialled: as the mesh would, with the ports and in the network that the policies give them. */
export function inquiryScope(catalog: Catalog): InquiryScope {
  return {
    dialled: (registry, { service, instance }): Dialled => {
      const endpoint = catalog
        .contribution(service)
        ?.endpoints.find(({ origins }) =>
          origins.some((origin) => origin.registry === registry && origin.instance === instance.id),
        );
      const numbers =
        endpoint === undefined ? instance.ports.map(({ number }) => number) : Object.values(endpoint.ports);
      const { address } = endpoint ?? instance;
      return {
        endpoints: [...new Set(numbers)].map((port) => ({ address, port })),
        network: endpoint?.network ?? instance.network ?? '',
      };
    },
    witnesses: (registry, network) => {
      const found: Endpoint[] = [];
      let seen = 0;
      for (const { key, endpoints, usable } of catalog.contributions()) {
        if (key.registry !== registry) continue;
        const held = catalog.guard(registry)?.heldOf(serviceId(key));
        const free = new Set(usable.filter((one) => !held?.has(instancePlace(one))).map(({ id }) => id));
        const endpoint = endpoints.find(
          (one) => (one.network ?? '') === network && one.origins.some(({ instance }) => free.has(instance)),
        );
        const port = Object.values(endpoint?.ports ?? {})[0];
        if (endpoint === undefined || port === undefined) continue;
        // A fair choice among all services.
        const place = seen < enough ? seen : Math.floor(Math.random() * (seen + 1));
        if (place < enough) found[place] = { address: endpoint.address, port };
        seen++;
      }
      return found;
    },
  };
}
