import { type IncomingMessage, Agent as PlainAgent, request as requestPlain } from 'node:http';
import { type RequestOptions, request as requestTls, Agent as TlsAgent } from 'node:https';
import type { KubeConfig } from '@kubernetes/client-node';
import { short } from '#model/address.js';
import { reasonOf } from '#model/reason.js';

/** ms for which credentials are used as they are; a pod's token is renewed in its file within minutes. */
const CREDENTIALS_MS = 60_000;

/** ms after which a connection that nobody uses is closed, before the server or something on the way forgets it. */
const IDLE_MS = 30_000;

/** One of the reasons in an answer of the API server: of a conflict a field that another manager holds. */
export interface KubeCause {
  readonly reason?: string;
  readonly message?: string;
  /** `.spec.endpoints` */
  readonly field?: string;
}

interface KubeErrorOptions extends ErrorOptions {
  readonly retryAfter?: number | undefined;
  readonly causes?: readonly KubeCause[] | undefined;
}

/** A request that the API server refused, or did not answer. */
export class KubeError extends Error {
  override readonly name = 'KubeError';
  /** Of HTTP; undefined if there was no answer. */
  readonly status: number | undefined;
  /** ms for which the server asks to be left alone; undefined if it does not say. */
  readonly retryAfter: number | undefined;
  readonly causes: readonly KubeCause[];
  constructor(message: string, status?: number, { retryAfter, causes = [], ...options }: KubeErrorOptions = {}) {
    super(message, options);
    this.status = status;
    this.retryAfter = retryAfter;
    this.causes = causes;
  }
}

export interface KubeRequest {
  readonly method: 'GET' | 'POST' | 'PATCH' | 'DELETE';
  /** `/api/v1/namespaces/default/configmaps` */
  readonly path: string;
  readonly query?: Readonly<Record<string, string>>;
  /** What kind of answer; JSON unless given. */
  readonly accept?: string;
  /** Of a PATCH a JSON merge patch, or what is to be applied; of a DELETE its options. */
  readonly body?: object;
  /** Whether a PATCH is a server-side apply; its query names the field manager. */
  readonly apply?: boolean;
  /** ms for the whole answer. */
  readonly timeout: number;
}

/**
 * The API of a Kubernetes cluster. The library finds the server and who we are, by a kubeconfig file or the pod's own account; requests are sent here, because
 * its own ones have no time limit, and its watch cannot be ended while it connects.
 */
