import { decodeName } from '#adapters/dubbo/index.js';

/** A znode's path below another; the root's is `/`. */
export function below(path: string, ...names: readonly string[]): string {
  return [path === '/' ? '' : path, ...names].join('/');
}

/** Znodes directly under Dubbo's root that are no interfaces. */
export const reserved: ReadonlySet<string> = new Set(['config', 'metadata', 'mapping']);

/** Makes a map's keys those that are wanted. */
export function reconcile<K extends string, T>(
  map: Map<K, T>,
  wanted: Iterable<K>,
  create: (name: K) => T,
  remove: (name: K, value: T) => void,
): void {
  const names = new Set(wanted);
  for (const [name, value] of map)
    if (!names.has(name)) {
      map.delete(name);
      remove(name, value);
    }
  for (const name of names) if (!map.has(name)) map.set(name, create(name));
}

/** The name that a znode stands for: Dubbo encodes names as it does URLs; what is not encoded is taken as it is. */
export function nameOf(child: string): string {
  try {
    return decodeName(child);
  } catch {
    return child;
  }
}
