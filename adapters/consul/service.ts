import { isDeepStrictEqual } from 'node:util';
import type { RegistryService, ServiceKey } from '#model/service.js';
import type { Answer, ConsulClient, Question } from './client.js';
import { nextIndex } from './client.js';
import { decodeService } from './decode.js';

/** One service of the list, and what was last read of it. */
export class WatchedService {
  readonly key: ServiceKey;
  /** What is there; undefined before the first answer, and if there are only proxies. */
  content: RegistryService | undefined;
  /** Whether the last attempts failed and that was said. */
  unreadable = false;
  /** Failed attempts in a row. */
  failures = 0;
  /** Consul's index of the last answer. */
  index = 0n;

  constructor(key: ServiceKey) {
    this.key = key;
  }

  /** The nodes that its instances are on. */
  isOn(node: string): boolean {
    return this.content?.instances.some(({ id }) => id.startsWith(`${node}/`)) ?? false;
  }

  /**
   * Asks for the service and takes the answer. One that would empty it counts only if a second, plain question gives the same.
   * @returns whether the content is another than before
   * @throws HttpError or Error; the content stays as it was
   */
  async look(client: ConsulClient, question: Question, signal: AbortSignal): Promise<boolean> {
    const answer = await client.service(this.key.name, question, signal);
    // Also when the index is the same: what the token may see changes without it.
    const next = await this.#believed(answer, client, signal);
    signal.throwIfAborted();
    this.index = nextIndex(answer.index, this.index);
    if (isDeepStrictEqual(next, this.content)) return false;
    this.content = next;
    return true;
  }

  async #believed(answer: Answer, client: ConsulClient, signal: AbortSignal): Promise<RegistryService | undefined> {
    const next = this.#decode(answer);
    const loses = (this.content?.instances.length ?? 0) > 0 && (next?.instances.length ?? 0) === 0;
    if (!loses) return next;
    return this.#decode(await client.service(this.key.name, { elsewhere: answer.server }, signal));
  }

  #decode({ body, filtered }: Answer): RegistryService | undefined {
    const service = decodeService(this.key, body);
    if (filtered && service?.instances.length === 0)
      throw new Error(`the token may not see the instances of ${this.key.name} (it needs service:read and node:read)`);
    // Nothing at all about a service that was never seen: it has just gone, and the list will say so.
    return this.content === undefined && service?.instances.length === 0 && service.rejected.length === 0
      ? undefined
      : service;
  }
}
