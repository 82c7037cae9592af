import { z } from 'zod';
import { adapters } from '#adapters/index.js';
import { reasonOf } from '#model/reason.js';
import { endpointCondition, publicationCondition, publicationTemplate } from '#policy/expression.js';

function expression(compile: (text: string) => unknown, description: string) {
  return z
    .string()
    .min(1)
    .superRefine((text, context) => {
      try {
        compile(text);
      } catch (error) {
        if (!(error instanceof Error)) throw error;
        context.addIssue({ code: 'custom', message: error.message });
      }
    })
    .meta({ description });
}

const variables = 'mesh.{host, name, namespace, registries, location, labels}';
const globs = z.array(z.string().min(1));

/** Every adapter that can be written to, with its block. */
const blocks = Object.fromEntries(
  adapters.flatMap(({ type, target }) =>
    target === undefined
      ? []
      : [
          [
            type,
            z
              .strictObject(target.fields)
              .optional()
              .meta({ description: `How it stands in a registry of type ${type}` }),
          ],
        ],
  ),
);

/** Mesh services, or services of other registries, written into a registry. */
export const publication = z.strictObject({
  name: z
    .string()
    .regex(/^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$/, 'expected lower-case letters, digits and dashes, at most 63')
    .meta({ description: 'Identity of all that it writes' }),
  when: expression(publicationCondition, `Condition (CEL) on the services that are published; variables: ${variables}`),
  to: z.string().min(1).meta({ description: 'Name of the registry that they are written into' }),
  as: expression(
    publicationTemplate,
    `Template of the name there; variables: ${variables}. The target's own default unless set`,
  ).optional(),
  port: z
    .union([z.string().min(1), z.int().min(1).max(65_535)])
    .optional()
    .meta({ description: "Which of the service's ports, by name or number; the first unless set" }),
  addresses: z.enum(['instances', 'gateway', 'vip']).default('instances').meta({
    description:
      "What callers there dial: the instances; the edge gateway of this mesh's network, at a port of the service's own; or the host's virtual address",
  }),
  endpoints: expression(
    endpointCondition,
    'Condition (CEL) on the endpoints that are published; variables: endpoint.{registry, address, locality, network, labels}',
  ).optional(),
  metadata: z
    .strictObject({
      copy: globs.default(['*']).meta({ description: "Keys of the instances' own metadata that go along, by glob" }),
      drop: globs.default([]).meta({ description: 'Keys that do not, by glob' }),
      set: z
        .record(z.string().min(1), expression(publicationTemplate, `Template; variables: ${variables}`))
        .default({})
        .meta({ description: 'Key → value' }),
    })
    .prefault({}),
  draining: z.enum(['down', 'withdraw']).default('down').meta({
    description:
      'What becomes of an endpoint that takes no new callers: it stands there as out of service, or not at all',
  }),
  paused: z.boolean().default(false).meta({
    description: 'Whether it is left as it stands: leases are renewed, and nothing is registered, changed or withdrawn',
  }),
  ...blocks,
});

export type PublicationConfig = z.output<typeof publication>;

/** The part of a registry's keys that says how it is written to. */
export const writes = z
  .strictObject({
    rate: z.number().positive().default(100).meta({ description: 'Requests that write, per second, at most' }),
    parallel: z.int().min(1).max(256).default(16).meta({ description: 'Services that are written at a time' }),
    whenStopped: z.enum(['keep', 'withdraw']).default('keep').meta({
      description:
        'What becomes of what was written when Pontoon ends cleanly: it stays as long as its leases do, or goes',
    }),
  })
  .prefault({})
  .meta({ description: 'How publications write into it' });

/** A publication goes into a registry that is there and can be written to, and says only how things stand in one of that type. */
export function checkPublications(
  {
    publications,
    registries,
  }: {
    readonly publications: readonly PublicationConfig[];
    readonly registries: readonly { readonly name: string; readonly type: string }[];
  },
  context: z.RefinementCtx,
): void {
  const kinds = new Map(adapters.map(({ type, target }) => [type, target]));
  for (const [index, publication] of publications.entries()) {
    const path = ['publications', index];
    const fail = (key: string, message: string): void =>
      context.addIssue({ code: 'custom', path: [...path, key], message });
    if (publications.findIndex(({ name }) => name === publication.name) < index)
      fail('name', `a second publication is named "${publication.name}"`);
    const registry = registries.find(({ name }) => name === publication.to);
    const writable = registries.filter(({ type }) => kinds.get(type) !== undefined).map(({ name }) => name);
    const hint = writable.length === 0 ? 'there is none' : `there is ${writable.join(', ')}`;
    if (registry === undefined)
      fail('to', `no registry is named "${publication.to}"; expected one that can be written to, and ${hint}`);
    else if (kinds.get(registry.type) === undefined)
      fail('to', `"${registry.name}" is of type ${registry.type}, which cannot be written to; ${hint} that can`);
    else
      for (const type of Object.keys(blocks)) {
        const block = (publication as Record<string, unknown>)[type];
        if (block === undefined) continue;
        if (type !== registry.type) fail(type, `"${registry.name}" is of type ${registry.type}`);
        for (const message of templateErrors(block)) fail(type, message);
      }
  }
}

/** What is wrong with the templates in a target's block. */
function templateErrors(value: unknown): string[] {
  if (typeof value === 'object' && value !== null) return Object.values(value).flatMap(templateErrors);
  if (typeof value !== 'string' || !value.includes('{{')) return [];
  try {
    publicationTemplate(value);
    return [];
  } catch (error) {
    return [reasonOf(error)];
  }
}
