import { type HttpAnswer, HttpError, HttpServers, type HttpServersOptions, withoutUser } from '#sources/http.js';
import type { EurekaApplication } from './decode.js';
import { LeaseCollector, type Leases } from './leases.js';
import { parseAnswer } from './parse.js';
import type { EurekaConfig } from './schema.js';

/** All that one server holds. */
export interface FullAnswer {
  readonly leases: Leases;
  /** The base URL of the server that answered. */
  readonly server: string;
}

/** What changed lately at one server, and what that makes of the whole. */
export interface DeltaAnswer {
  readonly applications: readonly EurekaApplication[];
  /** Count by status of all that the server holds. */
  readonly hashCode: string;
  readonly server: string;
}

/** Eureka's REST protocol, as far as a reader needs it: https://github.com/Netflix/eureka/wiki/Eureka-REST-operations */
export class EurekaClient {
  readonly #options: HttpServersOptions;
  readonly #http: HttpServers;

  constructor({ servers, auth, tls, timeout }: EurekaConfig) {
    this.#options = { servers, auth, tls, timeout, connections: 1 };
    this.#http = new HttpServers(this.#options);
  }

  /** `GET /apps`. @throws HttpError if no server gives a usable answer */
  async applications(signal: AbortSignal): Promise<FullAnswer> {
    return full(this.#http, signal, faultOf);
  }

  /** `GET /apps` once more, of another server than `server` if one can be asked. @throws as {@link applications} */
  async applicationsElsewhere(server: string, signal: AbortSignal): Promise<FullAnswer> {
    const others = this.#options.servers.filter((each) => withoutUser(each) !== server);
    const same = this.#options.servers.filter((each) => withoutUser(each) === server);
    const http = new HttpServers({ ...this.#options, servers: [...others, ...same] });
    try {
      // What the other one answers counts, be it a fault: the same one's own word would confirm nothing.
      return await full(http, signal);
    } finally {
      await http.close();
    }
  }

  /** `GET /apps/delta`; undefined if the server gives none: `disable-delta` answers 403. @throws as {@link applications} */
  async delta(signal: AbortSignal): Promise<DeltaAnswer | undefined> {
    const applications: EurekaApplication[] = [];
    try {
      const answer = await ask(this.#http, '/apps/delta', signal, (part) => applications.push(...part));
      return { applications, ...answer };
    } catch (error) {
      if (error instanceof HttpError && (error.status === 403 || error.status === 404)) return undefined;
      throw error;
    }
  }

  async close(): Promise<void> {
    await this.#http.close();
  }
}

async function full(
  http: HttpServers,
  signal: AbortSignal,
  fault?: (answer: HttpAnswer) => string | undefined,
): Promise<FullAnswer> {
  const collector = new LeaseCollector();
  const { hashCode, server } = await ask(http, '/apps', signal, (part) => collector.add(part), fault);
  if (hashCode !== '' && collector.leases.size === 0)
    throw new HttpError(`${server}/apps lists nothing, and counts ${hashCode}`, 200);
  return { leases: collector.leases, server };
}

async function ask(
  http: HttpServers,
  path: string,
  signal: AbortSignal,
  take: (part: readonly EurekaApplication[]) => void,
  fault?: (answer: HttpAnswer) => string | undefined,
): Promise<{ hashCode: string; server: string }> {
  const headers = { accept: 'application/json', 'accept-encoding': 'gzip' };
  const { status, body, server } = await http.request(path, {
    signal,
    headers,
    ...(fault === undefined ? {} : { fault }),
  });
  if (status !== 200) throw new HttpError(`${server}${path} answered ${status}`, status);
  try {
    return { hashCode: await parseAnswer(body, take, signal), server };
  } catch (error) {
    signal.throwIfAborted();
    throw new HttpError(`${server}${path} answered with ${(error as Error).message}`, status, { cause: error });
  }
}

/** Why another server is to be asked for everything: each of them has it. */
function faultOf({ status, body }: HttpAnswer): string | undefined {
  const isCompressed = body[0] === 0x1f;
  if (status === 200 && !isCompressed && body.toString('latin1', 0, 100).trimStart().startsWith('<'))
    return '/apps answered with a page, not JSON';
  if (status === 200) return undefined;
  return `/apps answered ${status}${status === 401 || status === 403 ? ' (check the credentials)' : ''}`;
}
