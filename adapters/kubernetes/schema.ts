import { z } from 'zod';
import { duration } from '#config/fields.js';
import { dnsLabel } from '#model/address.js';

const dnsName = z
  .string()
  .refine((text) => text.split('.').every((label) => dnsLabel.test(label)), 'expected a DNS name in lower case');

/** Configuration keys of a Kubernetes registry. */
export const fields = {
  kubeconfig: z
    .string()
    .min(1)
    .optional()
    .meta({ description: "Path of a kubeconfig file; the pod's own account unless set" }),
  context: z
    .string()
    .min(1)
    .optional()
    .meta({ description: 'Context of the kubeconfig file; its current one unless set' }),
  cluster: z.string().min(1).default('Kubernetes').meta({
    description: "Istio's name of the cluster; expressions see it as service.metadata.cluster",
  }),
  clusterDomain: dnsName.default('cluster.local').meta({ description: "The cluster's own DNS domain" }),
  trustDomain: dnsName.default('cluster.local').meta({
    description:
      "Trust domain of the mesh that the cluster's pods are in: theirs are the identities that certificates say",
  }),
  namespaces: z
    .array(z.string().regex(dnsLabel, 'expected a DNS label'))
    .min(1)
    .optional()
    .meta({ description: 'Namespaces whose services and pods are read; all unless set' }),
  heartbeat: duration(1_000)
    .prefault('30s')
    .meta({ description: 'How often the API server is asked for a sign of life, beside what it tells by itself' }),
  mtls: z.enum(['read', 'ignore']).default('read').meta({
    description: "Whether Istio's PeerAuthentications are read, which say where pods take mutual TLS only",
  }),
  selector: z.string().min(1).optional().meta({
    description: 'Label selector of the services that are read, such as team=shop,tier!=test; all unless set',
  }),
};
