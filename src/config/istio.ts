import { z } from 'zod';
import { defaultRanges, parseRanges } from '#catalog/vip.js';
import { dnsLabel, isLoopback } from '#model/address.js';
import { reasonOf } from '#model/reason.js';
import { meshCondition } from '#policy/expression.js';
import { duration, exportTo, hostPort } from './fields.js';

const maxShards = 256;

const when = z
  .string()
  .min(1)
  .superRefine((text, context) => {
    try {
      meshCondition(text);
    } catch (error) {
      context.addIssue({ code: 'custom', message: reasonOf(error) });
    }
  })
  .meta({ description: 'CEL condition over mesh.{host, name, namespace, registries, location}' });

const tls = z
  .strictObject({
    cert: z.string().min(1).meta({ description: "PEM file of the server's certificate; read anew when it changes" }),
    key: z.string().min(1).meta({ description: "PEM file of the certificate's key" }),
    clientCa: z.string().min(1).optional().meta({
      description: 'PEM file of the authorities of client certificates; with it, every client has to show one',
    }),
    allow: z.array(z.string().min(1)).default([]).meta({
      description:
        'Globs of SPIFFE URIs or DNS names of clients, in which * stops at / or a dot; all that clientCa vouches for unless set',
    }),
  })
  .refine(({ clientCa, allow }) => allow.length === 0 || clientCa !== undefined, {
    path: ['allow'],
    message: 'client identities need clientCa',
  });

const listener = z
  .strictObject({
    listen: hostPort().meta({ description: 'Address and port of an xDS server that Istio uses as its config source' }),
    shards: z
      .int()
      .min(1)
      .max(maxShards)
      .refine((count) => (count & (count - 1)) === 0, 'expected a power of two')
      .default(1)
      .meta({ description: 'Divides the set over so many consecutive ports, each a config source of its own' }),
    tls: tls.optional().meta({ description: 'TLS; plaintext unless set' }),
    plaintext: z
      .boolean()
      .default(false)
      .meta({ description: 'Has to be said for an address beyond loopback without TLS' }),
    when: when.optional().meta({
      description:
        'Which services its clients see; all unless set. CEL over mesh.{host, name, namespace, registries, location}',
    }),
    address: z.string().min(1).optional().meta({
      description: 'Host under which istiod reaches it, for the printed meshConfig; that of listen unless set',
    }),
    maxStreams: z.int().min(1).default(32).meta({ description: 'Streams at a time, on each port' }),
  })
  .superRefine(({ listen, shards, tls, plaintext }, context) => {
    if (tls === undefined && !plaintext && !isLoopback(listen.host))
      context.addIssue({
        code: 'custom',
        path: ['listen'],
        message: `${listen.host} can be reached from outside: set tls, or say plaintext: true`,
      });
    if (listen.port + shards > 65_536)
      context.addIssue({
        code: 'custom',
        path: ['shards'],
        message: `there are no ${shards} ports from ${listen.port}`,
      });
  });

/** `0-15/64`: the first and last of so many shards. */
const serve = z
  .string()
  .meta({ description: 'Which shards of how many this process holds, such as 0-15/64; all unless set' })
  .transform((text, context) => {
    const [, first, last = first, count] = /^(\d{1,3})(?:-(\d{1,3}))?\/(\d{1,3})$/.exec(text) ?? [];
    const [from, to, of] = [Number(first), Number(last), Number(count)];
    const isPower = of >= 1 && of <= maxShards && (of & (of - 1)) === 0;
    if (!isPower || from > to || to >= of) {
      context.addIssue({
        code: 'custom',
        message: `expected shards such as 0-15/64, of a power of two; found ${text}`,
      });
      return z.NEVER;
    }
    return { from, to, of };
  });

const vip = z.union([
  z.literal('off'),
  z.strictObject({
    ranges: z
      .array(z.string())
      .min(1)
      .superRefine((ranges, context) => {
        try {
          parseRanges(ranges);
        } catch (error) {
          context.addIssue({ code: 'custom', message: reasonOf(error) });
        }
      })
      .meta({ description: 'Ranges in CIDR notation, IPv4 and IPv6; each host gets an address of each family' }),
  }),
]);

