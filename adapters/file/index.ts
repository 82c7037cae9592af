import { defineAdapter } from '#sources/contract.js';
import { fields } from './schema.js';
import { FileSource } from './source.js';

export const file = defineAdapter({
  type: 'file',
  description: 'Services from files, YAML or JSON, read again when they are saved',
  fields,
  kinds: { file: { host: '{{ service.name }}', nominalWeight: 1, protocol: 'http' } },
  guarded: false,
  staleAfter: 60_000,
  source: ({ path }, context) => new FileSource(path, context),
});
