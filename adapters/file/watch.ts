import { type FSWatcher, watch } from 'node:fs';
import { basename, dirname } from 'node:path';
import { isFileOfServices, settlePause } from './files.js';

/** What the kubelet turns when a mounted ConfigMap changes. */
const linkOfData = '..data';

/**
 * Notices that a file or a folder changes: written in place, replaced, or behind a link that is set anew, as Kubernetes does with the `..data` of a
 * mounted ConfigMap. What cannot be watched (a network's file system, a link to another folder) is noticed when the time is up.
 */
export class PathWatch {
  readonly #path: string;
  #watchers: FSWatcher[] = [];
  #isChanged = false;
  #wake: () => void = () => {};

  constructor(path: string) {
    this.#path = path;
  }

  /** Watches what is there now. What is read after this and changes later ends the next {@link wait}. */
  arm(): void {
    this.close();
    this.#isChanged = false;
    const own = basename(this.#path);
    this.#watch(this.#path, (name) => name === own || name === linkOfData || isFileOfServices(name));
    this.#watch(dirname(this.#path), (name) => name === own || name === linkOfData);
  }

  /** Waits for a change since {@link arm}, at most some ms. Resolves early when the signal aborts. */
  async wait(timeout: number, signal: AbortSignal): Promise<void> {
    if (signal.aborted) return;
    await new Promise<void>((resolve) => {
      // Where changes never end there is still a pause between two looks.
      const timer = setTimeout(resolve, this.#isChanged ? settlePause : timeout);
      this.#wake = () => {
        clearTimeout(timer);
        signal.removeEventListener('abort', this.#wake);
        resolve();
      };
      signal.addEventListener('abort', this.#wake);
    });
    signal.removeEventListener('abort', this.#wake);
  }

  close(): void {
    for (const watcher of this.#watchers) watcher.close();
    this.#watchers = [];
  }

  #watch(path: string, concerns: (name: string) => boolean): void {
    try {
      const watcher = watch(path, (_, name) => {
        if (name !== null && !concerns(name)) return;
        this.#isChanged = true;
        this.#wake();
      });
      watcher.on('error', () => watcher.close());
      this.#watchers.push(watcher);
    } catch {
      // It is not there, or the system has no watch left: reading it says what is wrong, or time does.
    }
  }
}
