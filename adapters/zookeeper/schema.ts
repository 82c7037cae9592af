import { z } from 'zod';
import { basicAuth, clientTls, duration, hostPort } from '#config/fields.js';

function znode() {
  return z
    .string()
    .regex(/^(\/|(\/[^/\s]+)+)$/, 'expected the path of a znode, such as /dubbo')
    .refine(
      (path) => !path.split('/').some((part) => part === '.' || part === '..'),
      'a znode has no . or .. in its path',
    );
}

/** Dubbo's roots: one, or several of which none lies within another. */
function roots() {
  return z
    .union([znode(), z.array(znode()).min(1)])
    .transform((root) => (typeof root === 'string' ? [root] : root))
    .superRefine((paths, context) => {
      for (const [index, path] of paths.entries())
        for (const other of paths.slice(0, index)) {
          const [outer = '', inner = ''] = [path, other].sort((a, b) => a.length - b.length);
          if (`${inner}/`.startsWith(outer === '/' ? outer : `${outer}/`))
            context.addIssue({
              code: 'custom',
              message: `expected roots apart from each other, found ${outer} and ${inner}`,
            });
        }
    });
}

const off = z.literal(['off', false]).transform(() => undefined);

/** Configuration of a ZooKeeper registry, beside what all registries share. */
export const fields = {
  servers: z
    .array(hostPort(2181))
    .min(1)
    .meta({ description: 'Servers of one ensemble, host or host:port (default port 2181)' }),
  auth: basicAuth().optional().meta({ description: 'User name and password for digest authentication' }),
  tls: clientTls()
    .optional()
    .meta({ description: 'Connects with TLS (secureClientPort of the servers); {} is enough' }),
  sessionTimeout: duration(1_000)
    .prefault('10s')
    .meta({ description: 'Session timeout to ask for; the server may choose another' }),
  dubbo: z
    .union([
      off,
      z.strictObject({
        root: roots().prefault('/dubbo').meta({ description: "Dubbo's root znode (its group), or a list of several" }),
      }),
    ])
    .prefault({})
    .meta({ description: "Dubbo's interface level: <root>/<interface>/providers; off leaves it out" }),
  applications: z
    .union([
      off,
      z.strictObject({
        root: znode().default('/services'),
        metadata: znode().optional().meta({
          description: "Root of Dubbo's metadata centre, with /metadata and /mapping (default: the first dubbo.root)",
        }),
      }),
    ])
    .prefault({})
    .meta({ description: "Dubbo's application level: <root>/<application>/<instance>; off leaves it out" }),
  springCloud: z
    .union([off, z.strictObject({ root: znode().default('/services') })])
    .prefault({})
    .meta({ description: "Spring Cloud's applications: <root>/<application>/<instance>; off leaves them out" }),
  probe: z
    .union([z.literal('tcp'), z.literal(['off', false]).transform(() => 'off' as const)])
    .default('tcp')
    .meta({
      description:
        'Opens TCP connections to instances in persistent znodes now and then, and notes those that are dead',
    }),
};

export type ZooKeeperConfig = z.output<z.ZodObject<typeof fields>>;