const kubernetes = z.strictObject({
  kubeconfig: z.string().min(1).optional().meta({ description: "File; the pod's own account unless set" }),
  when: when.optional().meta({ description: 'Which services become objects; all unless set. CEL as for listeners' }),
  keepOnXds: z
    .boolean()
    .default(false)
    .meta({ description: 'Whether xDS listeners show these services, too: one istiod must not get both' }),
  fieldManager: z
    .string()
    .regex(/^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$/, 'expected lower-case letters, digits and dashes')
    .default('pontoon')
    .meta({ description: 'Name of our fields; with state.owner the mark of our objects' }),
  rate: z.int().min(1).default(50).meta({ description: 'Writes per second, at most' }),
  resync: duration(1_000)
    .prefault('10m')
    .meta({ description: 'How often all objects are compared with what they should be' }),
  oversized: z
    .enum(['split', 'refuse'])
    .default('split')
    .meta({ description: 'What becomes of an entry with more than 4,096 endpoints' }),
});

/** The `istio` block of the configuration. */
export const istioSchema = z
  .strictObject({
    namespace: z
      .string()
      .regex(dnsLabel, 'expected a DNS label')
      .default('pontoon')
      .meta({ description: 'Istio namespace of the services whose registry names none' }),
    network: z.string().min(1).optional().meta({
      description:
        'Network that this mesh is in: its endpoints are reached directly, and its gateways take what is published with `addresses: gateway`',
    }),
    exportTo: exportTo().default(['*']).meta({ description: 'Istio namespaces that see the services' }),
    grace: duration()
      .prefault('5m')
      .meta({ description: 'How long a gone service stays, without endpoints, before it is deleted' }),
    vip: vip.prefault({ ranges: [...defaultRanges] }).meta({
      description: 'Virtual addresses of the hosts, or off; 240.0.0.0/4 without its first and last /8 unless set',
    }),
    xds: z
      .array(listener)
      .prefault([{ listen: '127.0.0.1:15310' }])
      .meta({ description: 'xDS servers; each serves the complete set, or its shards' }),
    serve: serve.optional(),
    kubernetes: kubernetes.optional().meta({ description: 'ServiceEntry objects in a cluster; none unless set' }),
    files: z
      .strictObject({
        directory: z.string().min(1).meta({ description: 'Directory of the files; what is not ours there stays' }),
        when: when.optional().meta({ description: 'Which services; all unless set. CEL as for listeners' }),
      })
      .optional()
      .meta({
        description: "Istio YAML for istiod's fs:// and for GitOps, with zone and hosts files; none unless set",
      }),
    dns: z
      .strictObject({
        ttl: duration(1_000).prefault('30s').meta({ description: 'How long resolvers may keep an answer' }),
        zones: z
          .array(
            z
              .string()
              .regex(/^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$/i, 'expected a DNS name'),
          )
          .default(['dubbo', 'eureka', 'mesh', 'nacos', 'zookeeper'])
          .meta({
            description: "Suffixes that are nobody else's: each gets a zone file; all hosts are in the hosts file",
          }),
      })
      .prefault({})
      .meta({ description: 'Zone and hosts files for pods without DNS capture, over HTTP and beside the files' }),
  })
  .superRefine(({ xds, serve, kubernetes, files }, context) => {
    if (xds.length === 0 && kubernetes === undefined && files === undefined)
      context.addIssue({
        code: 'custom',
        path: ['xds'],
        message: 'no way into Istio: expected xds, kubernetes or files',
      });
    const ranges: { readonly from: number; readonly to: number; readonly host: string }[] = [];
    for (const [index, { listen, shards }] of xds.entries()) {
      const { host, port } = listen;
      if (serve !== undefined && shards !== serve.of)
        context.addIssue({
          code: 'custom',
          path: ['xds', index, 'shards'],
          message: `expected ${serve.of}, as in serve, found ${shards}`,
        });
      const range = { from: port, to: port + shards - 1, host };
      const other = ranges.find((one) => one.host === host && one.from <= range.to && range.from <= one.to);
      if (port !== 0 && other !== undefined)
        context.addIssue({
          code: 'custom',
          path: ['xds', index, 'listen'],
          message: `ports ${range.from} to ${range.to} overlap those of another listener, ${other.from} to ${other.to}`,
        });
      ranges.push(range);
    }
  });

export type IstioConfig = z.output<typeof istioSchema>;

/** One entry of `istio.xds`. */
export type ListenerConfig = z.output<typeof listener>;

/** The shards that a Pontoon holds: `from` to `to`, both of them, of `of`. */
export type Serve = NonNullable<IstioConfig['serve']>;
