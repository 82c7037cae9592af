import { isDeepStrictEqual } from 'node:util';
import type { Metadata, RegistryService, ServiceKey } from '#model/service.js';
import type { Answer, ConsulClient, Question } from './client.js';
import { nextIndex } from './client.js';
import { decodeService } from './decode.js';
import type { Reading } from './instance.js';

/** How the services of one place are asked for and read. */
export interface Reader {
  readonly client: ConsulClient;
  readonly reading: Reading;
  /** What is known of each service by where it is. */
  readonly metadata: Metadata;
}

/** One service of the list, and what was last read of it. */
export class WatchedService {
  readonly key: ServiceKey;
  /** What is there; undefined before the first answer, and if there is only what is not wanted. */
  content: RegistryService | undefined;
  /** Whether the last attempts failed and that was said. */
  unreadable = false;
  /** Failed attempts in a row. */
  failures = 0;
  /** Consul's index of the last answer. */
  index = 0n;
  readonly #reader: Reader;

  constructor(key: ServiceKey, reader: Reader) {
    this.key = key;
    this.#reader = reader;
  }

  /** Whether one of its instances is on a node. */
  isOn(node: string): boolean {
    return this.content?.instances.some(({ id }) => id.startsWith(`${node}/`)) ?? false;
  }

  /**
   * Asks for the service and takes the answer. One that would empty it, or that is older than what is known, counts only if a second, plain
   * question gives the same: a server that lags behind, or has lost its leader unawares, answers with the past.
   * @returns whether the content is another than before
   * @throws HttpError or Error; the content stays as it was
   */
  async look(question: Question, signal: AbortSignal): Promise<boolean> {
    const { client } = this.#reader;
    let answer = await client.service(this.key.name, question, signal);
    // Also when the index is the same: what the token may see changes without it.
    let next = this.#visible(answer);
    const loses = (this.content?.instances.length ?? 0) > 0 && (next?.instances.length ?? 0) === 0;
    if (loses || answer.index < this.index) {
      answer = await client.service(this.key.name, { elsewhere: answer.server }, signal);
      next = this.#visible(answer);
    }
    signal.throwIfAborted();
    this.index = nextIndex(answer.index, this.index);
    if (isDeepStrictEqual(next, this.content)) return false;
    this.content = next;
    return true;
  }

  /** Asks for a service that is missing in a list, of another server than that list's. @throws HttpError or Error if that cannot be told */
  async isGone(server: string, signal: AbortSignal): Promise<boolean> {
    const answer = await this.#reader.client.service(this.key.name, { elsewhere: server }, signal);
    if (answer.filtered) throw new Error(`the token may no longer see ${this.key.name}`);
    const found = this.#read(answer);
    return found === undefined || found.instances.length + found.rejected.length === 0;
  }

  #visible(answer: Answer): RegistryService | undefined {
    const service = this.#read(answer);
    if (answer.filtered && service?.instances.length === 0)
      throw new Error(`the token may not see the instances of ${this.key.name} (it needs service:read and node:read)`);
    // Nothing at all about a service that was never seen: it has just gone, and the list will say so; or the filter wants none of it.
    return this.content === undefined && service?.instances.length === 0 && service.rejected.length === 0
      ? undefined
      : service;
  }

  #read({ body }: Answer): RegistryService | undefined {
    return decodeService(this.key, this.#reader.metadata, body, this.#reader.reading);
  }
}
