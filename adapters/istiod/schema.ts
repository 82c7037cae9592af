import { z } from 'zod';
import { clientTls, duration, hostPort, secret } from '#config/fields.js';

const globs = z.array(z.string().min(1)).min(1).optional();

const node = z
  .strictObject({
    id: z
      .string()
      .regex(/^[^~]+~[^~]+~[^~]+~[^~]+$/, 'expected type~address~name.namespace~domain')
      .optional()
      .meta({ description: 'The whole id; router~127.0.0.1~pontoon.<namespace>~<namespace>.svc.<domain> unless set' }),
    namespace: z
      .string()
      .min(1)
      .default('pontoon')
      .meta({ description: "Whose services are seen: those exported to it. With a token the account's own namespace" }),
    domain: z.string().min(1).default('cluster.local').meta({ description: "The cluster's own DNS domain" }),
    cluster: z.string().min(1).optional().meta({
      description:
        "Istio's name of the cluster that made the token, and whose local endpoints are seen; istiod's own unless set",
    }),
    network: z.string().min(1).optional().meta({
      description:
        'Network of the caller: endpoints of others are then seen as their gateways. All as they are unless set',
    }),
    metadata: z
      .record(z.string().min(1), z.unknown())
      .default({})
      .meta({ description: 'Further metadata of the node, as in an Envoy bootstrap' }),
  })
  .prefault({})
  .meta({ description: 'As whom istiod is asked' });

/** The configuration keys of an istiod, beside those that all registries share. */
export const fields = {
  servers: z
    .array(hostPort())
    .min(1)
    .meta({ description: 'Addresses of one istiod, or of its replicas: port 15010 in plaintext, 15012 with tls' }),
  tls: clientTls().optional().meta({ description: 'Speaks TLS; {} trusts the authorities of the system' }),
  token: secret()
    .optional()
    .meta({ description: 'Token of a Kubernetes service account, for istio-ca; with tls only' }),
  tokenFile: z.string().min(1).optional().meta({
    description: 'File that holds the token; read at each connection, since Kubernetes renews it',
  }),
  node,
  namespaces: globs.meta({ description: 'Namespaces of the services that are kept, by glob; all unless set' }),
  hosts: globs.meta({ description: 'Hosts of the services that are kept, by glob; all unless set' }),
  delta: z.boolean().default(true).meta({
    description:
      'Asks for changes alone; off, or where the server knows no such stream, for all clusters at each change',
  }),
  heartbeat: duration(1_000)
    .prefault('20s')
    .meta({ description: 'How often istiod is asked for a sign of life, beside what it tells by itself' }),
};

export type IstiodConfig = z.output<z.ZodObject<typeof fields>>;
export type IstiodServer = IstiodConfig['servers'][number];
