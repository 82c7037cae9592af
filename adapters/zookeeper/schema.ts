import { z } from 'zod';
import { basicAuth, duration, hostPort } from '#config/fields.js';

function znode() {
  return z
    .string()
    .regex(/^(\/|(\/[^/\s]+)+)$/, 'expected the path of a znode, such as /dubbo')
    .refine(
      (path) => !path.split('/').some((part) => part === '.' || part === '..'),
      'a znode has no . or .. in its path',
    );
}

const off = z.literal(['off', false]).transform(() => undefined);

/** Configuration of a ZooKeeper registry, beside what all registries share. */
export const fields = {
  servers: z
    .array(hostPort(2181))
    .min(1)
    .meta({ description: 'Servers of one ensemble, host or host:port (default port 2181)' }),
  auth: basicAuth().optional().meta({ description: 'User name and password for digest authentication' }),
  sessionTimeout: duration(1_000)
    .prefault('10s')
    .meta({ description: 'Session timeout to ask for; the server may choose another' }),
  dubbo: z
    .union([off, z.strictObject({ root: znode().default('/dubbo') })])
    .prefault({})
    .meta({ description: "Dubbo's interface level: <root>/<interface>/providers; off leaves it out" }),
  applications: z
    .union([
      off,
      z.strictObject({
        root: znode().default('/services'),
        metadata: znode()
          .optional()
          .meta({ description: "Root of Dubbo's metadata centre, with /metadata and /mapping (default: dubbo.root)" }),
      }),
    ])
    .prefault({})
    .meta({ description: "Dubbo's application level: <root>/<application>/<instance>; off leaves it out" }),
};

export type ZooKeeperConfig = z.output<z.ZodObject<typeof fields>>;
