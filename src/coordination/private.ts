import { setTimeout as sleep } from 'node:timers/promises';
import { FileStore } from './file.js';
import type { Term } from './term.js';

/** ms */
const long = 24 * 3_600_000;

/** The documents of one process alone, in a directory of its own, so that they outlive it. Nobody else takes part in an election: it leads. */
export class PrivateStore extends FileStore {
  override async elect(_role: string, term: Term, answered: () => void, signal: AbortSignal): Promise<void> {
    // Who asks to be told is not told before it has got its answer.
    await Promise.resolve();
    while (!signal.aborted) {
      term.renewed(performance.now(), long);
      answered();
      await sleep(long / 3, undefined, { signal, ref: false }).catch(() => undefined);
    }
    term.end();
  }
}
