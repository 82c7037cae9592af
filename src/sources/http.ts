import { Agent, type Dispatcher } from 'undici';
import { type ClientTls, readClientTls, type Secret } from '#config/fields.js';
import { short } from '#model/address.js';
import { reasonOf } from '#model/reason.js';

/** Where a registry's servers are, and how to speak to them. */
export interface HttpServersOptions {
  /** Base URLs without a last slash, tried in turn. User name and password may stand in them. */
  readonly servers: readonly string[];
  readonly tls?: ClientTls | undefined;
  readonly auth?: { readonly username: string; readonly password: Secret } | undefined;
  /** ms for one whole answer from one server; 10,000 unless given. */
  readonly timeout?: number;
  /** Connections per server; 4 unless given. Further requests wait. */
  readonly connections?: number;
}

/** One request, to whichever server answers. */
export interface HttpRequest {
  readonly signal: AbortSignal;
  /** GET unless given. */
  readonly method?: Dispatcher.HttpMethod;
  readonly headers?: Readonly<Record<string, string>>;
  readonly body?: string;
  /** What is wrong with an answer, so that the next server is asked; undefined if nothing is. By default 5xx and 429 are no answers. */
  readonly fault?: (answer: HttpAnswer) => string | undefined | Promise<string | undefined>;
  /** A server, as {@link HttpAnswer.server} names it, that is asked only if no other one gives a usable answer or all of them rest. */
  readonly last?: string;
}

/** A whole answer. */
export interface HttpAnswer {
  readonly status: number;
  readonly body: Buffer;
  /** The base URL that answered, without user name and password. */
  readonly server: string;
}

/** A request that got no usable answer. `status` is undefined if there was no answer at all. */
export class HttpError extends Error {
  override readonly name = 'HttpError';
  readonly status: number | undefined;
  constructor(message: string, status: number | undefined, options?: ErrorOptions) {
    super(message, options);
    this.status = status;
  }
}

interface Server {
  readonly base: string;
  readonly shown: string;
  readonly headers: Readonly<Record<string, string>>;
  /** Until when it is asked after the others: monotonic ms. */
  restsUntil: number;
}

/** How long a server that gave no usable answer is asked after the others. */
const REST_MS = 30_000;

/**
 * Several addresses of one registry, spoken to over HTTP: sticky to the one that answers, and on to the next when it cannot be
 * reached, is too slow, or answers 5xx or 429. One that did so rests for half a minute: it is asked after the others.
 */
export class HttpServers {
  readonly #servers: readonly Server[];
  readonly #agent: Agent;
  readonly #timeout: number;
  /** The one that answered last. */
  #current: Server | undefined;

