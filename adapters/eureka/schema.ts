import { z } from 'zod';
import { basicAuth, clientTls, duration, httpUrl } from '#config/fields.js';

export const fields = {
  servers: z.array(httpUrl()).min(1).meta({
    description:
      'Base URLs of the servers, as Eureka clients have them in serviceUrl: http://host:8761/eureka. Peers of one another.',
  }),
  auth: basicAuth().optional().meta({ description: "User name and password, if not in the servers' URLs" }),
  tls: clientTls().optional(),
  lookup: z.enum(['application', 'vip']).prefault('application').meta({
    description:
      "What a service is: an application, or a virtual host name (vipAddress, secureVipAddress), by which Ribbon and Spring Cloud's discovery client look services up",
  }),
  regions: z
    .array(z.string().regex(/^[^,&?#\s]+$/, 'expected the name of a region'))
    .min(1)
    .optional()
    .meta({
      description:
        'Other regions, as the servers name them in remoteRegionUrlsWithName, of which the servers are asked beside their own. Left out: what the servers give by themselves, which is all that they know',
    }),
  pollInterval: duration(100)
    .pipe(z.number().max(60_000, 'at most 60s'))
    .prefault('5s')
    .meta({ description: 'Time between two questions, ±10 %; 100ms to 60s' }),
  timeout: duration().prefault('10s').meta({ description: 'Time for one whole answer of one server' }),
  settleTime: duration().prefault('60s').meta({
    description:
      'After a server was away, or another one took over: for how long a lease that is missing there still counts. Clients renew every 30s; a server that restarted knows nothing before',
  }),
};

export type EurekaConfig = z.output<z.ZodObject<typeof fields>>;
