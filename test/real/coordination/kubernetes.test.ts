import { readFileSync } from 'node:fs';
import { expect } from 'chai';
import { parseAllDocuments } from 'yaml';
import { type KubeApi, type KubeUser, startKubeApi } from '#test/servers/kubeapi.js';
import { until } from '#test/servers/probes.js';
import { requireServers } from '#test/servers/require.js';
import { coordinationContract } from './contract.js';
import { Replica, type Stage } from './stage.js';

const nobody = { name: 'nobody', token: 'the-token-of-nobody' };
const manifest = readFileSync(new URL('../../../../deploy/rbac.yaml', import.meta.url), 'utf8');
const collections: Readonly<Record<string, string>> = {
  ServiceAccount: '/api/v1/namespaces/pontoon/serviceaccounts',
  Role: '/apis/rbac.authorization.k8s.io/v1/namespaces/pontoon/roles',
  RoleBinding: '/apis/rbac.authorization.k8s.io/v1/namespaces/pontoon/rolebindings',
  ClusterRole: '/apis/rbac.authorization.k8s.io/v1/clusterroles',
  ClusterRoleBinding: '/apis/rbac.authorization.k8s.io/v1/clusterrolebindings',
};
let server: KubeApi;
/** The account of the manifest: what it needs is all that it has. */
let account: KubeUser;

const stage: Stage = {
  kind: 'Kubernetes',
  takeover: 15_000,
  get port() {
    return server?.port ?? 0;
  },
  async start(context) {
    await requireServers(context, 'etcd', 'kube-apiserver');
    server = await startKubeApi({ users: [nobody] });
    await server.create('/api/v1/namespaces', { metadata: { name: 'pontoon' } });
    for (const document of parseAllDocuments(manifest)) {
      const object = document.toJS() as { kind: string };
      await server.create(collections[object.kind] ?? '', object);
    }
    account = { name: 'pontoon', token: await server.accountToken('pontoon', 'pontoon') };
  },
  stop: () => server?.stop(),
  config: (group, port) => ({
    coordination: {
      type: 'kubernetes',
      kubeconfig: server.kubeconfig(account, port),
      namespace: 'pontoon',
      name: `pontoon-${group}`,
    },
  }),
  away: () => server.kill(),
  back: async () => void (await server.start()),
  get server() {
    return server;
  },
  idle: { watching: 20, leading: 150 },
};

coordinationContract(stage, () => {
  for (const [what, user, reason] of [
    ['may not do it', nobody, /answered 403 configmaps "pontoon-news" is forbidden: User "nobody" cannot get/],
    ['is not known', { name: 'stranger', token: 'the-token-of-a-stranger' }, /answered 401 Unauthorized/],
  ] as const)
    it(`says that an account ${what}, without its token`, async () => {
      const coordination = { type: 'kubernetes', kubeconfig: server.kubeconfig(user), name: 'pontoon' };
      const replica = new Replica({ ...stage, config: () => ({ coordination }) }, 'one');
      replica.heard('news');
      await until('it says why', () => replica.coordination.error !== undefined);
      const { error = '' } = replica.coordination;
      await replica.coordination.close();
      expect(error).to.match(reason).and.not.include(user.token);
    });
});
