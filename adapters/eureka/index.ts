import { defineAdapter } from '#sources/contract.js';
import { fields } from './schema.js';
import { EurekaSource } from './source.js';
import { eurekaTarget } from './target.js';

export const eureka = defineAdapter({
  type: 'eureka',
  description: 'Netflix Eureka, as Spring Cloud runs it',
  fields,
  kinds: { eureka: { host: '{{ service.name }}.eureka', nominalWeight: 1, protocol: 'http' } },
  guarded: true,
  staleAfter: 90_000,
  target: eurekaTarget,
  source: (config, context) => new EurekaSource(config, context),
});
