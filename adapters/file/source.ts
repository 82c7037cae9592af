import { setTimeout as sleep } from 'node:timers/promises';
import { isDeepStrictEqual } from 'node:util';
import { asError, reasonOf } from '#model/reason.js';
import { type RegistryService, serviceId } from '#model/service.js';
import { cause, type Source, type SourceContext, type SourceOutput } from '#sources/contract.js';
import { Turn } from '#sources/turn.js';
import type { Entry } from './decode.js';
import { isSame, readSettled, type Texts } from './files.js';
import { join } from './join.js';
import { parseFile } from './parse.js';
import { PathWatch } from './watch.js';

/** ms until files are looked at without an event: their proof of life is that they can be read, and not every file system tells of changes. */
const checkInterval = 10_000;
/** ms until a look that would take services away is believed. */
const lossPause = 1_000;

/** Reads services from a file or a folder of files, and again whenever one is saved. */
export class FileSource implements Source {
  readonly #path: string;
  readonly #context: SourceContext;

  constructor(path: string, context: SourceContext) {
    this.#path = path;
    this.#context = context;
  }

  async run(out: SourceOutput, signal: AbortSignal): Promise<void> {
    const watch = new PathWatch(this.#path);
    const session = new Session(this.#path, this.#context, out, signal);
    try {
      while (!signal.aborted) {
        watch.arm();
        await session.look();
        await watch.wait(checkInterval, signal);
      }
    } finally {
      watch.close();
    }
  }
}

/** What is known of one file. */
interface KnownFile {
  readonly text: string | Error;
  /** What it said when it could last be read; undefined if it never could. */
  readonly entries: readonly Entry[] | undefined;
  readonly error: string | undefined;
}

/** One run of a source. */
class Session {
  #texts: Texts = new Map();
  #files: ReadonlyMap<string, KnownFile> = new Map();
  #services: ReadonlyMap<string, RegistryService> = new Map();
  #isComplete = false;

  constructor(
    private readonly path: string,
    private readonly context: SourceContext,
    private readonly out: SourceOutput,
    private readonly signal: AbortSignal,
  ) {}

  /** Looks at the files once, and gives out what has changed. */
  async look(): Promise<void> {
    try {
      const texts = await readSettled(this.path, this.#texts, this.signal);
      if (!isSame(texts, this.#texts)) await this.#take(texts);
      const errors = [...this.#files.values()].flatMap(({ error }) => error ?? []);
      if (errors.length > 0) throw new Error(errors.join('; '));
      this.out.alive();
      this.out.state({ kind: 'live' });
    } catch (error) {
      if (!this.signal.aborted) this.out.state({ kind: 'stale', error: asError(error) });
    }
  }

  async #take(texts: Texts): Promise<void> {
    const told = cause(this.#isComplete ? 'file saved' : 'file read');
    const files = await this.#read(texts);
    const { services, malformed } = join([...files.values()].map(({ entries = [] }) => entries));
    const unreadable = malformed.map(({ key, content }) => ({ key, error: new Error(String(content)) }));
    const kept = new Map<string, RegistryService>();
    for (const { key } of unreadable) {
      const before = this.#services.get(serviceId(key));
      if (before !== undefined) kept.set(serviceId(key), before);
    }
    const isLoss = [...this.#services].some(
      ([id, { instances }]) => instances.length > 0 && !kept.has(id) && (services.get(id)?.instances.length ?? 0) === 0,
    );
    if (isLoss) {
      await sleep(lossPause, undefined, { signal: this.signal });
      const again = await readSettled(this.path, texts, this.signal);
      if (!isSame(again, texts)) return this.#take(again);
    }
    this.#texts = texts;
    this.#files = files;
    // A file that never could be read may hold services that the mesh knows from before the start.
    if (!this.#isComplete && [...files.values()].some(({ entries }) => entries === undefined)) return;
    this.#services = await this.#unchanged(new Map([...services, ...kept]));
    const { includes } = this.context;
    const listing = this.out.listing();
    for (const { key, error } of unreadable) if (includes(key.name)) this.out.unreadable(key, error);
    listing.add([...this.#services.values()].filter(({ key }) => includes(key.name)));
    listing.commit(told);
    this.#isComplete = true;
  }

  /** Parses the files that have changed. One that is malformed keeps what it said before. */
  async #read(texts: Texts): Promise<Map<string, KnownFile>> {
    const files = new Map<string, KnownFile>();
    for (const [file, text] of texts) {
      const known = this.#files.get(file);
      if (known !== undefined && known.text === text) {
        files.set(file, known);
        continue;
      }
      try {
        if (text instanceof Error) throw new Error(`${file} cannot be read: ${reasonOf(text)}`);
        const entries = await parseFile({ text, file, registry: this.context.registry }, this.signal);
        files.set(file, { text, entries, error: undefined });
      } catch (error) {
        this.signal.throwIfAborted();
        files.set(file, { text, entries: known?.entries, error: reasonOf(error) });
      }
    }
    return files;
  }

  /** The same services; those that say what they said are the same objects, so that nobody has to compare them again. */
  async #unchanged(services: ReadonlyMap<string, RegistryService>): Promise<Map<string, RegistryService>> {
    const same = new Map<string, RegistryService>();
    const turn = new Turn();
    for (const [id, service] of services) {
      const before = this.#services.get(id);
      same.set(id, before !== undefined && isDeepStrictEqual(before, service) ? before : service);
      if (turn.isLong) await turn.next();
    }
    return same;
  }
}
