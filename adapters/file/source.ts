import { once } from 'node:events';
import { readFile } from 'node:fs/promises';
import { watch } from 'chokidar';
import { asError } from '#model/reason.js';
import { cause, type Source, type SourceContext, type SourceOutput } from '#sources/contract.js';
import { decodeFile } from './decode.js';

/** A file says that it is there only when it changes: its proof of life is that it can be read. */
const checkInterval = 10_000;

/** Reads services from a YAML file, and again whenever it is saved. A file that is missing or malformed changes nothing. */
export class FileSource implements Source {
  readonly #path: string;
  readonly #context: SourceContext;

  constructor(path: string, context: SourceContext) {
    this.#path = path;
    this.#context = context;
  }

  async run(out: SourceOutput, signal: AbortSignal): Promise<void> {
    let known = '';
    const read = async (what: string): Promise<void> => {
      try {
        const text = await readFile(this.#path, 'utf8');
        if (text !== known) this.#publish(text, what, out);
        known = text;
        out.alive();
        out.state({ kind: 'live' });
      } catch (error) {
        out.state({ kind: 'stale', error: asError(error) });
      }
    };
    let reading = read('file read');
    const readAgain = (what: string): void => {
      reading = reading.then(() => read(what));
    };
    const watcher = watch(this.#path, { awaitWriteFinish: { stabilityThreshold: 50, pollInterval: 10 } });
    watcher.on('all', () => readAgain('file saved'));
    watcher.on('error', (error) => out.state({ kind: 'stale', error: asError(error) }));
    const timer = setInterval(() => readAgain('file changed'), checkInterval);
    if (!signal.aborted) await once(signal, 'abort');
    clearInterval(timer);
    await watcher.close();
    await reading;
  }

  #publish(text: string, what: string, out: SourceOutput): void {
    const { registry, includes } = this.#context;
    const { services, unreadable } = decodeFile(text, registry);
    const listing = out.listing();
    for (const { key, error } of unreadable) out.unreadable(key, error);
    listing.add(services.filter(({ key }) => includes(key.name)));
    listing.commit(cause(what));
  }
}
