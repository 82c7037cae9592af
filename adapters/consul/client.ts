import { readFile } from 'node:fs/promises';
import pLimit from 'p-limit';
import { readClientTls, type TlsFiles } from '#config/fields.js';
import { reasonOf } from '#model/reason.js';
import { HttpError, withoutUser } from '#sources/http.js';
import { Connection, pauseOf, Refusal, type Reply, type Request } from './connection.js';
import type { ConsulConfig } from './schema.js';

/** Questions at one time beside the blocking queries. */
const READERS = 8;
/** ms without word from its leader after which a server's answer is too old to be taken: with `stale` it would answer for ever. */
const LONGEST_BEHIND_MS = 10_000;

/** What a question is about. What is not given is the agents' own, or the token's. */
export interface Place {
  readonly datacenter?: string | undefined;
  readonly partition?: string | undefined;
  readonly namespace?: string | undefined;
}

/** How something is asked. Without an index it is answered at once. */
export interface Question {
  /** Answer when the state is past this index, or when the wait is over. */
  readonly index?: bigint;
  /** A second, plain question about bad news: of another server than this one where there is one, and with a quorum's answer. */
  readonly elsewhere?: string;
  /** By the leader's word, where `stale` is configured: what one server has told may not have come to another one yet. */
  readonly fresh?: boolean;
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
 * Consul's HTTP API for one place, as far as it is needed, over several servers: sticky to the one that answers, and on to the next
 * when it cannot be reached, is too slow, answers 5xx or 429, or has lost its leader. Protocol:
 * https://developer.hashicorp.com/consul/api-docs/features/blocking
 */
export class ConsulClient {
  readonly #servers: Servers;
  readonly #place: Place;
  #current = 0;

  constructor(servers: Servers, place: Place) {
    this.#servers = servers;
    this.#place = place;
  }

  /** The names of all services, with their tags. Its index passes with every change of any registration. */
  services(question: Question, signal: AbortSignal): Promise<Answer> {
    return this.#ask('/catalog/services', {}, question, signal, answerOf);
  }

  /** The instances of one service, each with its node and its checks; those that the configured filter chooses. */
  service(name: string, question: Question, signal: AbortSignal): Promise<Answer> {
    const { filter } = this.#servers.config;
    const query = filter === undefined ? {} : { filter };
    return this.#ask(`/health/service/${encodeURIComponent(name)}`, query, question, signal, answerOf);
  }

  /** The same of all its instances, whatever the configured filter chooses, and by the leader's word. */
  wholeService(name: string, signal: AbortSignal): Promise<Answer> {
    return this.#ask(`/health/service/${encodeURIComponent(name)}`, {}, { fresh: true }, signal, answerOf);
  }

  /** The checks that do not pass. */
  failingChecks(question: Question, signal: AbortSignal): Promise<Answer> {
    return this.#ask('/health/state/any', { filter: 'Status != "passing"' }, question, signal, answerOf);
  }

  /** The nodes. Its index passes with every change of a node, such as another address. */
  nodes(question: Question, signal: AbortSignal): Promise<Answer> {
    return this.#ask('/catalog/nodes', {}, question, signal, answerOf);
  }

  /** All nodes with their services and checks in one answer. Consul's own web pages ask so: its documents do not promise it. */
  everything(question: Question, signal: AbortSignal): Promise<Answer> {
    return this.#ask('/internal/ui/nodes', {}, question, signal, answerOf);
  }

  /** The servers of the place's data centre, as instances of the service `consul`. */
  consulServers(signal: AbortSignal): Promise<Answer> {
    return this.#ask('/catalog/service/consul', {}, {}, signal, answerOf);
  }

  /** A key's entry, in a list; undefined if there is none. */
  entry(key: string, question: Question, signal: AbortSignal): Promise<Answer> {
    return this.#ask(`/kv/${key}`, {}, question, signal, answerOf, { mayLack: true });
  }

