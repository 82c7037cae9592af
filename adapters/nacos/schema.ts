import { z } from 'zod';
import { basicAuth, clientTls, duration, hostPort } from '#config/fields.js';

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
  auth: basicAuth().optional(),
  tls: clientTls().optional().meta({ description: 'Speaks TLS with both gRPC and HTTP' }),
  api: z
    .enum(['grpc', 'http'])
    .default('grpc')
    .meta({ description: 'grpc for Nacos 2 and 3; http for Nacos 1, whose API goes up to 3.1' }),
  pollInterval: duration(100)
    .prefault('5s')
    .meta({ description: 'Pause between two looks at the list of services; with http also at each service' }),
  contextPath: z
    .string()
    .regex(/^(\/[^/\s]+)*$/, 'expected a path such as /nacos')
    .default('/nacos')
    .meta({ description: "Path of the servers' HTTP API" }),
};

export type NacosConfig = z.output<z.ZodObject<typeof fields>>;
export type NacosServer = NacosConfig['servers'][number];
