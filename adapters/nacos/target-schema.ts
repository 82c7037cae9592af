import { z } from 'zod';
import { duration } from '#config/fields.js';

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
};

export type TargetSettings = z.output<z.ZodObject<typeof targetFields>>;
export type InstanceKind = TargetSettings['kind'];
