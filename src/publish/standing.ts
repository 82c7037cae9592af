import type { Instance, RegistryService } from '#model/service.js';
import { health } from '#policy/health.js';
import type { Placed, PublishedInstance } from './contract.js';
import { placeOfInstance } from './desired.js';

/** What stands under one service of a registry, by what its source reads. */
export interface Standing {
  readonly ours: readonly Placed[];
  /** What is not ours, by place. */
  readonly others: ReadonlyMap<string, Instance>;
}

/** Tells ours from what others wrote, or registered themselves. */
export function standing(service: RegistryService | undefined, isOurs: (instance: Instance) => boolean): Standing {
  const ours: Placed[] = [];
  const others = new Map<string, Instance>();
  for (const instance of service?.instances ?? [])
    if (isOurs(instance)) ours.push({ id: instance.id, instance: asPublished(instance) });
    else others.set(placeOfInstance(instance), instance);
  return { ours, others };
}

function asPublished({ address, ports, status, weight, locality, metadata }: Instance): PublishedInstance {
  const isUp = health(status) === 'serve' && weight > 0;
  return { address, port: ports[0]?.number ?? 0, isUp, weight, locality, metadata };
}
