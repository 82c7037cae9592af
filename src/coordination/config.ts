import { z } from 'zod';
import { dnsLabel } from '#model/address.js';

const registry = (type: string) =>
  z
    .string()
    .min(1)
    .meta({ description: `Name of a ${type} registry of this configuration, whose servers it takes` });

/** Where replicas keep what they share: the `coordination` block of the configuration. */
export const coordinationSchema = z.discriminatedUnion('type', [
  z
    .strictObject({
      type: z.literal('file'),
      directory: z.string().min(1).meta({ description: 'Directory on this machine that all replicas see' }),
    })
    .meta({ title: 'file', description: 'Replicas on one machine' }),
  z
    .strictObject({
      type: z.literal('zookeeper'),
      registry: registry('ZooKeeper'),
      path: z
        .string()
        .regex(/^(\/[^/]+)+$/, 'expected a path such as /pontoon')
        .default('/pontoon')
        .meta({ description: 'Znode under which everything lies; its own for each group of replicas' }),
    })
    .meta({ title: 'zookeeper', description: 'Znodes; leaders by ephemeral ones' }),
  z
    .strictObject({
      type: z.literal('consul'),
      registry: registry('Consul'),
      prefix: z
        .string()
        .regex(/^[^/].*[^/]$/, 'expected a prefix without / at its ends')
        .default('pontoon')
        .meta({ description: 'Prefix of the keys; its own for each group of replicas' }),
    })
    .meta({ title: 'consul', description: 'Keys and values; leaders by sessions' }),
  z
    .strictObject({
      type: z.literal('kubernetes'),
      kubeconfig: z.string().min(1).optional().meta({ description: "File; the pod's own account unless set" }),
      namespace: z
        .string()
        .regex(dnsLabel, 'expected a DNS label')
        .optional()
        .meta({ description: "Namespace of the objects; the context's or the pod's own unless set" }),
      name: z
        .string()
        .regex(/^[a-z0-9]([a-z0-9-]{0,98}[a-z0-9])?$/, 'expected lower-case letters, digits and dashes, at most 100')
        .default('pontoon')
        .meta({ description: 'Prefix of the names of ConfigMaps and Leases; its own for each group of replicas' }),
    })
    .meta({ title: 'kubernetes', description: 'ConfigMaps; leaders by Leases' }),
]);

export type CoordinationConfig = z.output<typeof coordinationSchema>;
