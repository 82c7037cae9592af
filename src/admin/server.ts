import Fastify from 'fastify';
import type { Logger } from 'pino';
import type { RegistryView } from '#catalog/view.js';
import { ConfigError, parseConfig } from '#config/load.js';
import { istioYaml } from '#istio/yaml.js';
import { isLoopback } from '#model/address.js';
import { reasonOf } from '#model/reason.js';
import { explain } from './explain.js';
import { guardsReport } from './guards.js';
import { Metrics } from './metrics.js';
import { serveNames } from './names.js';
import { serveOrders } from './orders.js';
import { statusPage } from './page.js';
import { plan } from './plan.js';
import { publicationsReport, publishedServices } from './publications.js';
import {
  clients,
  doorsReport,
  notesOf,
  type Parts,
  registryReports,
  registryServices,
  rejectedRecords,
  resourceReports,
  serviceReport,
  serviceSummaries,
  stateReport,
} from './report.js';

export interface Admin {
  readonly url: string;
  close(): Promise<void>;
}

/** The parameters that questions may have, each once. */
interface Texts {
  readonly q?: string;
  readonly host?: string;
}

const texts = { querystring: { type: 'object', properties: { q: { type: 'string' }, host: { type: 'string' } } } };

/** Keys that a plan compares and never shows: secrets may stand there. */
function isUnseen([first, second = '']: readonly string[]): boolean {
  if (first === 'istio') return second === 'xds';
  if (first === 'registries')
    return !['name', 'host', 'namespace', 'locality', 'network', 'include', 'exclude'].includes(second);
  return first === 'admin' || first === 'state' || first === 'log';
}

interface JournalTexts {
  readonly host?: string;
  readonly instance?: string;
  readonly registry?: string;
  /** ms since 1970. */
  readonly since?: number;
  readonly until?: number;
  readonly limit?: number;
}

const text = { type: 'string' };
const number = { type: 'number' };
const journalTexts = {
  querystring: {
    type: 'object',
    properties: { host: text, instance: text, registry: text, since: number, until: number, limit: number },
  },
};

interface ReleaseBody {
  readonly registry: string;
  readonly service?: string;
}

const releaseBody = {
  body: { type: 'object', required: ['registry'], properties: { registry: text, service: text } },
};

/**
 * Serves the status page, the API, health and metrics. All of it only reads, but for what operators order: to read the configuration anew, to release.
 * @throws Error if the address cannot be listened on
 */
