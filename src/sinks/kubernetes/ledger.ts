import type { Seen } from './manifest.js';

/** What is in the API as far as we have been told: all ServiceEntries, ours and those of others. */
export class Ledger {
  #objects = new Map<string, Seen>();
  /** Host → ids of our objects. */
  #hosts = new Map<string, Set<string>>();
  /** What was heard of while a listing goes on is newer than what that says. */
  #heard: Set<string> | undefined;
  #listing: Seen[] = [];
  readonly #touched: (host: string) => void;

  /** @param touched is called when there is one of ours more or less about a host */
  constructor(touched: (host: string) => void = () => undefined) {
    this.#touched = touched;
  }

  get(id: string): Seen | undefined {
    return this.#objects.get(id);
  }

  /** Our objects about a host. */
  ofHost(host: string): Seen[] {
    return [...(this.#hosts.get(host) ?? [])].flatMap((id) => this.#objects.get(id) ?? []);
  }

  /** Hosts that we have objects about. */
  hosts(): string[] {
    return [...this.#hosts.keys()];
  }

  /** How many objects there are. */
  counts(): { readonly ours: number; readonly others: number } {
    let ours = 0;
    for (const ids of this.#hosts.values()) ours += ids.size;
    return { ours, others: this.#objects.size - ours };
  }

  begin(): void {
    this.#heard = new Set();
    this.#listing = [];
  }

  listed(object: Seen): void {
    this.#listing.push(object);
  }

  /** What was not listed is gone. @returns hosts of what is not as it was */
  end(): Set<string> {
    const heard = this.#heard ?? new Set();
    const before = new Map(this.#objects);
    const changed = new Set<string>();
    for (const object of this.#listing) {
      const known = before.get(object.id);
      before.delete(object.id);
      if (heard.has(object.id) || known?.resourceVersion === object.resourceVersion) continue;
      this.#put(object);
      changed.add(object.host);
    }
    for (const [id, { host }] of before) {
      if (heard.has(id)) continue;
      this.#drop(id);
      changed.add(host);
    }
    this.#listing = [];
    this.#heard = undefined;
    return changed;
  }

  /** Takes in an object that is new or has changed. @returns whether that is news */
  put(object: Seen): boolean {
    const known = this.#objects.get(object.id);
    if (known?.uid === object.uid && Number(known.resourceVersion) >= Number(object.resourceVersion)) return false;
    this.#heard?.add(object.id);
    this.#put(object);
    return true;
  }

  /** An object is gone. @returns whether that is news */
  drop({ id, uid }: Pick<Seen, 'id' | 'uid'>): boolean {
    this.#heard?.add(id);
    // What has its name now is another one.
    if (this.#objects.get(id)?.uid !== uid) return false;
    this.#drop(id);
    return true;
  }

  #put(object: Seen): void {
    const known = this.#objects.get(object.id);
    if (known?.isOurs !== object.isOurs || known.host !== object.host) this.#drop(object.id);
    this.#objects.set(object.id, object);
    if (!object.isOurs) return;
    const ids = this.#hosts.get(object.host) ?? new Set();
    this.#hosts.set(object.host, ids.add(object.id));
    this.#touched(object.host);
  }

  #drop(id: string): void {
    const known = this.#objects.get(id);
    if (known === undefined) return;
    this.#objects.delete(id);
    if (!known.isOurs) return;
    const ids = this.#hosts.get(known.host);
    ids?.delete(id);
    if (ids?.size === 0) this.#hosts.delete(known.host);
    this.#touched(known.host);
  }
}