export class KubeClient {
  readonly #config: KubeConfig;
  readonly #agents = {
    'http:': new PlainAgent({ keepAlive: true, timeout: IDLE_MS }),
    'https:': new TlsAgent({ keepAlive: true, timeout: IDLE_MS }),
  };
  /** How many requests were sent. */
  requests = 0;
  #credentials: { readonly options: RequestOptions; readonly since: number } | undefined;

  private constructor(config: KubeConfig) {
    this.#config = config;
  }

  /**
   * @param kubeconfig a file; the pod's own account if not given
   * @param context of the file; its current one if not given
   * @throws Error that names what cannot be used, and nothing of its content
   */
  static async load(kubeconfig: string | undefined, context?: string): Promise<KubeClient> {
    // Takes half a second and 70 MB: only where it is wanted.
    const { KubeConfig } = await import('@kubernetes/client-node');
    const config = new KubeConfig();
    if (kubeconfig === undefined) {
      if (process.env.KUBERNETES_SERVICE_HOST === undefined)
        throw new Error('this is no pod of Kubernetes; set kubeconfig to a file');
      config.loadFromCluster();
    } else {
      try {
        config.loadFromFile(kubeconfig);
      } catch (error) {
        throw new Error(`kubeconfig ${kubeconfig} cannot be used: ${loadError(error)}`);
      }
    }
    if (context !== undefined) {
      const names = config.getContexts().map(({ name }) => name);
      if (!names.includes(context))
        throw new Error(`kubeconfig ${kubeconfig} has no context "${context}"; there are ${names.join(', ')}`);
      config.setCurrentContext(context);
    }
    if (!config.getCurrentCluster()) throw new Error(`kubeconfig ${kubeconfig}: its current context names no cluster`);
    return new KubeClient(config);
  }

  /** The context's namespace, or the pod's. */
  get namespace(): string {
    return this.#config.getContextObject(this.#config.getCurrentContext())?.namespace ?? 'default';
  }

  /** @returns the object that was answered @throws KubeError */
  async ask(request: KubeRequest, signal: AbortSignal): Promise<unknown> {
    return this.#send(request, signal, async (response) => parse(await text(response)));
  }

  /**
   * Hears of an object's changes, beginning with what is there now as far as the server knows, until its time is over or `changed` says that it is enough.
   * @param path of the collection
   * @param changed gets the object, or undefined when it was deleted
   * @param seconds for which the server is to tell
   * @throws KubeError
   */
  async watch(
    path: string,
    name: string,
    seconds: number,
    changed: (object: unknown) => boolean,
    signal: AbortSignal,
  ): Promise<void> {
    // From 0: without a version, a server that has just started lets a watch fail.
    const query = {
      watch: '1',
      resourceVersion: '0',
      fieldSelector: `metadata.name=${name}`,
      timeoutSeconds: String(seconds),
    };
    const timeout = (seconds + 5) * 1_000;
    await this.#send({ method: 'GET', path, query, timeout }, signal, async (response) => {
      for await (const line of linesOf(response)) {
        const event = parse(line) as { readonly type?: string; readonly object?: unknown };
        if (event.type === 'ERROR') throw new KubeError(messageOf(event.object) ?? 'the watch has failed');
        if (changed(event.type === 'DELETED' ? undefined : event.object)) return;
      }
    });
  }

  /**
   * Gives each line of an answer that goes on, as JSON, until the server ends it.
   * @param silence ms without a line after which the connection counts as lost
   * @param opened is called when the server has begun to answer
   * @throws KubeError
   */
  async stream(
    request: Omit<KubeRequest, 'method'>,
    silence: number,
    line: (value: unknown) => void,
    signal: AbortSignal,
    opened: () => void = () => undefined,
  ): Promise<void> {
    await this.#send({ ...request, method: 'GET' }, signal, async (response) => {
      opened();
      const timer = setTimeout(() => response.destroy(new KubeError('nothing was heard for too long')), silence);
      try {
        for await (const text of linesOf(response)) {
          timer.refresh();
          line(parse(text));
        }
      } finally {
        clearTimeout(timer);
      }
    });
  }

  /** Closes the connections that nobody uses; a further request opens one. */
  close(): void {
    for (const { freeSockets } of Object.values(this.#agents))
      for (const socket of Object.values(freeSockets).flat()) socket?.destroy();
  }

  /** @param read is given an answer of 2xx, which is cut off when it returns */
  async #send<T>(
    { method, path, query = {}, accept = 'application/json', body, apply = false, timeout }: KubeRequest,
    signal: AbortSignal,
    read: (response: IncomingMessage) => Promise<T>,
  ): Promise<T> {
    signal.throwIfAborted();
    const server = this.#config.getCurrentCluster()?.server ?? '';
    const url = new URL(`${server.replace(/\/$/, '')}${path}?${new URLSearchParams(query)}`);
    const credentials = await this.#options();
    const patch = apply ? 'application/apply-patch+yaml' : 'application/merge-patch+json';
    const type = method === 'PATCH' ? patch : 'application/json';
    this.requests++;
    const headers = { ...credentials.headers, accept, 'content-type': type };
    const sent = (url.protocol === 'http:' ? requestPlain : requestTls)(url, { ...credentials, method, headers });
    let reason: unknown;
    let answer: IncomingMessage | undefined;
    const end = (why: unknown) => {
      reason ??= why;
      sent.destroy();
    };
    const timer = setTimeout(() => end(new KubeError('no answer in time')), timeout);
    const abort = () => end(signal.reason);
    signal.addEventListener('abort', abort, { once: true });
    try {
      const response = await new Promise<IncomingMessage>((resolve, reject) => {
        sent
          .once('response', resolve)
          .on('error', reject)
          .once('close', () => reject(new KubeError('the connection was closed')));
        sent.end(body === undefined ? undefined : JSON.stringify(body));
      });
      // Node's own word for it is "aborted". After the end nobody hears of it.
      response.on('error', () => {
        reason ??= new KubeError('the connection was lost');
      });
      answer = response;
      const { statusCode: status = 0 } = response;
      if (status >= 300) {
        if (status === 401) this.#credentials = undefined;
        throw refusal(status, response.headers['retry-after'], await text(response));
      }
      return await read(response);
    } catch (error) {
      signal.throwIfAborted();
      const cause = reason ?? error;
      // Where one connection leads to nothing, the idle ones may do so, too.
      if (answer === undefined) this.close();
      const { status, retryAfter, causes } = (cause instanceof KubeError ? cause : {}) as Partial<KubeError>;
      throw new KubeError(`${url.origin}${path}: ${reasonOf(cause)}`, status, { cause, retryAfter, causes });
    } finally {
      clearTimeout(timer);
      signal.removeEventListener('abort', abort);
      // What has been read to its end leaves its connection to the next request.
      if (answer?.complete !== true) sent.destroy();
    }
  }

  async #options(): Promise<RequestOptions> {
    const now = performance.now();
    if (this.#credentials === undefined || now - this.#credentials.since > CREDENTIALS_MS) {
      const options: RequestOptions = {};
      await this.#config.applyToHTTPSOptions(options);
      // The library's agents keep no connections; where a proxy stands between, they are needed.
      const cluster = this.#config.getCurrentCluster();
      if (cluster?.proxyUrl === undefined)
        options.agent = this.#agents[cluster?.server.startsWith('http:') ? 'http:' : 'https:'];
      this.#credentials = { options, since: now };
    }
    return this.#credentials.options;
  }
}

