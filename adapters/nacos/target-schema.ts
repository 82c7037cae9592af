import { z } from 'zod';
import { duration } from '#config/fields.js';

/** How a service stands there for Dubbo's consumers. */
const dubbo = z.strictObject({
  group: z.string().default('').meta({ description: "Dubbo's group of the service" }),
  version: z.string().default('').meta({ description: 'Its version' }),
  level: z.enum(['interface', 'application', 'all']).default('all').meta({
    description: 'Where it stands: under the interface (2.7 and 3.x), as an instance of an application (3.x), or both',
  }),
  application: z.string().min(1).optional().meta({
    description: 'Name of the application that provides it; made of the interface, version and group unless set',
  }),
  protocol: z
    .enum(['dubbo', 'tri'])
    .optional()
    .meta({ description: "What it speaks; the port's own protocol unless set" }),
  methods: z
    .union([z.string().min(1), z.array(z.string().min(1)).min(1)])
    .default('*')
    .meta({ description: 'Methods that it has, as Dubbo lists them; * for any' }),
  params: z
    .record(z.string().min(1), z.string())
    .default({})
    .meta({ description: "Further parameters of a provider's URL" }),
});

/** A publication's block for Nacos. Texts may be templates. */
export const targetFields = {
  namespace: z.string().min(1).default('public').meta({ description: 'Id of the namespace, not its name' }),
  group: z.string().min(1).default('DEFAULT_GROUP'),
  cluster: z.string().min(1).default('DEFAULT'),
  kind: z.enum(['ephemeral', 'persistent']).default('ephemeral').meta({
    description:
      'Ephemeral instances go when nobody renews them, persistent ones stay. All of a service are of one kind: if it is there already, its kind counts',
  }),
  api: z.enum(['http', 'grpc']).default('http').meta({
    description:
      'How ephemeral instances are kept. http: by beats, which leave time for a restart. grpc: by a connection, at one request per service; they go when it does',
  }),
  beatInterval: duration(1_000).prefault('15s').meta({
    description:
      'With http, pause between two beats of an instance. Without any it counts as unhealthy after three times that, and is gone after six',
  }),
  dubbo: dubbo.optional().meta({ description: "For Dubbo's consumers: the publication's name is the interface's" }),
};

export type TargetSettings = z.output<z.ZodObject<typeof targetFields>>;
export type InstanceKind = TargetSettings['kind'];
