import { z } from 'zod';
import { clientTls, duration, httpUrl, secret } from '#config/fields.js';

export const fields = {
  servers: z
    .array(httpUrl())
    .min(1)
    .meta({ description: 'Base URLs of agents or servers of one data centre, tried in turn: http://host:8500' }),
  auth: z
    .strictObject({ token: secret() })
    .optional()
    .meta({ description: 'ACL token; needs service:read and node:read for what is to be read' }),
  tls: clientTls().optional(),
  datacenter: z.string().min(1).optional().meta({ description: "Data centre to read, if not the agents' own" }),
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
