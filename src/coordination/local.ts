import type { Coordination, Json } from './contract.js';

/** One replica alone: documents are in memory, and it leads. */
export class LocalCoordination implements Coordination {
  readonly error = undefined;
  readonly #documents = new Map<string, Json>();
  readonly #watchers = new Map<string, ((content: Json | undefined) => void)[]>();

  watch(name: string, heard: (content: Json | undefined) => void): void {
    this.#watchers.set(name, [...(this.#watchers.get(name) ?? []), heard]);
    heard(this.#documents.get(name));
  }

  async update(name: string, change: (content: Json | undefined) => Json): Promise<void> {
    const content = change(this.#documents.get(name));
    this.#documents.set(name, content);
    for (const heard of this.#watchers.get(name) ?? []) heard(content);
  }

  campaign(_role: string, leads: (isLeader: boolean) => void): void {
    leads(true);
  }

  async close(): Promise<void> {
    this.#watchers.clear();
  }
}
