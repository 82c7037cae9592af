import type { FastifyInstance } from 'fastify';
import type { Logger } from 'pino';
import type { OrderScope } from '#publish/orders.js';
import type { Parts } from './report.js';

const text = { type: 'string', minLength: 1 };
const scope = {
  body: {
    type: 'object',
    additionalProperties: false,
    properties: { registry: text, publication: text, service: text },
  },
};

/** Serves what operators order about publications. The server lets in only who may order. */
export function serveOrders(server: FastifyInstance, parts: Parts, log: Logger): void {
  const { publishing, catalog } = parts;
  const order = (name: string, keys: readonly (keyof OrderScope)[], give: (scope: OrderScope) => Promise<void>) =>
    server.post<{ Body: OrderScope }>(`/api/v1/publications/${name}`, { schema: scope }, async (request, reply) => {
      const said = request.body;
      const unfit = Object.keys(said).find((key) => !(keys as readonly string[]).includes(key));
      if (unfit !== undefined) return reply.code(400).send({ error: `${name} knows no ${unfit}` });
      const unknown = unknownOf(said);
      if (unknown !== undefined) return reply.code(404).send({ error: unknown });
      if (parts.coordination.error !== undefined)
        return reply.code(503).send({ error: `coordination does not answer: ${parts.coordination.error}` });
      await give(said);
      log.warn(said, `publications: ${name}, by an operator`);
      return { orders: publishing.orders };
    });
  const unknownOf = ({ registry, publication, service }: OrderScope): string | undefined => {
    if (registry !== undefined && !publishing.engines.some((engine) => engine.registry === registry))
      return `no registry that can be written to is named "${registry}"`;
    const { claims, orders } = publishing;
    const isKnown = claims.publications.some(({ config }) => config.name === publication);
    if (publication !== undefined && !isKnown && orders.publications[publication] === undefined)
      return `no publication is named "${publication}"`;
    if (service !== undefined && !catalog.services.has(service) && orders.services[service] === undefined)
      return `no service has the host "${service}"`;
    return undefined;
  };
  order('withdraw', ['registry', 'publication'], (said) => publishing.withdraw(said));
  order('resume', ['registry', 'publication', 'service'], (said) => publishing.resume(said));
  order('pause', ['publication', 'service'], async (said) => {
    if (said.publication === undefined && said.service === undefined)
      throw Object.assign(new Error('say a publication or a service'), { statusCode: 400 });
    await publishing.pause(said);
  });
}
