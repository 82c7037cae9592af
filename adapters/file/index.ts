import { defineAdapter } from '#sources/contract.js';
import { fields } from './schema.js';
import { FileSource } from './source.js';

export const file = defineAdapter({
  type: 'file',
  description: 'Services from a YAML file, read again when it is saved',
  fields,
  kinds: { file: { host: '{{ service.name }}', nominalWeight: 1, protocol: 'http' } },
  staleAfter: 60_000,
  source: ({ path }, context) => new FileSource(path, context),
});