  /**
   * Puts something below /v1. A server that does not answer may have done it nevertheless, and the next one is told the same.
   * @returns the answer; undefined for 404
   */
  async put(path: string, query: Request['query'], body: string, signal: AbortSignal): Promise<unknown> {
    const more = { body: Buffer.from(body), mayLack: true };
    return (await this.#ask(path, query, { fresh: true }, signal, (reply) => reply, more)).body;
  }

  /** Puts something below /v1 that is no key. @throws HttpError with the status, also for 404 */
  async send(path: string, body: string, signal: AbortSignal, query: Request['query'] = {}): Promise<unknown> {
    return (await this.#ask(path, query, { fresh: true }, signal, (reply) => reply, { body: Buffer.from(body) })).body;
  }

  /** The node of that name alone, in a list, or none; without its services, of which it may have very many. */
  node(name: string, signal: AbortSignal): Promise<Answer> {
    // Consul takes names that differ in case alone for one.
    const pattern = `(?i)^${name.replace(/[^A-Za-z0-9_-]/g, '\\$&')}$`;
    const filter = `Node matches ${JSON.stringify(pattern)}`;
    return this.#ask('/catalog/nodes', { filter }, { fresh: true }, signal, answerOf);
  }

  /** The data centres, partitions or namespaces that there are. These answers have no index. */
  async all(
    what: 'catalog/datacenters' | 'partitions' | 'namespaces' | 'agent/self',
    signal: AbortSignal,
  ): Promise<unknown> {
    return (await this.#ask(`/${what}`, {}, {}, signal, (reply) => reply)).body;
  }

  /** @throws HttpError that names each server and what was wrong with it; a Refusal if one of them asked for a pause */
  async #ask<T>(
    path: string,
    more: Request['query'],
    question: Question,
    signal: AbortSignal,
    read: (reply: Reply, server: string) => T,
    request: Pick<Request, 'body' | 'mayLack'> = {},
  ): Promise<T> {
    const { config } = this.#servers;
    const query = { ...more, ...this.#query(question) };
    // Consul adds up to a sixteenth of the wait.
    const patience = config.timeout + (question.index === undefined ? 0 : config.wait * (1 + 1 / 16));
    const failures: string[] = [];
    const errors: HttpError[] = [];
    for (const server of this.#order(question)) {
      try {
        const headers = await this.#servers.headers();
        const send = () => server.ask({ ...request, path, query, headers }, patience, signal);
        return read(await (question.index === undefined ? this.#servers.plainly(send) : send()), server.shown);
      } catch (error) {
        signal.throwIfAborted();
        errors.push(error as HttpError);
        failures.push(`${server.shown}/v1${path}: ${reasonOf(error)}`);
        if (server === this.#servers.all[this.#current]) this.#current = (this.#current + 1) % this.#servers.all.length;
      }
    }
    const message = failures.sort().join('; ');
    const pauses = errors.map(pauseOf);
    const { status } = errors.at(-1) ?? {};
    if (errors.some((error) => error instanceof Refusal))
      throw new Refusal(message, status ?? 503, Math.max(...pauses), { cause: errors.at(-1) });
    throw new HttpError(message, status, { cause: errors.at(-1) });
  }

  #order({ elsewhere }: Question): Server[] {
    const { all } = this.#servers;
    const order = [...all.slice(this.#current), ...all.slice(0, this.#current)];
    return [...order.filter(({ shown }) => shown !== elsewhere), ...order.filter(({ shown }) => shown === elsewhere)];
  }

  #query({ index, elsewhere, fresh = false }: Question): Request['query'] {
    const { wait, ...config } = this.#servers.config;
    const { datacenter, partition, namespace } = this.#place;
    const usual = fresh && config.consistency === 'stale' ? 'default' : config.consistency;
    const consistency = elsewhere === undefined ? usual : 'consistent';
    return {
      ...(datacenter === undefined ? {} : { dc: datacenter }),
      ...(partition === undefined ? {} : { partition }),
      ...(namespace === undefined ? {} : { ns: namespace }),
      ...(consistency === 'default' ? {} : { [consistency]: '1' }),
      ...(index === undefined ? {} : { index: String(index), wait: `${wait}ms` }),
    };
  }
}

/** The servers of a registry, the connections to them, and what all questions have in common. */
export class Servers {
  readonly config: ConsulConfig;
  readonly all: readonly Server[];
  /** Sends a question that is no blocking query, as soon as few enough are under way. */
  readonly plainly = pLimit(READERS);

  /** @throws Error of the file system if a certificate cannot be read */
  constructor(config: ConsulConfig) {
    this.config = config;
    const tls = config.tls === undefined ? {} : readClientTls(config.tls);
    this.all = config.servers.map((url) => new Server(url, tls));
  }

  /** @throws Error that names the token's file if it cannot be read or is empty */
  async headers(): Promise<Request['headers']> {
    const { token, tokenFile } = this.config.auth ?? {};
    if (tokenFile === undefined) return token === undefined ? {} : { 'x-consul-token': token.reveal() };
    const read = await readFile(tokenFile, 'utf8').catch((error: unknown) => {
      throw new Error(`auth.tokenFile cannot be read: ${reasonOf(error)}`, { cause: error });
    });
    if (!/^[\x21-\x7e]+$/.test(read.trim()))
      throw new Error(`auth.tokenFile ${tokenFile} holds no token, or more than one`);
    return { 'x-consul-token': read.trim() };
  }

  close(): void {
    for (const server of this.all) server.close();
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

  async ask(request: Request, timeout: number, signal: AbortSignal): Promise<Reply> {
    const connection = this.#idle.pop() ?? new Connection(this.#url, this.#tls);
    this.#all.add(connection);
    try {
      return await connection.ask(request, timeout, signal);
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
  // An agent that answers from its event stream does not say whether there is a leader.
  if (headers['x-consul-knownleader'] === 'false' && headers['x-consul-query-backend'] !== 'streaming')
    throw new HttpError('has no leader: what it knows may be old', undefined);
  const behind = Number(headers['x-consul-lastcontact'] ?? 0);
  if (behind > LONGEST_BEHIND_MS)
    throw new HttpError(`last heard of its leader ${behind} ms ago, expected at most ${LONGEST_BEHIND_MS}`, undefined);
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

/** Whether an error says nothing of what was asked for: no server answered, or those that did could not. */
export function isUnavailable(error: unknown): boolean {
  return error instanceof HttpError && (error.status === undefined || error.status >= 500 || error.status === 429);
}

/** Whether no server answered at all, or each wants to be asked less. */
export function isSilence(error: unknown): boolean {
  return error instanceof HttpError && (error.status === undefined || error instanceof Refusal);
}
