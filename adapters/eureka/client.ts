import { reasonOf } from '#model/reason.js';
import { type HttpAnswer, type HttpRequest, HttpServers } from '#sources/http.js';
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
  readonly #http: HttpServers;
  readonly #query: string;

  constructor({ servers, auth, tls, timeout, regions }: EurekaConfig) {
    this.#query = regions === undefined ? '' : `?regions=${regions.map(encodeURIComponent).join()}`;
    this.#http = new HttpServers({ servers, auth, tls, timeout, connections: 1 });
  }

  /** `GET /apps`. @throws HttpError if no server gives a usable answer */
  async applications(signal: AbortSignal): Promise<FullAnswer> {
    return this.#full({ signal });
  }

  /** `GET /apps` once more, of another server than `server` if one gives a usable answer. @throws as {@link applications} */
  async applicationsElsewhere(server: string, signal: AbortSignal): Promise<FullAnswer> {
    return this.#full({ signal, last: server });
  }

  /** `GET /apps/delta`; undefined if the server gives none: `disable-delta` answers 403. @throws as {@link applications} */
  async delta(signal: AbortSignal): Promise<DeltaAnswer | undefined> {
    let applications: EurekaApplication[] = [];
    let hashCode = '';
    const { status, server } = await this.#ask('/apps/delta', { signal }, async (body) => {
      applications = [];
      hashCode = await parseAnswer(body, (part) => applications.push(...part), signal);
    });
    return status === 200 ? { applications, hashCode, server } : undefined;
  }

  async close(): Promise<void> {
    await this.#http.close();
  }

  async #full(request: HttpRequest): Promise<FullAnswer> {
    let leases: Leases = new Map();
    const { server } = await this.#ask('/apps', request, async (body) => {
      const collector = new LeaseCollector();
      const hashCode = await parseAnswer(body, (part) => collector.add(part), request.signal);
      if (hashCode !== '' && collector.leases.size === 0) throw new Error(`nothing, and counts ${hashCode}`);
      leases = collector.leases;
    });
    return { leases, server };
  }

  /** @param read throws if the body cannot be used: then the next server is asked */
  #ask(path: string, request: HttpRequest, read: (body: Buffer) => Promise<void>): Promise<HttpAnswer> {
    const headers = { accept: 'application/json', 'accept-encoding': 'gzip' };
    const fault = async ({ status, body }: HttpAnswer): Promise<string | undefined> => {
      if (status !== 200) return faultOf(path, status);
      try {
        await read(body);
        return undefined;
      } catch (error) {
        return `${path} answered with ${reasonOf(error)}`;
      }
    };
    return this.#http.request(path + this.#query, { ...request, headers, fault });
  }
}

function faultOf(path: string, status: number): string | undefined {
  if (path === '/apps/delta' && (status === 403 || status === 404)) return undefined;
  return `${path} answered ${status}${status === 401 || status === 403 ? ' (check the credentials)' : ''}`;
}
