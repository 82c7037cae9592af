import { z } from 'zod';
import { duration } from '#config/fields.js';

const template = (what: string) =>
  z
    .string()
    .min(1)
    .optional()
    .meta({ description: `Template: ${what}` });

/** The `consul` block of a publication. */
export const targetFields = {
  via: z.enum(['catalog', 'agent']).default('catalog').meta({
    description:
      'How it gets in: into the catalog, on an external node, where it stays until it is withdrawn; or at the first of the servers as its agent, with a TTL that has to be renewed',
  }),
  node: template('name of the external node; pontoon-<owner> unless set. With via: catalog'),
  tags: z.array(z.string().min(1)).default([]).meta({ description: 'Templates of the tags' }),
  weight: z.int().min(1).max(65_535).default(1).meta({
    description:
      "Consul's weight of an instance that weighs as any other. Consul has whole numbers only: with more than 1, less than that can be said",
  }),
  ttl: duration(3_000).prefault('30s').meta({
    description:
      'With via: agent, without a renewal for this long an instance is critical; ten times that, and it goes',
  }),
  datacenter: template("another data centre than the agents' own"),
  partition: template('admin partition (Consul Enterprise)'),
  namespace: template('namespace (Consul Enterprise)'),
};

export type ConsulTargetSettings = z.output<z.ZodObject<typeof targetFields>>;
