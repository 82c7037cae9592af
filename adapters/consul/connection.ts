import { EventEmitter } from 'node:events';
import { Agent as HttpAgent, type IncomingMessage } from 'node:http';
import { Agent as HttpsAgent } from 'node:https';
import type { Socket } from 'node:net';
import Consul from 'consul';
import type { TlsFiles } from '#config/fields.js';
import { short } from '#model/address.js';
import { reasonOf } from '#model/reason.js';
import { HttpError } from '#sources/http.js';

/** One call of the `consul` package, given the options that go with every question. */
export type Call = (consul: Consul, options: object) => Promise<unknown>;

/** What came back: the body, parsed if it said that it was JSON, and the headers. */
export interface Reply {
  readonly body: unknown;
  readonly headers: IncomingMessage['headers'];
}

/**
 * One connection to one agent, for one question at a time. The `consul` package itself would wait for an answer that was cut off
 * until its time is up, so the socket is watched here.
 */
export class Connection {
  readonly #consul: Consul;
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
    this.#consul = new Consul(settings);
  }

  /**
   * @param options those of the package, in its own words
   * @param timeout ms for the whole answer
   * @throws HttpError, with the status if there was one that is not 2xx; or the signal's reason
   */
  async ask(call: Call, options: object, timeout: number, signal: AbortSignal): Promise<Reply> {
    signal.throwIfAborted();
    // The package takes this for a watch: it then hands out the response itself, and is cancelled by an event.
    const context = Object.assign(new EventEmitter(), { includeResponse: true });
    let reason: Error | undefined;
    this.#cancel = (error) => {
      reason = error;
      context.emit('cancel');
    };
    const abort = () => this.#cancel(signal.reason as Error);
    signal.addEventListener('abort', abort);
    try {
      const [response, body] = (await call(this.#consul, { ...options, timeout, ctx: context })) as [
        IncomingMessage,
        unknown,
      ];
      return { body, headers: response.headers };
    } catch (error) {
      signal.throwIfAborted();
      throw reason ?? errorOf(error);
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

function errorOf(error: unknown): HttpError {
  const response = (error as { response?: IncomingMessage & { body?: unknown } }).response;
  const status = response?.statusCode;
  if (status === undefined || status < 300) return new HttpError(reasonOf(error), undefined, { cause: error });
  const body = Buffer.isBuffer(response?.body) ? response.body.toString() : response?.body;
  const detail = typeof body === 'string' ? short(body.trim()) : '';
  return new HttpError(`answered ${status} ${detail}`.trim(), status, { cause: error });
}
