import type { EncodedResource } from '#istio/resource.js';

/** A door into Istio: shows it what the projection says. */
export interface Sink {
  /** From now on the projection is complete and may be shown. Before that nothing is written, and nothing deleted. */
  ready(): void;
  close(): Promise<void>;
}

/** Which resources a sink shows. */
export type ResourceFilter = (resource: EncodedResource) => boolean;
