import { createHash } from 'node:crypto';
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify';
import type { Parts } from './report.js';

/** The zone and hosts files, for DNS servers that fetch them: each with an ETag, and none before all is known. */
export function serveNames(server: FastifyInstance, { names, awaited }: Parts): void {
  const answer = (request: FastifyRequest, reply: FastifyReply, type: string, text: string) => {
    const etag = `"${createHash('sha256').update(text).digest('hex').slice(0, 16)}"`;
    reply.header('etag', etag);
    const known = request.headers['if-none-match']?.split(',').map((one) => one.trim().replace(/^W\//, '')) ?? [];
    return known.includes(etag) || known.includes('*') ? reply.code(304).send() : reply.type(type).send(text);
  };
  const isComplete = async (_request: FastifyRequest, reply: FastifyReply): Promise<void> => {
    const waitingFor = awaited();
    if (waitingFor.length > 0)
      await reply.code(503).send({ error: `not all is known yet: waiting for ${waitingFor.join(', ')}` });
  };
  const preHandler = isComplete;

  server.get('/api/v1/dns/hosts', { preHandler }, async (request, reply) =>
    answer(request, reply, 'text/plain; charset=utf-8', names.hosts()),
  );
  server.get('/api/v1/dns/zones', { preHandler }, async (request, reply) => {
    const zones = names.zones().map(({ origin, hosts, serial }) => ({ origin, hosts, serial }));
    return answer(request, reply, 'application/json; charset=utf-8', JSON.stringify(zones));
  });
  server.get<{ Params: { origin: string } }>('/api/v1/dns/zones/:origin', { preHandler }, async (request, reply) => {
    const wanted = request.params.origin.toLowerCase().replace(/\.$/, '');
    const zone = names.zones().find(({ origin }) => origin === wanted);
    return zone === undefined
      ? reply.code(404).send({ error: `there is no zone "${wanted}": see /api/v1/dns/zones` })
      : answer(request, reply, 'text/dns; charset=utf-8', zone.text);
  });
}
