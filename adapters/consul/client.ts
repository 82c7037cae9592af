import { readClientTls, type TlsFiles } from '#config/fields.js';
import { HttpError, withoutUser } from '#sources/http.js';
import { type Call, Connection, type Reply } from './connection.js';
import type { ConsulConfig } from './schema.js';

/** How something is asked. Without an index it is answered at once. */
export interface Question {
  /** Answer when the state is past this index, or when the wait is over. */
  readonly index?: bigint;
  /** A second, plain question about bad news: of another server than this one where there is one, and with a quorum's answer. */
  readonly elsewhere?: string;
}

export interface Answer {
  readonly body: unknown;
  readonly index: bigint;
  /** Whether something was left out that the token may not see. Consul does not say it to those who come without a token. */
  readonly filtered: boolean;
  /** Whether nothing may be seen unless a token allows it. */
  readonly closed: boolean;
  /** Base URL of the server that answered, without user name and password. */
  readonly server: string;
}

/**
 * Consul's HTTP API, as far as a reader needs it, over several servers: sticky to the one that answers, and on to the next when it cannot
 * be reached, is too slow, or answers 5xx or 429. Protocol: https://developer.hashicorp.com/consul/api-docs/features/blocking
 */
export class ConsulClient {
  readonly #config: ConsulConfig;
  readonly #servers: readonly Server[];
  #current = 0;

  /** @throws Error of the file system if a certificate cannot be read */
  constructor(config: ConsulConfig) {
    this.#config = config;
    const tls = config.tls === undefined ? {} : readClientTls(config.tls);
    this.#servers = config.servers.map((url) => new Server(url, tls));
  }

  /** The names of all services, with their tags. Its index passes with every change of any registration. */
  services(question: Question, signal: AbortSignal): Promise<Answer> {
    return this.#ask('/v1/catalog/services', (consul, options) => consul.catalog.services(options), question, signal);
  }

  /** The instances of one service, each with its node and its checks. */
  service(name: string, question: Question, signal: AbortSignal): Promise<Answer> {
    const call: Call = (consul, options) => consul.health.service({ ...options, service: name });
    return this.#ask(`/v1/health/service/${encodeURIComponent(name)}`, call, question, signal);
  }

  /** The checks that do not pass. */
  failingChecks(question: Question, signal: AbortSignal): Promise<Answer> {
    const filter = 'Status != "passing"';
    const call: Call = (consul, options) => consul.health.state({ ...options, state: 'any', filter });
    return this.#ask('/v1/health/state/any', call, question, signal);
  }

  close(): void {
    for (const server of this.#servers) server.close();
  }

  /** @throws HttpError that names each server and what was wrong with it */
  async #ask(path: string, call: Call, question: Question, signal: AbortSignal): Promise<Answer> {
    const options = this.#options(question);
    const { timeout, wait } = this.#config;
    // Consul adds up to a sixteenth of the wait.
    const patience = timeout + (question.index === undefined ? 0 : wait * (1 + 1 / 16));
    const failures: string[] = [];
    let last: HttpError | undefined;
    for (const server of this.#order(question)) {
      try {
        return answerOf(await server.ask(call, options, patience, signal), server.shown);
      } catch (error) {
        signal.throwIfAborted();
        last = error as HttpError;
        failures.push(`${server.shown}${path}: ${last.message}`);
        if (server === this.#servers[this.#current]) this.#current = (this.#current + 1) % this.#servers.length;
      }
    }
    throw new HttpError(failures.sort().join('; '), last?.status, { cause: last });
  }

  #order({ elsewhere }: Question): Server[] {
    const order = [...this.#servers.slice(this.#current), ...this.#servers.slice(0, this.#current)];
    return [...order.filter(({ shown }) => shown !== elsewhere), ...order.filter(({ shown }) => shown === elsewhere)];
  }

  #options({ index, elsewhere }: Question): object {
    const { auth, datacenter, wait } = this.#config;
    const consistency = elsewhere === undefined ? this.#config.consistency : 'consistent';
    return {
      ...(auth === undefined ? {} : { token: auth.token.reveal() }),
      ...(datacenter === undefined ? {} : { dc: datacenter }),
      ...(consistency === 'default' ? {} : { [consistency]: true }),
      ...(index === undefined ? {} : { index: String(index), wait: `${wait}ms` }),
    };
  }
}

/** One server and the connections to it: as many as there are questions at one time. */
class Server {
  readonly shown: string;
  readonly #url: string;
  readonly #tls: TlsFiles;
  readonly #all = new Set<Connection>();
  readonly #idle: Connection[] = [];

  constructor(url: string, tls: TlsFiles) {
    this.shown = withoutUser(url);
    this.#url = url;
    this.#tls = tls;
  }

  async ask(call: Call, options: object, timeout: number, signal: AbortSignal): Promise<Reply> {
    const connection = this.#idle.pop() ?? new Connection(this.#url, this.#tls);
    this.#all.add(connection);
    try {
      return await connection.ask(call, options, timeout, signal);
    } finally {
      this.#idle.push(connection);
    }
  }

  close(): void {
    for (const connection of this.#all) connection.close();
  }
}

function answerOf({ body, headers }: Reply, server: string): Answer {
  const index = headers['x-consul-index'];
  if (typeof index !== 'string' || !/^\d+$/.test(index))
    throw new HttpError('answered without X-Consul-Index: this is not Consul', undefined);
  const filtered = headers['x-consul-results-filtered-by-acls'] === 'true';
  const closed = headers['x-consul-default-acl-policy'] === 'deny';
  return { body, index: BigInt(index), filtered, closed, server };
}

/**
 * The index to ask with next. One that falls (a restored or replaced cluster) starts again at 0; one below 1 would not block.
 */
export function nextIndex(answered: bigint, asked: bigint): bigint {
  if (answered < asked) return 0n;
  return answered < 1n ? 1n : answered;
}
