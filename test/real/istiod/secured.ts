import { makeCertificate, makeCertificates } from '#test/servers/certificates.js';
import { type Istiod, type IstiodOptions, startIstiod } from '#test/servers/istiod.js';
import { type KubeApi, startKubeApi } from '#test/servers/kubeapi.js';
import { serverFolder } from '#test/servers/process.js';

/** An istiod that asks a Kubernetes about tokens. */
export interface SecuredIstiod {
  readonly istiod: Istiod;
  readonly api: KubeApi;
  /** The authority of its certificate. */
  readonly ca: string;
  /** An authority that has nothing to do with it. */
  readonly otherCa: string;
  /** A certificate of the mesh, for an identity. */
  certificate(identity: string): { readonly cert: string; readonly key: string };
  /** A token as the projected volume of a pod of Pontoon's has it. */
  token(): Promise<string>;
  stop(): Promise<void>;
}

/** Starts a Kubernetes with an account for Pontoon, and an istiod that reads it. */
export async function startSecuredIstiod(options: IstiodOptions = {}): Promise<SecuredIstiod> {
  const folder = serverFolder('secured');
  const api = await startKubeApi();
  await api.create('/api/v1/namespaces', { metadata: { name: 'pontoon' } });
  await api.create('/api/v1/namespaces/pontoon/serviceaccounts', { metadata: { name: 'pontoon' } });
  const { cert, key, ca, otherCa } = makeCertificates(folder);
  const istiod = await startIstiod({
    kubeconfig: api.kubeconfig(),
    secure: { cert, key, ca },
    registries: 'Kubernetes',
    ...options,
  });
  return {
    istiod,
    api,
    ca,
    otherCa,
    certificate: (identity) => makeCertificate(folder, 'client', `URI:${identity}`),
    token: () => api.accountToken('pontoon', 'pontoon', 'istio-ca'),
    stop: async () => {
      await istiod.stop();
      await api.stop();
    },
  };
}
