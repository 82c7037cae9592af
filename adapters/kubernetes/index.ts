import { defineAdapter } from '#sources/contract.js';
import { fields } from './schema.js';
import { KubernetesSource } from './source.js';

export const kubernetes = defineAdapter({
  type: 'kubernetes',
  description: 'Services and pods of a Kubernetes cluster',
  fields,
  kinds: {
    kubernetes: {
      host: '{{ service.name }}.{{ service.namespace }}.svc.{{ service.metadata.clusterDomain }}',
      nominalWeight: 1,
      protocol: 'tcp',
      native: true,
    },
    pod: { host: '', nominalWeight: 1, protocol: 'tcp', workloads: true },
  },
  // What it says is written in etcd, and an address that a pod has left soon is another's.
  guarded: false,
  staleAfter: 90_000,
  source: (config, context) => new KubernetesSource(config, context),
});
