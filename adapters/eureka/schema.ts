import { z } from 'zod';
import { basicAuth, clientTls, duration, httpUrl } from '#config/fields.js';

export const fields = {
  servers: z.array(httpUrl()).min(1).meta({
    description:
      'Base URLs of the servers, as Eureka clients have them in serviceUrl: http://host:8761/eureka. Peers of one another.',
  }),
  auth: basicAuth().optional().meta({ description: "User name and password, if not in the servers' URLs" }),
  tls: clientTls().optional(),
  pollInterval: duration()
    .pipe(z.number().min(100).max(60_000))
    .default(5_000)
    .meta({ description: 'Time between two questions, ±10 %; 5s unless given, 100ms to 60s' }),
  timeout: duration()
    .default(10_000)
    .meta({ description: 'Time for one whole answer of one server; 10s unless given' }),
  settleTime: duration().default(60_000).meta({
    description:
      'After a server was away, or another one took over: for how long a lease that is missing there still counts. Clients renew every 30s; a server that restarted knows nothing before. 60s unless given',
  }),
};

export type EurekaConfig = z.output<z.ZodObject<typeof fields>>;
