import { createHash } from 'node:crypto';
import { z } from 'zod';
import { NacosError } from './connection.js';

/** Names one document of the config centre. */
export interface ConfigName {
  /** Its id; `public` for the default one. */
  readonly namespace: string;
  readonly group: string;
  readonly dataId: string;
}

/** Asks a server over gRPC. @throws NacosError if it says no, Error if it does not answer */
export type AskConfig = (
  type: string,
  name: Pick<ConfigName, 'namespace' | 'group'>,
  body: Readonly<Record<string, unknown>>,
) => Promise<Readonly<Record<string, unknown>>>;

/** The error's code where there is no such document. */
const notFound = 300;
/** Documents per request, as the Java client has it. */
const batch = 3_000;

const found = z.object({ content: z.string() });
const changes = z.object({ changedConfigs: z.array(z.object({ group: z.string(), dataId: z.string() })).nullish() });
const told = z.object({ group: z.string(), dataId: z.string(), tenant: z.string().nullish() });

/** Documents of Nacos's config centre. */
export class Configs {
  readonly #ask: AskConfig;

  constructor(ask: AskConfig) {
    this.#ask = ask;
  }

  /** A document's text; undefined if there is none. @throws Error if it cannot be read */
  async read(name: ConfigName): Promise<string | undefined> {
    try {
      return found.parse(await this.#ask('ConfigQueryRequest', name, nameOnWire(name))).content;
    } catch (error) {
      if (error instanceof NacosError && error.code === notFound) return undefined;
      throw error;
    }
  }

  /**
   * Writes a document.
   * @param was its text, as it was read: if another one has written it since, nothing is written
   * @returns whether it is written
   * @throws Error if the server does not take it
   */
  async publish(name: ConfigName, content: string, was?: string): Promise<boolean> {
    const casMd5 = was === undefined ? {} : { casMd5: createHash('md5').update(was).digest('hex') };
    try {
      await this.#ask('ConfigPublishRequest', name, { ...nameOnWire(name), content, ...casMd5 });
      return true;
    } catch (error) {
      if (error instanceof NacosError && /md5 may have changed/i.test(error.message)) return false;
      throw error;
    }
  }

  /** Removes a document, if it is there. @throws Error if the server does not */
  async remove(name: ConfigName): Promise<void> {
    await this.#ask('ConfigRemoveRequest', name, nameOnWire(name));
  }

  /**
   * Asks to be told of changes, as long as the connection lasts: see {@link toldConfig}.
   * @returns those that there are
   * @throws Error if the server does not say
   */
  async watch(names: readonly ConfigName[]): Promise<ConfigName[]> {
    const there: ConfigName[] = [];
    for (const namespace of new Set(names.map((name) => name.namespace))) {
      const ours = names.filter((name) => name.namespace === namespace);
      for (let start = 0; start < ours.length; start += batch) {
        const some = ours.slice(start, start + batch);
        // No sum is that of a document that there is: the server answers with those.
        const body = { listen: true, configListenContexts: some.map((name) => ({ ...nameOnWire(name), md5: '' })) };
        const group = some[0]?.group ?? '';
        const answer = changes.parse(await this.#ask('ConfigBatchListenRequest', { namespace, group }, body));
        there.push(
          ...(answer.changedConfigs ?? []).map((one) => ({ namespace, group: one.group, dataId: one.dataId })),
        );
      }
    }
    return there;
  }
}

/** The document that a ConfigChangeNotifyRequest names; undefined if it cannot be understood. */
export function toldConfig(body: unknown): ConfigName | undefined {
  const { data } = told.safeParse(body);
  return data && { namespace: data.tenant || 'public', group: data.group, dataId: data.dataId };
}

function nameOnWire({ namespace, group, dataId }: ConfigName) {
  return { dataId, group, tenant: namespace === 'public' ? '' : namespace };
}
