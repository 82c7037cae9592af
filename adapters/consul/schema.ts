import { z } from 'zod';
import { clientTls, duration, httpUrl, secret } from '#config/fields.js';

const names = (what: string) => z.array(z.string().min(1)).min(1).optional().meta({ description: what });

const globs = (what: string) => z.array(z.string().min(1)).optional().meta({ description: what });

export const fields = {
  servers: z
    .array(httpUrl())
    .min(1)
    .meta({ description: 'Base URLs of agents or servers of one data centre, tried in turn: http://host:8500' }),
  auth: z
    .strictObject({
      token: secret().optional(),
      tokenFile: z
        .string()
        .min(1)
        .optional()
        .meta({ description: 'File with the token, read again for each question, so that the token can be changed' }),
    })
    .refine(({ token, tokenFile }) => (token === undefined) !== (tokenFile === undefined), {
      message: 'expected token or tokenFile, one of the two',
    })
    .optional()
    .meta({ description: 'ACL token; needs service:read and node:read for what is to be read' }),
  tls: clientTls().optional(),
  datacenters: names(
    "Data centres to read, * for all that the agents know; the agents' own alone unless set. Each fails by itself",
  ),
  partitions: names('Admin partitions to read, * for all (Consul Enterprise)'),
  namespaces: names('Namespaces to read, * for all (Consul Enterprise)'),
  kinds: z
    .array(
      z.enum(['service', 'connect-proxy', 'mesh-gateway', 'terminating-gateway', 'ingress-gateway', 'api-gateway']),
    )
    .min(1)
    .default(['service'])
    .meta({ description: "What is read: services, and proxies and gateways of Consul's own mesh" }),
  addresses: z.array(z.string().min(1)).min(1).default(['service', 'node']).meta({
    description:
      "Which address is taken, the first that is there: service, node, or a tagged address's name such as wan or lan_ipv4: the service's, else the node's if the service has no address of its own",
  }),
  checks: z
    .strictObject({
      nodes: z.boolean().default(true).meta({ description: 'Whether the checks of nodes count, such as serfHealth' }),
      include: globs('Globs of ids or names of the checks that count; all unless set'),
      exclude: globs('Globs of ids or names of checks that do not count'),
    })
    .prefault({})
    .meta({ description: "Which checks say an instance's status. Maintenance always counts" }),
  filter: z.string().min(1).optional().meta({
    description:
      'Expression by which the servers choose instances, in the language of /v1/health/service: Service.Meta.env == "prod"',
  }),
  consistency: z.enum(['default', 'stale', 'consistent']).default('default').meta({
    description:
      "Consul's consistency mode; stale spreads the load over all servers. What is bad news is always asked again with consistent",
  }),
  wait: duration()
    .pipe(z.number().min(1_000, 'at least 1s').max(60_000, 'at most 60s'))
    .prefault('60s')
    .meta({ description: 'How long a blocking query waits for a change; 1s to 60s' }),
  maxPolls: z.int().min(1).max(180).default(100).meta({
    description:
      'Blocking queries on services at one time; further services are read after a signal. Agents allow a client 200 connections',
  }),
  timeout: duration().prefault('10s').meta({ description: 'Time for an answer beyond the wait' }),
};

export type ConsulConfig = z.output<z.ZodObject<typeof fields>>;