/** The parser's message shows lines of the file, and tokens in them. */
function loadError(error: unknown): string {
  if (!(error instanceof Error)) return 'it cannot be read';
  if ('code' in error && typeof error.code === 'string') return error.message;
  return 'reason' in error && typeof error.reason === 'string' ? error.reason : 'it is no kubeconfig';
}

async function text(response: IncomingMessage): Promise<string> {
  const chunks: Buffer[] = [];
  for await (const chunk of response) chunks.push(chunk as Buffer);
  return Buffer.concat(chunks).toString();
}

/** Lines that are complete. (Node's readline does not end when the connection does.) */
async function* linesOf(response: IncomingMessage): AsyncGenerator<string> {
  let rest = '';
  for await (const chunk of response.setEncoding('utf8')) {
    const lines = (rest + String(chunk)).split('\n');
    rest = lines.pop() ?? '';
    yield* lines;
  }
}

/** @throws KubeError that shows how the text begins */
function parse(json: string): unknown {
  try {
    return JSON.parse(json);
  } catch {
    throw new KubeError(`answered with no JSON: ${short(json.slice(0, 100))}`);
  }
}

/** What an answer of 3xx to 5xx says; what stands before the API server may answer with something else than JSON. */
function refusal(status: number, retryAfter: string | undefined, answer: string): KubeError {
  let said: unknown;
  try {
    said = JSON.parse(answer);
  } catch {
    said = { message: short(answer.slice(0, 100)) };
  }
  const { details } = (said ?? {}) as { readonly details?: { readonly causes?: readonly KubeCause[] } };
  const seconds = Number(retryAfter);
  return new KubeError(`answered ${status} ${messageOf(said) ?? ''}`.trim(), status, {
    retryAfter: seconds > 0 ? seconds * 1_000 : undefined,
    causes: details?.causes,
  });
}

/** Of a Status. */
function messageOf(status: unknown): string | undefined {
  const { message } = (status ?? {}) as { readonly message?: unknown };
  return typeof message === 'string' ? message : undefined;
}
