import { defineAdapter } from '#sources/contract.js';
import { fields } from './schema.js';
import { ConsulSource } from './source.js';
import { consulTarget } from './target.js';

export const consul = defineAdapter({
  type: 'consul',
  description: 'HashiCorp Consul',
  fields,
  kinds: { consul: { host: '{{ service.name }}.{{ service.metadata.domain }}', nominalWeight: 1, protocol: 'http' } },
  guarded: true,
  selective: true,
  staleAfter: 90_000,
  target: consulTarget,
  source: (config, context) => new ConsulSource(config, context),
});
