import type { Endpoint, MeshPort, MeshService } from '#model/mesh.js';
import type { Metadata, Rejection } from '#model/service.js';
import type { Publication } from './publication.js';

/** An endpoint that a publication takes. */
export interface Chosen {
  readonly endpoint: Endpoint;
  /** The number that is dialled there. */
  readonly port: number;
  readonly isUp: boolean;
  /** What its registry says of the instance, as the publication chooses. */
  readonly metadata: Metadata;
}

/** What callers are to dial, before it is brought to the registry's scale and marked. */
export interface Addressed extends Pick<Chosen, 'port' | 'isUp' | 'metadata'> {
  readonly address: string;
  /** In the mesh's scale, where 100 means "as any other". */
  readonly weight: number;
  readonly locality: string | undefined;
}

/** What callers of a service are to dial, and what of it cannot be. */
export interface Addresses {
  readonly instances: readonly Addressed[];
  readonly refused: readonly Rejection[];
}

/** What a service's endpoints are dialled at, as the publication's `addresses` says. */
export function addressesOf(
  _service: MeshService,
  _port: MeshPort,
  chosen: readonly Chosen[],
  publication: Publication,
): Addresses {
  const { addresses } = publication.config;
  if (addresses !== 'instances')
    return { instances: [], refused: [{ record: 'the service', reason: `addresses: ${addresses} is not there yet` }] };
  return {
    instances: chosen.map(({ endpoint, ...rest }) => ({
      address: endpoint.address,
      weight: endpoint.weight,
      locality: endpoint.locality,
      ...rest,
    })),
    refused: [],
  };
}
