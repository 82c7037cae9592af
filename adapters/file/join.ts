import { type RegistryService, serviceId } from '#model/service.js';
import type { Entry } from './decode.js';

/** The services of all files, by id, and the entries that are malformed and known by no other. */
export interface Joined {
  readonly services: ReadonlyMap<string, RegistryService>;
  readonly malformed: readonly Entry[];
}

/**
 * Joins what the files say. Where a service stands in several places the first one counts, in the order of the files' names; the others are shown with it as
 * rejected.
 */
export function join(files: readonly (readonly Entry[])[]): Joined {
  const services = new Map<string, RegistryService>();
  const places = new Map<string, string>();
  const malformed: Entry[] = [];
  const reject = (id: string, record: string, reason: string): void => {
    const service = services.get(id);
    if (service !== undefined) services.set(id, { ...service, rejected: [...service.rejected, { record, reason }] });
  };
  for (const { key, place, content } of files.flat()) {
    if (typeof content === 'string') continue;
    const id = serviceId(key);
    const first = places.get(id);
    if (first === undefined) {
      places.set(id, place);
      services.set(id, content);
    } else reject(id, place, `"${key.name}" stands at ${first} already, and that is what counts: one of them is to go`);
  }
  for (const entry of files.flat()) {
    if (typeof entry.content !== 'string') continue;
    const id = serviceId(entry.key);
    if (services.has(id)) reject(id, entry.place, entry.content);
    else malformed.push(entry);
  }
  return { services, malformed };
}