  /** @throws Error of the file system if a certificate cannot be read */
  constructor(options: HttpServersOptions) {
    this.#servers = options.servers.map((base) => server(base, options.auth));
    this.#timeout = options.timeout ?? 10_000;
    this.#agent = new Agent({
      connections: options.connections ?? 4,
      pipelining: 1,
      connect: {
        timeout: Math.min(this.#timeout, 5_000),
        ...(options.tls === undefined ? {} : readClientTls(options.tls)),
      },
    });
  }

  /**
   * Asks the servers in turn until one answers without a fault.
   * @param path appended to the base URL; starts with a slash
   * @throws HttpError that names each server and what was wrong with it
   */
  async request(path: string, options: HttpRequest): Promise<HttpAnswer> {
    const failures: string[] = [];
    let status: number | undefined;
    let last: unknown;
    for (const server of this.#inOrder(options.last)) {
      try {
        const answer = await this.#ask(server, path, options);
        const fault = await (options.fault ?? faultOf)(answer);
        if (fault === undefined) {
          server.restsUntil = 0;
          if (options.last === undefined) this.#current = server;
          return answer;
        }
        status = answer.status;
        failures.push(`${server.shown}: ${fault}`);
      } catch (error) {
        options.signal.throwIfAborted();
        last = error;
        failures.push(`${server.shown}: ${reasonOf(error)}`);
      }
      server.restsUntil = performance.now() + REST_MS;
    }
    // Sorted: the same trouble is then said in the same words, whichever server was asked first.
    throw new HttpError(failures.sort().join('; '), status, { cause: last });
  }

  /**
   * Asks for a JSON document.
   * @throws HttpError if the status is not 200 or the body is not JSON: an HTML page, a truncated or an empty answer
   */
  async json(path: string, options: HttpRequest): Promise<unknown> {
    const answer = await this.request(path, {
      ...options,
      headers: { accept: 'application/json', ...options.headers },
    });
    const url = answer.server + path.replace(/\?.*/, '');
    if (answer.status !== 200) {
      const hint = answer.status === 401 || answer.status === 403 ? ' (check the credentials)' : '';
      throw new HttpError(
        `${url} answered ${answer.status}${hint} ${short(answer.body.toString().trim())}`.trim(),
        answer.status,
      );
    }
    return parseJson(answer.body, url);
  }

  async close(): Promise<void> {
    await this.#agent.destroy();
  }

  /** The one that answered last, then those that come after it in the configuration; `last` comes after them, and those that rest come at the end. */
  #inOrder(last: string | undefined): Server[] {
    const first = this.#current === undefined ? 0 : this.#servers.indexOf(this.#current);
    const now = performance.now();
    const rank = ({ shown, restsUntil }: Server) => (restsUntil > now ? 2 : shown === last ? 1 : 0);
    return [...this.#servers.slice(first), ...this.#servers.slice(0, first)].sort((a, b) => rank(a) - rank(b));
  }

  async #ask(server: Server, path: string, options: HttpRequest): Promise<HttpAnswer> {
    // Not AbortSignal.any: on Node 20 it lets a timeout be collected before it fires, and keeps a little of each request while its signal lives.
    const ending = new AbortController();
    const timer = setTimeout(() => ending.abort(new DOMException('no answer in time', 'TimeoutError')), this.#timeout);
    const end = (): void => ending.abort(options.signal.reason);
    options.signal.addEventListener('abort', end, { once: true });
    if (options.signal.aborted) end();
    try {
      const response = await this.#agent.request({
        origin: new URL(server.base).origin,
        path: new URL(server.base).pathname.replace(/\/$/, '') + path,
        method: options.method ?? 'GET',
        headers: { ...server.headers, ...options.headers },
        ...(options.body === undefined ? {} : { body: options.body }),
        signal: ending.signal,
      });
      return {
        status: response.statusCode,
        body: Buffer.from(await response.body.arrayBuffer()),
        server: server.shown,
      };
    } finally {
      clearTimeout(timer);
      options.signal.removeEventListener('abort', end);
    }
  }
}

function faultOf({ status, body }: HttpAnswer): string | undefined {
  if (status < 500 && status !== 429) return undefined;
  return `answered ${status} ${short(body.subarray(0, 200).toString().trim())}`.trim();
}

/** Parses a JSON answer. @throws HttpError that shows how the answer begins */
export function parseJson(body: Buffer, url: string): unknown {
  if (body.length === 0) throw new HttpError(`${url} answered with an empty body instead of JSON`, 200);
  try {
    return JSON.parse(body.toString());
  } catch (error) {
    const start = short(body.subarray(0, 100).toString().replace(/\s+/g, ' '));
    throw new HttpError(`${url} did not answer with JSON (${body.length} bytes, starting ${start})`, 200, {
      cause: error,
    });
  }
}

/** A base URL as people may see it: without user name, password and last slash. */
export function withoutUser(base: string): string {
  const url = new URL(base);
  url.username = '';
  url.password = '';
  return url.href.replace(/\/$/, '');
}

function server(base: string, auth: HttpServersOptions['auth']): Server {
  const url = new URL(base);
  const username = auth?.username ?? decodeURIComponent(url.username);
  const password = auth?.password.reveal() ?? decodeURIComponent(url.password);
  const shown = withoutUser(base);
  const authorization = `Basic ${Buffer.from(`${username}:${password}`).toString('base64')}`;
  return { base: shown, shown, headers: username === '' ? {} : { authorization }, restsUntil: 0 };
}
