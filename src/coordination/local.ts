import type { Candidacy, Coordination, Json } from './contract.js';
import { checkName } from './name.js';

/** The coordination of one process alone: documents in memory, and it leads. */
export class LocalCoordination implements Coordination {
  readonly error = undefined;
  readonly #documents = new Map<string, Json>();
  readonly #listeners = new Map<string, ((content: Json | undefined) => void)[]>();
  readonly #candidates: ((isLeader: boolean) => void)[] = [];
  #isClosed = false;

  watch(name: string, heard: (content: Json | undefined) => void): void {
    checkName(name);
    queueMicrotask(() => {
      if (this.#isClosed) return;
      this.#listeners.set(name, [...(this.#listeners.get(name) ?? []), heard]);
      heard(this.#documents.get(name));
    });
  }

  async update(name: string, change: (content: Json | undefined) => Json): Promise<void> {
    if (this.#isClosed) throw new Error('coordination is closed');
    const content = change(this.#documents.get(checkName(name)));
    this.#documents.set(name, content);
    for (const heard of this.#listeners.get(name) ?? []) heard(content);
  }

  campaign(role: string, leads: (isLeader: boolean) => void): Candidacy {
    checkName(role);
    const isLeader = () => !this.#isClosed;
    this.#candidates.push(leads);
    queueMicrotask(() => isLeader() && leads(true));
    return {
      get isLeader() {
        return isLeader();
      },
    };
  }

  async close(): Promise<void> {
    this.#isClosed = true;
    this.#listeners.clear();
    for (const leads of this.#candidates.splice(0)) leads(false);
  }
}
