import { z } from 'zod';
import { adapters } from '#adapters/index.js';
import { type CoordinationConfig, coordinationSchema } from '#coordination/config.js';
import { dnsLabel } from '#model/address.js';
import { isLocality } from '#model/locality.js';
import { duration, hostPort, share } from './fields.js';
import { checkGateways } from './gateways.js';
import { istioSchema } from './istio.js';
import { checkAliases, isHost, networks, ofInstance, ofService, policy, presetsText } from './policies.js';
import { checkPublications, publication, writes } from './publications.js';

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
  required: required(true),
  guarded: z.boolean().optional().meta({
    description: 'Whether guards hold what this registry loses at once; all but files and Kubernetes unless set',
  }),
  writes,
  staleAfter: duration(1_000).optional().meta({
    description: "Without a sign of life for this long the registry is stale; the adapter's own value unless set",
  }),
};

function required(standard: boolean) {
  return z.boolean().default(standard).meta({ description: 'Whether the first complete set waits for this registry' });
}

const registry = z.discriminatedUnion(
  'type',
  adapters.map((adapter) =>
    z
      .strictObject({
        ...common,
        required: required(adapter.required ?? true),
        type: z.literal(adapter.type),
        ...adapter.fields,
      })
      .meta({ title: adapter.type, description: adapter.description }),
  ) as unknown as [z.ZodObject<typeof common & { type: z.ZodLiteral<string> }>],
);

/** When a fall is held. The values are those of a wiped registry and of a deploy that went wrong. */
function guard(of: string, defaults: { maxLoss: string; minInstances: number; window: string; hold: string }) {
  return z
    .strictObject({
      maxLoss: share()
        .prefault(defaults.maxLoss)
        .meta({ description: `Share of a ${of}'s usable instances that may be lost within the window` }),
      minInstances: z
        .int()
        .min(1)
        .default(defaults.minInstances)
        .meta({ description: `A ${of} that had fewer usable instances is not guarded` }),
      window: duration(1_000).prefault(defaults.window).meta({ description: 'Losses within this time count together' }),
      hold: duration(1_000)
        .prefault(defaults.hold)
        .meta({ description: 'How long what is lost beyond that stays in the mesh' }),
    })
    .prefault({});
}

const stateSchema = z.strictObject({
  owner: z
    .string()
    .regex(/^[a-z0-9]([-a-z0-9.]{0,61}[a-z0-9])?$/, 'expected lower-case letters, digits, dots and dashes, at most 63')
    .default('pontoon')
    .meta({
      description:
        'Whose is what is written into registries and clusters: replicas share it, and any other Pontoon has another one',
    }),
  directory: z
    .string()
    .min(1)
    .optional()
    .meta({ description: 'Directory for what has to survive a restart: snapshot and journal' }),
  listen: hostPort().optional().meta({ description: 'Address and port where other replicas get what this one knows' }),
  peers: z
    .array(hostPort())
    .default([])
    .meta({ description: 'Other replicas: one that starts without a snapshot takes theirs' }),
  tls: z
    .strictObject({
      cert: z.string().min(1).meta({ description: "PEM file of this replica's certificate" }),
      key: z.string().min(1).meta({ description: "PEM file of the certificate's key" }),
      clientCa: z
        .string()
        .min(1)
        .meta({ description: 'PEM file of the authority that every replica has its certificate from' }),
    })
    .optional()
    .meta({ description: 'Mutual TLS between replicas' }),
});

/** Coordination that takes a registry's servers needs that registry, and one of its own type. */
function checkCoordination(
  {
    coordination,
    registries,
  }: { coordination?: CoordinationConfig | undefined; registries: readonly RegistryConfig[] },
  context: z.RefinementCtx,
): void {
  if (coordination === undefined || !('registry' in coordination)) return;
  const { registry, type } = coordination;
  const found = registries.find(({ name }) => name === registry);
  if (found?.type === type) return;
  const what = found === undefined ? `no registry is named "${registry}"` : `"${registry}" is of type ${found.type}`;
  const fitting = registries.filter((one) => one.type === type).map(({ name }) => name);
  const hint = fitting.length === 0 ? 'there is none' : `there is ${fitting.join(', ')}`;
  const message = `${what}; expected a registry of type ${type}, and ${hint}`;
  context.addIssue({ code: 'custom', path: ['coordination', 'registry'], message });
}

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
        // Without one, the first answer may be empty, and istiod then deletes all that it has. What is read from istiod itself is never in it.
        const sent = registries.filter(({ type }) => adapters.find((one) => one.type === type)?.required !== false);
        if (sent.length > 0 && registries.every(({ required }) => !required))
          context.addIssue({ code: 'custom', message: 'at least one registry has to be required' });
      }),
    policies: z
      .array(policy)
      .superRefine(checkAliases)
      .default([])
      .meta({ description: 'Top to bottom; of those that match, the last that sets a field wins' }),
    publications: z
      .array(publication)
      .default([])
      .meta({ description: 'What is written into registries, so that their clients find it' }),
    networks: networks.default({}).meta({ description: 'Networks by name' }),
    istio: istioSchema.prefault({}),
    admin: z
      .strictObject({
        listen: hostPort()
          .prefault('127.0.0.1:15380')
          .meta({ description: 'Address and port of the status page, the API and the metrics' }),
      })
      .prefault({}),
    guards: z
      .strictObject({
        registry: guard('registry', { maxLoss: '30%', minInstances: 10, window: '5m', hold: '10m' }),
        service: guard('service', { maxLoss: '80%', minInstances: 5, window: '30s', hold: '5m' }),
        probe: z
          .enum(['tcp', 'off'])
          .default('tcp')
          .meta({ description: 'Whether instances that are held are asked themselves, by opening a TCP connection' }),
      })
      .prefault({})
      .meta({ description: 'What is lost at once is held for a while: a sick registry is no empty one' }),
    state: stateSchema.prefault({}),
    coordination: coordinationSchema
      .optional()
      .meta({ description: 'Where replicas share what operators decide; each decides alone unless set' }),
    log: z
      .strictObject({
        level: z
          .enum(['trace', 'debug', 'info', 'warn', 'error'])
          .default('info')
          .meta({ description: 'The least severe log lines to write' }),
      })
      .prefault({}),
  })
  .superRefine(checkCoordination)
  .superRefine(checkPublications)
  .superRefine(checkGateways)
  .meta({ title: 'Pontoon configuration' });

export type Config = z.output<typeof configSchema>;

export type RegistryConfig = z.output<typeof registry>;

/** The configuration's JSON Schema, for editors. */
export function jsonSchema(): Record<string, unknown> {
  return z.toJSONSchema(configSchema, { io: 'input' });
}
