import zookeeper from 'node-zookeeper-client';
import {
  type PublishedDubbo,
  parseApplicationMetadata,
  parseMapping,
  revisionDocument,
  revisionOf,
} from '#adapters/dubbo/index.js';
import { markKeys } from '#publish/mark.js';
import { isObject } from '#sources/json.js';
import { type Holdings, isCode } from './holdings.js';
import { below } from './paths.js';

/** Another one writes the mapping at the same time: it is tried again as often. */
const attempts = 10;
const { CreateMode, Exception } = zookeeper;

type Turn = () => Promise<void>;

/** What consumers of the application level read beside the instances: `<root>/metadata/<application>/<revision>`, and `<root>/mapping/<interface>`. */
export class TargetDocuments {
  readonly #holdings: Holdings;
  readonly #root: string;
  readonly #owner: string;

  /** @param root of Dubbo's metadata centre */
  constructor(holdings: Holdings, root: string, owner: string) {
    this.#holdings = holdings;
    this.#root = root;
    this.#owner = owner;
  }

  /** Before the first instance is there. */
  async publish(published: PublishedDubbo, turn: Turn): Promise<void> {
    const { application, service } = published;
    const document = revisionDocument(published, { [markKeys.owner]: this.#owner });
    await this.#holdings.ensure(below(this.#root, 'metadata', application, revisionOf(published)), turn, document);
    await this.#map(
      service.interface,
      (names) => (names.includes(application) ? names : [...names, application]),
      turn,
    );
  }

  /** When the last instance of an application is gone: what others wrote of it stays, and then the mapping does, too. */
  async withdraw(application: string, interfaceName: string, turn: Turn): Promise<void> {
    const folder = below(this.#root, 'metadata', application);
    let isOthers = false;
    for (const revision of await this.#holdings.children(folder)) {
      const path = below(folder, revision);
      const found = await this.#holdings.read(path);
      if (found !== undefined && this.#isOurs(found.data)) {
        if (namesOf(found.data).includes(interfaceName)) await this.#remove(path, turn);
      } else if (found !== undefined) isOthers = true;
    }
    if (isOthers) return;
    await this.#map(interfaceName, (names) => names.filter((name) => name !== application), turn);
  }

  async #map(interfaceName: string, change: (names: string[]) => string[], turn: Turn): Promise<void> {
    const path = below(this.#root, 'mapping', interfaceName);
    for (let attempt = 1; ; attempt++) {
      const found = await this.#holdings.read(path);
      const names = parseMapping(found?.data ?? '');
      const wanted = change(names);
      if (wanted.length === names.length) return;
      const data = wanted.join(',');
      if (found === undefined) await this.#holdings.ensure(below(this.#root, 'mapping'), turn);
      await turn();
      try {
        await this.#holdings.ask(async (session) => {
          if (found === undefined) await session.create(path, data, CreateMode.PERSISTENT);
          else await session.write(path, data, found.version);
        });
        return;
      } catch (error) {
        if (attempt === attempts || !isCode(error, Exception.BAD_VERSION, Exception.NODE_EXISTS, Exception.NO_NODE))
          throw error;
      }
    }
  }

  async #remove(path: string, turn: Turn): Promise<void> {
    await turn();
    this.#holdings.forget(path);
    await this.#holdings
      .ask((session) => session.change([{ what: 'remove', path }]))
      .catch((error: unknown) => {
        if (!isCode(error, Exception.NO_NODE)) throw error;
      });
  }

  #isOurs(text: string): boolean {
    return this.#fields(text)[markKeys.owner] === this.#owner;
  }

  #fields(text: string): Record<string, unknown> {
    try {
      const found: unknown = JSON.parse(text);
      return isObject(found) ? found : {};
    } catch {
      return {};
    }
  }
}

function namesOf(text: string): string[] {
  return parseApplicationMetadata(text).services.map(({ service }) => service.interface);
}
