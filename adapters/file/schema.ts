import { z } from 'zod';
import { parseProtocol } from '#model/protocol.js';

/** Configuration keys of a file registry. */
export const fields = {
  path: z.string().min(1).meta({
    description:
      'File with services, YAML or JSON, or a folder of such files (*.yaml, *.yml, *.json); a relative path starts at the working directory',
  }),
};

const text = z.union([z.string(), z.number(), z.boolean()]).transform(String);
const metadata = z.record(z.string(), text).default({});

const protocol = z
  .string()
  .default('http')
  .transform((word, context) => {
    const known = parseProtocol(word);
    if (known !== undefined) return known;
    context.addIssue({ code: 'custom', message: `protocol "${word}" is not known` });
    return z.NEVER;
  });

/** One instance of a service. Address and ports are checked by the model's rules. */
export const instanceSchema = z.strictObject({
  id: z.string().optional(),
  address: z.string(),
  /** For a service with one port. */
  port: z.unknown().optional(),
  /** Name of a service port → number at this instance. */
  ports: z.record(z.string(), z.unknown()).optional(),
  weight: z.number().min(0).default(1),
  status: z.enum(['serve', 'drain', 'drop']).default('serve'),
  zone: z.string().default(''),
  locality: z.string().min(1).optional(),
  network: z.string().min(1).optional(),
  metadata,
});

/** One service; instances are read one by one, so that a bad one stops no other. */
export const serviceSchema = z.strictObject({
  name: z.string().min(1),
  namespace: z.string().default(''),
  group: z.string().default(''),
  version: text.default(''),
  metadata,
  ports: z
    .array(z.strictObject({ name: z.string().default(''), protocol, number: z.number().int().min(1).max(65535) }))
    .default([]),
  instances: z.array(z.unknown()).default([]),
});

/** The whole file; services are read one by one. */
export const fileSchema = z.strictObject({ services: z.array(z.unknown()) });
