import { setImmediate as nextLoop } from 'node:timers/promises';

/** ms of work after which others get a turn. */
const SLICE_MS = 10;

/** Keys that wait for their work, each once: what changes again while it waits is done once. At most so many at a time, and one key never twice at a time. */
export class WorkQueue {
  readonly #work: (key: string) => Promise<void>;
  readonly #parallel: number;
  readonly #waiting = new Set<string>();
  readonly #running = new Map<string, Promise<void>>();
  readonly #later = new Map<string, NodeJS.Timeout>();
  #resting: NodeJS.Timeout | undefined;
  #sliceEnd = 0;
  #isOpen = false;

  /** @param work must not throw */
  constructor(work: (key: string) => Promise<void>, parallel: number) {
    this.#work = work;
    this.#parallel = parallel;
  }

  /** Keys whose work is due, or being done. */
  get size(): number {
    return new Set([...this.#waiting, ...this.#running.keys()]).size;
  }

  /** @param delay ms; what waits for longer comes then */
  add(key: string, delay = 0): void {
    if (this.#waiting.has(key)) return;
    if (delay > 0) {
      if (!this.#later.has(key))
        this.#later.set(
          key,
          setTimeout(() => this.#due(key), delay),
        );
      return;
    }
    this.#due(key);
  }

  get isResting(): boolean {
    return this.#resting !== undefined;
  }

  /** Begins nothing for so many ms. */
  rest(ms: number): void {
    clearTimeout(this.#resting);
    this.#resting = setTimeout(() => {
      this.#resting = undefined;
      void this.#pump();
    }, ms);
  }

  open(): void {
    this.#isOpen = true;
    void this.#pump();
  }

  /** Begins nothing until it is opened again; what waits stays. */
  pause(): void {
    this.#isOpen = false;
  }

  /** Forgets all that waits, and resolves when nothing is being done any more. */
  async close(): Promise<void> {
    this.#isOpen = false;
    clearTimeout(this.#resting);
    this.#resting = undefined;
    for (const timer of this.#later.values()) clearTimeout(timer);
    this.#later.clear();
    this.#waiting.clear();
    await Promise.all(this.#running.values());
  }

  #due(key: string): void {
    clearTimeout(this.#later.get(key));
    this.#later.delete(key);
    this.#waiting.add(key);
    void this.#pump();
  }

  #isPumping = false;
  #isAsked = false;

  async #pump(): Promise<void> {
    this.#isAsked = true;
    if (this.#isPumping) return;
    this.#isPumping = true;
    while (this.#isAsked) {
      this.#isAsked = false;
      await this.#begin();
    }
    this.#isPumping = false;
  }

  /** Begins what may begin. Work that ends meanwhile asks for another look. */
  async #begin(): Promise<void> {
    for (const key of this.#waiting) {
      if (!this.#isOpen || this.#resting !== undefined || this.#running.size >= this.#parallel) break;
      if (this.#running.has(key)) continue;
      this.#waiting.delete(key);
      const done = this.#work(key).finally(() => {
        this.#running.delete(key);
        void this.#pump();
      });
      this.#running.set(key, done);
      if (performance.now() < this.#sliceEnd) continue;
      await nextLoop();
      this.#sliceEnd = performance.now() + SLICE_MS;
    }
  }
}