export async function startAdmin({ parts, log }: { readonly parts: Parts; readonly log: Logger }): Promise<Admin> {
  const { config, catalog, projection, awaited } = parts;
  const metrics = new Metrics(parts);
  const server = Fastify({ forceCloseConnections: true });

  // A page of another site must not read this through a name of its own that it points here.
  const { host, port } = config.admin.listen;
  if (isLoopback(host))
    server.addHook('onRequest', async (request, reply) => {
      if (!isLoopback(request.hostname))
        await reply.code(403).send({ error: `ask for localhost, not ${request.hostname}` });
    });
  server.addHook('onSend', async (_request, reply) => {
    reply.headers({
      'content-security-policy':
        "default-src 'none'; style-src 'unsafe-inline'; form-action 'self'; frame-ancestors 'none'",
      'x-content-type-options': 'nosniff',
      'cache-control': 'no-store',
    });
  });

  server.get<{ Querystring: Texts }>('/', { schema: texts }, async (request, reply) =>
    reply.type('text/html; charset=utf-8').send(statusPage(parts, request.query.q ?? '')),
  );

  server.get('/healthz', async () => ({ status: 'ok' }));
  server.get('/readyz', async (_request, reply) => {
    const waitingFor = awaited();
    return reply.code(waitingFor.length === 0 ? 200 : 503).send({ ready: waitingFor.length === 0, waitingFor });
  });
  server.get('/metrics', async (_request, reply) => reply.type(metrics.contentType).send(await metrics.text()));

  server.get('/api/v1/registries', async () => registryReports(parts));
  server.get<{ Params: { name: string } }>('/api/v1/registries/:name', async (request, reply) => {
    const report = registryReports(parts).find(({ registry }) => registry === request.params.name);
    return report ?? reply.code(404).send({ error: `no registry is named "${request.params.name}"` });
  });
  const ofRegistry = (what: string, read: (view: RegistryView) => unknown) =>
    server.get<{ Params: { name: string } }>(`/api/v1/registries/:name/${what}`, async (request, reply) => {
      const view = catalog.view(request.params.name);
      return view === undefined
        ? reply.code(404).send({ error: `no registry is named "${request.params.name}"` })
        : read(view);
    });
  ofRegistry('services', (view) => registryServices(parts, view));
  ofRegistry('rejected', (view) => rejectedRecords(parts, view));
  ofRegistry('dropped', (view) => catalog.dropped().filter(({ registry }) => registry === view.registry));
  ofRegistry('notes', notesOf);
  server.get<{ Querystring: Texts }>('/api/v1/services', { schema: texts }, async (request) =>
    serviceSummaries(parts, request.query.q),
  );
  server.get<{ Params: { host: string } }>('/api/v1/services/:host', async (request, reply) => {
    const report = serviceReport(parts, request.params.host);
    return report ?? reply.code(404).send({ error: `no service has the host "${request.params.host}"` });
  });
  // What asks for work is for this machine only: there is no other authentication. A browser sends its origin with every POST of a page; the command line sends none.
  server.addHook('onRequest', async (request, reply) => {
    if (request.method !== 'POST') return;
    const { origin, host: own } = request.headers;
    if (!isLoopback(request.ip.replace(/^::ffff:/, '')) || !isLoopback(request.hostname))
      await reply.code(403).send({ error: 'only from this machine: run pontoon there' });
    else if (origin !== undefined && origin !== `http://${own}`)
      await reply.code(403).send({ error: `not for pages of ${origin}` });
  });
  server.addContentTypeParser('application/yaml', { parseAs: 'string' }, (_request, body, done) => done(null, body));
  server.post<{ Body: string; Querystring: { readonly file?: string } }>(
    '/api/v1/plan',
    { schema: { body: text, querystring: { type: 'object', properties: { file: text } } } },
    async (request, reply) => {
      try {
        return plan(parts, parseConfig(request.body, request.query.file ?? 'configuration', process.env, isUnseen));
      } catch (error) {
        if (!(error instanceof ConfigError)) throw error;
        return reply.code(422).send({ error: error.message });
      }
    },
  );
  server.post('/api/v1/configuration/reload', async (_request, reply) => {
    try {
      return await parts.reload();
    } catch (error) {
      log.error({ reason: reasonOf(error) }, 'configuration cannot be taken over; it stays as it was');
      return reply.code(422).send({ error: reasonOf(error) });
    }
  });
  server.get('/api/v1/snapshot', async (_request, reply) => {
    const bytes = await parts.keeping.snapshot.bytes();
    return bytes === undefined
      ? reply.code(503).send({ error: `not all is known yet: waiting for ${awaited().join(', ')}` })
      : reply.type('application/octet-stream').send(bytes);
  });
  server.get('/api/v1/state', async () => stateReport(parts));
  server.get('/api/v1/guards', async () => guardsReport(parts));
  server.post<{ Body: ReleaseBody }>('/api/v1/guards/release', { schema: releaseBody }, async (request, reply) => {
    const { registry, service } = request.body;
    if (catalog.view(registry) === undefined)
      return reply.code(404).send({ error: `no registry is named "${registry}"` });
    // Another replica may hold what this one does not.
    const held = parts.guarding.held(registry, service);
    parts.guarding.release({ what: 'holds', registry, service });
    return { held };
  });
  server.post<{ Body: ReleaseBody }>('/api/v1/start/release', { schema: releaseBody }, async (request, reply) => {
    const { registry } = request.body;
    if (!awaited().includes(registry))
      return reply.code(404).send({ error: `nothing waits for a registry "${registry}"` });
    parts.guarding.release({ what: 'start', registry });
    return { released: true };
  });
  server.get<{ Querystring: Texts }>('/api/v1/explain', { schema: texts }, async (request, reply) => {
    const { q } = request.query;
    return q
      ? explain(parts, q)
      : reply.code(400).send({ error: 'q is missing: a host, service, instance or address' });
  });
  server.get<{ Querystring: JournalTexts }>('/api/v1/journal', { schema: journalTexts }, async (request) =>
    parts.journal.query(request.query),
  );
  server.get('/api/v1/publications', async () => publicationsReport(parts));
  server.get<{ Params: { name: string } }>('/api/v1/publications/:name/services', async (request, reply) => {
    const { name } = request.params;
    return publishedServices(parts, name) ?? reply.code(404).send({ error: `no publication is named "${name}"` });
  });
  serveOrders(server, parts, log);
  server.get('/api/v1/doors', async () => doorsReport(parts));
  server.get<{ Params: { host: string } }>('/api/v1/istio/kubernetes/:host', async (request, reply) =>
    parts.kubernetes === undefined
      ? reply.code(404).send({ error: 'no cluster is configured: set istio.kubernetes' })
      : parts.kubernetes.object(request.params.host),
  );
  server.get('/api/v1/clients', async () => clients(parts));
  server.get('/api/v1/istio/resources', async () => resourceReports(parts));
  server.get<{ Querystring: Texts }>('/api/v1/istio/serviceentries', { schema: texts }, async (request, reply) => {
    const { host } = request.query;
    if (host && !catalog.services.has(host))
      return reply.code(404).send({ error: `no service has the host "${host}"` });
    return reply.type('application/yaml; charset=utf-8').send(istioYaml(projection.entries(host || undefined)));
  });
  server.get('/api/v1/istio/gateways', async (_request, reply) => {
    const resources = projection.resources().filter(({ type }) => type !== 'ServiceEntry');
    return reply.type('application/yaml; charset=utf-8').send(istioYaml(resources));
  });
  serveNames(server, parts);

  try {
    const url = await server.listen({ host, port });
    return { url, close: () => server.close() };
  } catch (error) {
    throw new Error(`admin: cannot listen on ${host}:${port}: ${reasonOf(error)}`, {
      cause: error,
    });
  }
}
