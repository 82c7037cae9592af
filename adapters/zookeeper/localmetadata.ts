import pLimit from 'p-limit';
import type { ApplicationInstance, ApplicationMetadata } from '#adapters/dubbo/index.js';
import { askMetadata } from '#adapters/dubbo/metadata.js';
import { asError } from '#model/reason.js';
import { type Cause, cause } from '#sources/contract.js';
import type { Following } from './follow.js';

/** Instances that are asked at a time. */
const concurrency = 16;
/** Instances of one revision that are asked in one go: they all say the same. */
const tries = 3;
/** ms for which an application's interfaces wait for what its instances say of themselves. */
const patience = 5_000;
/** Longest pause between two goes, in ms. */
const longestPause = 15 * 60_000;

/** What is known of one revision of one application. */
export type LocalAnswer =
  | { readonly kind: 'unknown' }
  | { readonly kind: 'metadata'; readonly metadata: ApplicationMetadata }
  | { readonly kind: 'unanswered'; readonly error: Error };

interface Revision {
  instances: readonly ApplicationInstance[];
  answer: LocalAnswer;
  readonly over: AbortController;
  timer: NodeJS.Timeout | undefined;
}

/**
 * The metadata that applications keep to themselves (`metadata-type: local`): one instance of each revision is asked. Where none answers, it is asked again,
 * with growing pauses.
 */
export class LocalMetadata {
  readonly #following: Following;
  readonly #firstPause: number;
  readonly #changed: (application: string, cause: Cause) => void;
  readonly #limit = pLimit(concurrency);
  readonly #revisions = new Map<string, Map<string, Revision>>();

  /**
   * @param firstPause ms until a revision is asked about again when nobody has answered
   * @param changed is told when something became known of an application
   */
  constructor(following: Following, firstPause: number, changed: (application: string, cause: Cause) => void) {
    this.#following = following;
    this.#firstPause = firstPause;
    this.#changed = changed;
  }

  /** The instances that an application has now, those with metadata of their own. */
  sync(application: string, instances: readonly ApplicationInstance[]): void {
    const known = this.#revisions.get(application) ?? new Map<string, Revision>();
    const wanted = new Map<string, ApplicationInstance[]>();
    for (const instance of instances)
      wanted.set(instance.revision, [...(wanted.get(instance.revision) ?? []), instance]);
    for (const [name, revision] of known)
      if (!wanted.has(name)) {
        known.delete(name);
        end(revision);
      }
    for (const [name, those] of wanted) {
      const before = known.get(name);
      if (before !== undefined) before.instances = those;
      else {
        const over = new AbortController();
        const revision: Revision = { instances: those, answer: { kind: 'unknown' }, over, timer: undefined };
        known.set(name, revision);
        this.#begin(application, revision);
      }
    }
    if (known.size > 0) this.#revisions.set(application, known);
    else this.#revisions.delete(application);
  }

  read(application: string, revision: string): LocalAnswer {
    return this.#revisions.get(application)?.get(revision)?.answer ?? { kind: 'unknown' };
  }

  /** All that the application's instances have said. */
  *answers(application: string): Iterable<ApplicationMetadata> {
    for (const { answer } of this.#revisions.get(application)?.values() ?? [])
      if (answer.kind === 'metadata') yield answer.metadata;
  }

  stop(): void {
    for (const revisions of this.#revisions.values()) for (const revision of revisions.values()) end(revision);
  }

  #begin(application: string, revision: Revision): void {
    const asked = this.#ask(application, revision, this.#firstPause);
    const late = new Promise<void>((resolve) => {
      revision.timer = setTimeout(() => {
        if (revision.answer.kind === 'unknown')
          this.#answer(application, revision, { kind: 'unanswered', error: new Error('it has not answered yet') });
        resolve();
      }, patience);
    });
    this.#following.await(Promise.race([asked, late]));
  }

  async #ask(application: string, revision: Revision, pause: number): Promise<void> {
    const { signal } = revision.over;
    let failure = new Error('it has no instance');
    for (let i = 0; i < Math.min(tries, revision.instances.length); i++) {
      const instance = revision.instances[i];
      if (instance === undefined || signal.aborted) return;
      try {
        const metadata = await this.#limit(() => askMetadata(instance, signal));
        if (!signal.aborted) this.#answer(application, revision, { kind: 'metadata', metadata });
        return;
      } catch (error) {
        failure = asError(error);
      }
    }
    if (signal.aborted) return;
    this.#answer(application, revision, { kind: 'unanswered', error: failure });
    const next = Math.min(pause * 2, longestPause);
    revision.timer = setTimeout(() => void this.#ask(application, revision, next), pause);
  }

  #answer(application: string, revision: Revision, answer: LocalAnswer): void {
    const before = revision.answer;
    clearTimeout(revision.timer);
    revision.answer = answer;
    if (before.kind === 'unanswered' && answer.kind === 'unanswered' && before.error.message === answer.error.message)
      return;
    this.#changed(application, cause('metadata of an instance'));
  }
}

function end(revision: Revision): void {
  clearTimeout(revision.timer);
  revision.over.abort();
}
