import { z } from 'zod';
import { adapters } from '#adapters/index.js';
import { defaultRanges, parseRanges } from '#catalog/vip.js';
import { dnsLabel } from '#model/address.js';
import { isLocality } from '#model/locality.js';
import { reasonOf } from '#model/reason.js';
import { duration, exportTo, hostPort } from './fields.js';
import { checkAliases, isHost, networks, ofInstance, ofService, policy, presetsText } from './policies.js';

/** The keys that registries of every type have, with `type` and the adapter's own beside them. */
const common = {
  name: z
    .string()
    .regex(/^[A-Za-z0-9][A-Za-z0-9._-]*$/, 'expected letters, digits, dots, dashes and underscores')
    .meta({ description: 'Identity of all that is read from this registry' }),
  host: ofService(isHost)
    .optional()
    .meta({ description: `Template of the host that a service gets in the mesh. ${presetsText}` }),
  namespace: ofService((text) => dnsLabel.test(text))
    .optional()
    .meta({ description: 'Template of the Istio namespace; istio.namespace unless set' }),
  locality: ofInstance((text) => isLocality(text))
    .optional()
    .meta({ description: 'Template of the locality (region/zone/subzone) of instances that the registry gives none' }),
  network: ofInstance()
    .optional()
    .meta({ description: 'Template of the Istio network of instances that the registry gives none' }),
  include: z.array(z.string().min(1)).optional().meta({ description: 'Globs of service names; all unless set' }),
  exclude: z.array(z.string().min(1)).optional().meta({ description: 'Globs of service names that are not even read' }),
  required: z.boolean().default(true).meta({ description: 'Whether the first complete set waits for this registry' }),
  staleAfter: duration(1_000).optional().meta({
    description: "Without a sign of life for this long the registry is stale; the adapter's own value unless set",
  }),
};

const registry = z.discriminatedUnion(
  'type',
  adapters.map((adapter) =>
    z
      .strictObject({ ...common, type: z.literal(adapter.type), ...adapter.fields })
      .meta({ title: adapter.type, description: adapter.description }),
  ) as unknown as [z.ZodObject<typeof common & { type: z.ZodLiteral<string> }>],
);

const listener = z.strictObject({
  listen: hostPort().meta({ description: 'Address and port of an xDS server that Istio uses as its config source' }),
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

/** The whole configuration. Its input form is config/schema.json. */
export const configSchema = z
  .strictObject({
    registries: z
      .array(registry)
      .min(1)
      .meta({
        description:
          'What is read, in order of precedence: of those that hold a host the first says its ports and namespace',
      })
      .superRefine((registries, context) => {
        for (const [index, { name }] of registries.entries())
          if (registries.findIndex((other) => other.name === name) < index)
            context.addIssue({
              code: 'custom',
              path: [index, 'name'],
              message: `a second registry is named "${name}"`,
            });
        // Without one, the first answer may be empty, and istiod then deletes all that it has.
        if (registries.length > 0 && registries.every(({ required }) => !required))
          context.addIssue({ code: 'custom', message: 'at least one registry has to be required' });
      }),
    policies: z
      .array(policy)
      .superRefine(checkAliases)
      .default([])
      .meta({ description: 'Top to bottom; of those that match, the last that sets a field wins' }),
    networks: networks.default({}).meta({ description: 'Networks by name' }),
    istio: z
      .strictObject({
        namespace: z
          .string()
          .regex(dnsLabel, 'expected a DNS label')
          .default('pontoon')
          .meta({ description: 'Istio namespace of the services whose registry names none' }),
        exportTo: exportTo().default(['*']).meta({ description: 'Istio namespaces that see the services' }),
        grace: duration()
          .prefault('5m')
          .meta({ description: 'How long a gone service stays, without endpoints, before it is deleted' }),
        vip: vip.prefault({ ranges: [...defaultRanges] }).meta({
          description: 'Virtual addresses of the hosts, or off; 240.0.0.0/4 without its first and last /8 unless set',
        }),
        xds: z
          .array(listener)
          .min(1)
          .prefault([{ listen: '127.0.0.1:15310' }])
          .meta({ description: 'xDS servers; each serves the complete set' }),
      })
      .prefault({}),
    admin: z
      .strictObject({
        listen: hostPort()
          .prefault('127.0.0.1:15380')
          .meta({ description: 'Address and port of the status page, the API and the metrics' }),
      })
      .prefault({}),
    state: z
      .strictObject({
        directory: z.string().min(1).meta({
          description: 'Directory for what has to survive a restart: the journal',
        }),
      })
      .optional(),
    log: z
      .strictObject({
        level: z
          .enum(['trace', 'debug', 'info', 'warn', 'error'])
          .default('info')
          .meta({ description: 'The least severe log lines to write' }),
      })
      .prefault({}),
  })
  .meta({ title: 'Pontoon configuration' });

export type Config = z.output<typeof configSchema>;

export type RegistryConfig = Config['registries'][number];

/** The configuration's JSON Schema, for editors. */
export function jsonSchema(): Record<string, unknown> {
  return z.toJSONSchema(configSchema, { io: 'input' });
}
