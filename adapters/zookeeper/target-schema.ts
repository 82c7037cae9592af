import { z } from 'zod';

const texts = z.union([z.string().min(1), z.array(z.string().min(1)).min(1)]);

/** A publication's block for ZooKeeper. Texts may be templates. */
export const targetFields = {
  layout: z
    .enum(['dubbo', 'springCloud'])
    .default('dubbo')
    .meta({ description: 'Whose clients find it: those of Dubbo, or of Spring Cloud' }),
  root: z
    .string()
    .regex(/^(\/[^/\s]+)+$/, 'expected the path of a znode, such as /dubbo')
    .optional()
    .meta({
      description: "Dubbo's root (/dubbo unless set), or Spring Cloud's (/services); the registry has to read it",
    }),
  interface: z
    .string()
    .min(1)
    .optional()
    .meta({ description: 'Name of the interface; the name of the publication unless set' }),
  group: z.string().default(''),
  version: z.string().default(''),
  level: z.enum(['interface', 'application', 'all']).default('all').meta({
    description:
      'Where it stands for Dubbo: below the interface (2.7 and 3.x), as an instance of an application (3.x), or both',
  }),
  application: z.string().min(1).optional().meta({
    description: 'Name of the application that provides it; made of the interface, version and group unless set',
  }),
  protocol: z
    .enum(['dubbo', 'tri'])
    .optional()
    .meta({ description: "What it speaks; the port's own protocol unless set" }),
  methods: texts.default('*').meta({ description: 'Methods that it has, as Dubbo lists them; * for any' }),
  params: z
    .record(z.string().min(1), z.string())
    .default({})
    .meta({ description: "Further parameters of a provider's URL" }),
};

export type TargetSettings = z.output<z.ZodObject<typeof targetFields>>;
