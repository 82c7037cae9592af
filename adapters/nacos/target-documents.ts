import { setTimeout as sleep } from 'node:timers/promises';
import { type PublishedDubbo, parseMapping, revisionDocument, revisionOf } from '#adapters/dubbo/index.js';
import { markKeys } from '#publish/mark.js';
import type { Configs } from './config.js';

/** Another one writes the mapping at the same time: it is tried again as often. */
const attempts = 10;
/** ms until it is read again: the config centre gives a document out a moment after it took it. */
const pause = 200;
/** The config centre's group of the applications that provide an interface. */
const mappingGroup = 'mapping';

type Turn = () => Promise<void>;

/** What consumers of the application level read in the config centre: what each revision of an application provides, and which applications provide an interface. */
export class TargetDocuments {
  readonly #configs: Configs;
  readonly #owner: string;
  /** Those that were written, or were there, by namespace and application: they never change. */
  readonly #known = new Map<string, string>();

  constructor(configs: Configs, owner: string) {
    this.#configs = configs;
    this.#owner = owner;
  }

  /** Before the first instance is there. */
  async publish(namespace: string, published: PublishedDubbo, turn: Turn): Promise<void> {
    const { application, service } = published;
    const revision = revisionOf(published);
    if (this.#known.get(`${namespace}/${application}`) === revision) return;
    const name = { namespace, group: revision, dataId: application };
    if ((await this.#configs.read(name)) === undefined) {
      await turn();
      await this.#configs.publish(name, revisionDocument(published, { [markKeys.owner]: this.#owner }));
    }
    const add = (names: readonly string[]) => (names.includes(application) ? names : [...names, application]);
    await this.#map(namespace, service.interface, add, turn);
    this.#known.set(`${namespace}/${application}`, revision);
  }

  /** No instance has these revisions any more. */
  async forget(namespace: string, application: string, revisions: Iterable<string>, turn: Turn): Promise<void> {
    for (const group of revisions) {
      await turn();
      await this.#configs.remove({ namespace, group, dataId: application });
    }
  }

  /** The application has no instance any more. */
  async unmap(namespace: string, { application, service }: PublishedDubbo, turn: Turn): Promise<void> {
    this.#known.delete(`${namespace}/${application}`);
    const remove = (names: readonly string[]) => names.filter((name) => name !== application);
    await this.#map(namespace, service.interface, remove, turn);
  }

  async #map(
    namespace: string,
    dataId: string,
    change: (names: readonly string[]) => readonly string[],
    turn: Turn,
  ): Promise<void> {
    const name = { namespace, group: mappingGroup, dataId };
    for (let attempt = 1; attempt <= attempts; attempt++) {
      if (attempt > 1) await sleep(pause);
      const text = await this.#configs.read(name);
      const names = parseMapping(text ?? '');
      const wanted = change(names);
      if (wanted.length === names.length) return;
      await turn();
      // The config centre takes no empty document.
      if (wanted.length === 0) return await this.#configs.remove(name);
      // What is there first is not compared: two that write at once see it when they read again.
      if (!(await this.#configs.publish(name, wanted.join(','), text)) || text === undefined) continue;
      return;
    }
    throw new Error(`others write the mapping of ${dataId} all the time: ${attempts} attempts`);
  }
}
