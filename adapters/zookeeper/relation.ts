/** Which keys belong to which values, looked up both ways. */
export class Relation {
  readonly #values = new Map<string, Set<string>>();
  readonly #keys = new Map<string, Set<string>>();

  add(key: string, value: string): void {
    join(this.#values, key, value);
    join(this.#keys, value, key);
  }

  /** Replaces all values of a key. */
  set(key: string, values: readonly string[]): void {
    for (const value of this.valuesOf(key)) part(this.#keys, value, key);
    this.#values.delete(key);
    for (const value of values) this.add(key, value);
  }

  /** Takes a value from all its keys. */
  drop(value: string): void {
    for (const key of this.keysOf(value)) part(this.#values, key, value);
    this.#keys.delete(value);
  }

  valuesOf(key: string): Iterable<string> {
    return this.#values.get(key) ?? [];
  }

  keysOf(value: string): Iterable<string> {
    return this.#keys.get(value) ?? [];
  }

  values(): Iterable<string> {
    return this.#keys.keys();
  }
}

function join(map: Map<string, Set<string>>, from: string, to: string): void {
  const found = map.get(from);
  if (found === undefined) map.set(from, new Set([to]));
  else found.add(to);
}

function part(map: Map<string, Set<string>>, from: string, to: string): void {
  const found = map.get(from);
  if (found?.delete(to) && found.size === 0) map.delete(from);
}
