import { z } from 'zod';
import { clientTls, duration, hostPort, secret } from '#config/fields.js';

/** Ways to be let in, alone or together. */
const auth = z
  .strictObject({
    username: z.string().min(1).optional(),
    password: secret().optional(),
    accessKey: z.string().min(1).optional().meta({ description: "A cloud vendor's access key" }),
    secretKey: secret().optional(),
    region: z.string().min(1).optional().meta({
      description: 'Cloud region: signs with version 4 of the signature, whose key is good for one region and day',
    }),
    identity: z
      .strictObject({ key: z.string().min(1), value: secret() })
      .optional()
      .meta({
        description:
          'nacos.core.auth.server.identity.key and .value of the servers: lets in over HTTP without a login, and over HTTP only',
      }),
  })
  .superRefine((auth, context) => {
    for (const [one, other] of [
      ['username', 'password'],
      ['accessKey', 'secretKey'],
    ] as const)
      if ((auth[one] === undefined) !== (auth[other] === undefined))
        context.addIssue({ code: 'custom', message: `${one} and ${other} go together` });
    if (auth.region !== undefined && auth.accessKey === undefined)
      context.addIssue({ code: 'custom', message: 'region goes with accessKey and secretKey' });
  });

/** The configuration keys of a Nacos registry, beside those that all registries share. */
export const fields = {
  servers: z
    .array(hostPort(8848))
    .min(1)
    .meta({ description: 'Nacos servers of one cluster, each as host or host:port; gRPC is on the port + 1000' }),
  namespaces: z
    .array(z.string().min(1))
    .min(1)
    .default(['public'])
    .meta({ description: 'Namespaces to read, by id or by name; * for all' }),
  groups: z
    .array(z.string().min(1))
    .min(1)
    .default(['*'])
    .meta({ description: 'Groups to read: names or globs. Nacos 3 lists groups by glob to administrators only' }),
  clusters: z
    .array(z.string().min(1))
    .min(1)
    .optional()
    .meta({ description: 'Clusters to read, by exact name; all, if left out. Instances of others are left out' }),
  auth: auth.optional(),
  tls: clientTls()
    .extend({ only: z.enum(['grpc', 'http']).optional().meta({ description: 'The other one is then in the clear' }) })
    .optional()
    .meta({ description: 'Speaks TLS with gRPC and HTTP, or with one of them' }),
  api: z
    .enum(['grpc', 'http'])
    .default('grpc')
    .meta({ description: 'grpc for Nacos 2 and 3; http for Nacos 1, whose API goes up to 3.1' }),
  pollInterval: duration(100)
    .prefault('5s')
    .meta({ description: 'Pause between two looks at the list of services; with http also at each service' }),
  push: z.boolean().default(false).meta({
    description: 'With api: http, listens for pushes over UDP, on a free port of every address of the machine',
  }),
  dubbo: z
    .union([
      z.literal(['off', false]).transform(() => undefined),
      z.strictObject({
        configGroup: z
          .string()
          .min(1)
          .default('dubbo')
          .meta({ description: "Group of Dubbo's override rules in the config centre" }),
      }),
    ])
    .prefault({})
    .meta({ description: "Reads Dubbo's providers as services of kind dubbo; off leaves them out" }),
  contextPath: z
    .string()
    .regex(/^(\/[^/\s]+)*$/, 'expected a path such as /nacos')
    .default('/nacos')
    .meta({ description: "Path of the servers' HTTP API" }),
};

export type NacosConfig = z.output<z.ZodObject<typeof fields>>;
export type NacosServer = NacosConfig['servers'][number];
