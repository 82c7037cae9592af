import { defineAdapter } from '#sources/contract.js';
import { fields } from './schema.js';
import { IstiodSource } from './source.js';

export const istiod = defineAdapter({
  type: 'istiod',
  description: 'Services of a mesh, as istiod tells them to its proxies',
  fields,
  kinds: {
    istiod: {
      host: '{{ service.metadata.host }}',
      nominalWeight: 1,
      protocol: 'http',
      native: true,
      echoes: true,
    },
  },
  // istiod is not ready before it has read all that it reads; and an address that a pod has left soon is another's.
  guarded: false,
  // istiod is not ready before Pontoon has answered it: neither can wait for the other.
  required: false,
  staleAfter: 90_000,
  source: (config, context) => new IstiodSource(config, context),
});
