import { EventEmitter } from 'node:events';
import { Agent as HttpAgent, type IncomingMessage } from 'node:http';
import { Agent as HttpsAgent } from 'node:https';
import type { Socket } from 'node:net';
import Consul from 'consul';
import type { TlsFiles } from '#config/fields.js';
import { short } from '#model/address.js';
import { reasonOf } from '#model/reason.js';
import { HttpError } from '#sources/http.js';

/** What is asked for, below /v1, in the words of the API. */
export interface Request {
  /** Percent-encoded: `/health/service/web`. */
  readonly path: string;
  readonly query: Readonly<Record<string, string>>;
  readonly headers: Readonly<Record<string, string>>;
  /** What is put there; without it, it is asked for. */
  readonly body?: Buffer;
  /** Whether 404 says that there is nothing, and is no error. */
  readonly mayLack?: boolean;
}

/** What came back: the body, parsed if it said that it was JSON, and the headers. */
export interface Reply {
  readonly body: unknown;
  readonly headers: IncomingMessage['headers'];
}

/** A request that a server refused, which it may take later. */
export class Refusal extends HttpError {
  /** ms that the server wants to be left alone; 0 if it does not say. */
  readonly pause: number;
  constructor(message: string, status: number, pause: number, options?: ErrorOptions) {
    super(message, status, options);
    this.pause = pause;
  }
}

/** How the package ends a request: `next(false, error, result)`. */
type Finish = (request: Outcome, next: (go: false, error: undefined, result: Outcome) => void) => void;

interface Outcome {
  readonly err?: unknown;
  readonly res?: IncomingMessage & { readonly body?: unknown };
}

/** The package's own way to send a request, which its types leave out: it has no calls for partitions and namespaces. */
interface Sender {
  _get(request: object, finish: Finish): Promise<Outcome>;
  _put(request: object, finish: Finish): Promise<Outcome>;
}

/**
 * One connection to one agent, for one question at a time. The `consul` package itself would wait for an answer that was cut off
 * until its time is up, so the socket is watched here.
 */
export class Connection {
  readonly #consul: Sender;
  readonly #agent: HttpAgent;
  #socket: Socket | undefined;
  #cancel: (reason: Error) => void = () => {};

  /** @param server base URL, with user name and password if a proxy before the agent wants them */
  constructor(server: string, tls: TlsFiles) {
    const options = { keepAlive: true, maxSockets: 1 };
    this.#agent = server.startsWith('https:') ? new HttpsAgent({ ...options, ...tls }) : new HttpAgent(options);
    const connect = this.#agent.createConnection.bind(this.#agent);
    this.#agent.createConnection = (target, callback) => {
      // The package leaves the brackets of an IPv6 address in the host name.
      const host = target.host?.replace(/^\[(.*)\]$/, '$1');
      const socket = connect({ ...target, host }, callback) as Socket;
      this.#socket = socket;
      socket.once('close', () => this.#closed(socket));
      return socket;
    };
    const settings = { baseUrl: `${server}/v1`, agent: this.#agent };
    this.#consul = new Consul(settings) as unknown as Sender;
  }

  /**
   * @param timeout ms for the whole answer
   * @throws HttpError, with the status if there was one that is not 2xx; a Refusal for 429 and 503; or the signal's reason
   */
  async ask(request: Request, timeout: number, signal: AbortSignal): Promise<Reply> {
    signal.throwIfAborted();
    // The package cancels by an event.
    const ctx = new EventEmitter();
    let reason: Error | undefined;
    this.#cancel = (error) => {
      reason = error;
      ctx.emit('cancel');
    };
    const abort = () => this.#cancel(signal.reason as Error);
    signal.addEventListener('abort', abort);
    try {
      const { mayLack = false, ...sent } = request;
      const finish: Finish = (done, next) => next(false, undefined, done);
      const all = { ...sent, timeout, ctx };
      const outcome = await (sent.body === undefined ? this.#consul._get(all, finish) : this.#consul._put(all, finish));
      signal.throwIfAborted();
      if (mayLack && outcome.res?.statusCode === 404) return { body: undefined, headers: outcome.res.headers };
      if (outcome.err !== undefined) throw reason ?? errorOf(outcome);
      return { body: outcome.res?.body, headers: outcome.res?.headers ?? {} };
    } finally {
      signal.removeEventListener('abort', abort);
      this.#cancel = () => {};
    }
  }

  close(): void {
    this.#agent.destroy();
  }

  #closed(socket: Socket): void {
    if (socket !== this.#socket) return;
    const cancel = this.#cancel;
    // An answer that is complete, or a better reason, is told before this.
    setImmediate(() => cancel(new HttpError('the connection was closed before the answer was complete', undefined)));
  }
}

/** ms that a server asked for with its error. */
export function pauseOf(error: unknown): number {
  return error instanceof Refusal ? error.pause : 0;
}

function errorOf({ err, res }: Outcome): HttpError {
  const status = res?.statusCode;
  if (status === undefined || status < 300) return new HttpError(reasonOf(err), undefined, { cause: err });
  const body = Buffer.isBuffer(res?.body) ? res.body.toString() : res?.body;
  // What was wrong with a transaction comes as an object.
  const detail = short((typeof body === 'string' ? body : (JSON.stringify(body) ?? '')).trim());
  const message = `answered ${status} ${detail}`.trim();
  if (status !== 429 && status !== 503) return new HttpError(message, status, { cause: err });
  return new Refusal(message, status, secondsOf(res?.headers['retry-after']), { cause: err });
}

/** A Retry-After in seconds, as ms; one as a date, which needs both clocks to agree, counts as none. At most a minute. */
function secondsOf(retryAfter: string | undefined): number {
  return /^\d{1,9}$/.test(retryAfter ?? '') ? Math.min(Number(retryAfter) * 1000, 60_000) : 0;
}
