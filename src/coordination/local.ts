import type { Candidacy, Coordination, Json } from './contract.js';
import { checkName } from './name.js';

/** The coordination of one process alone: documents in memory, and it leads. */
export class LocalCoordination implements Coordination {
  readonly error = undefined;
  readonly #documents = new Map<string, Json>();
  readonly #listeners = new Map<string, ((content: Json | undefined) => void)[]>();
  readonly #ends: (() => void)[] = [];
  #isClosed = false;

  watch(name: string, heard: (content: Json | undefined) => void): void {
    this.#listeners.set(checkName(name), [...(this.#listeners.get(name) ?? []), heard]);
    queueMicrotask(() => heard(this.#documents.get(name)));
  }

  async update(name: string, change: (content: Json | undefined) => Json): Promise<void> {
    if (this.#isClosed) throw new Error('coordination is closed');
    const content = change(this.#documents.get(checkName(name)));
    this.#documents.set(name, content);
    for (const heard of this.#listeners.get(name) ?? []) heard(content);
  }

  campaign(role: string, leads: (isLeader: boolean) => void): Candidacy {
    checkName(role);
    const candidacy = { isLeader: true };
    queueMicrotask(() => leads(candidacy.isLeader));
    this.#ends.push(() => {
      candidacy.isLeader = false;
      leads(false);
    });
    return candidacy;
  }

  async close(): Promise<void> {
    this.#isClosed = true;
    this.#listeners.clear();
    for (const end of this.#ends.splice(0)) end();
  }
}
