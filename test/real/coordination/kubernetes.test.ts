import { expect } from 'chai';
import { type KubeApi, startKubeApi } from '#test/servers/kubeapi.js';
import { until } from '#test/servers/probes.js';
import { requireServers } from '#test/servers/require.js';
import { coordinationContract } from './contract.js';
import { Replica, type Stage } from './stage.js';

const user = { name: 'pontoon', token: 'the-token-of-pontoon' };
const nobody = { name: 'nobody', token: 'the-token-of-nobody' };
/** What the README says that the account needs. */
const rules = [
  { apiGroups: [''], resources: ['configmaps'], verbs: ['get', 'watch', 'create', 'patch'] },
  { apiGroups: ['coordination.k8s.io'], resources: ['leases'], verbs: ['get', 'watch', 'create', 'patch'] },
];
let server: KubeApi;

const stage: Stage = {
  kind: 'Kubernetes',
  takeover: 15_000,
  get port() {
    return server?.port ?? 0;
  },
  async start(context) {
    await requireServers(context, 'etcd', 'kube-apiserver');
    server = await startKubeApi({ users: [user, nobody] });
    const rbac = '/apis/rbac.authorization.k8s.io/v1/namespaces/default';
    const metadata = { name: 'pontoon' };
    await server.create(`${rbac}/roles`, { metadata, rules });
    await server.create(`${rbac}/rolebindings`, {
      metadata,
      subjects: [{ kind: 'User', name: user.name }],
      roleRef: { apiGroup: 'rbac.authorization.k8s.io', kind: 'Role', name: 'pontoon' },
    });
  },
  stop: () => server?.stop(),
  config: (group, port) => ({
    coordination: { type: 'kubernetes', kubeconfig: server.kubeconfig(user, port), name: `pontoon-${group}` },
  }),
  away: () => server.kill(),
  back: async () => void (await server.start()),
  get server() {
    return server;
  },
  idle: { watching: 20, leading: 150 },
};

coordinationContract(stage, () => {
  for (const [what, account, reason] of [
    ['may not do it', nobody, /answered 403 configmaps "pontoon-news" is forbidden: User "nobody" cannot get/],
    ['is not known', { name: 'stranger', token: 'the-token-of-a-stranger' }, /answered 401 Unauthorized/],
  ] as const)
    it(`says that an account ${what}, without its token`, async () => {
      const coordination = { type: 'kubernetes', kubeconfig: server.kubeconfig(account), name: 'pontoon' };
      const replica = new Replica({ ...stage, config: () => ({ coordination }) }, 'one');
      replica.heard('news');
      await until('it says why', () => replica.coordination.error !== undefined);
      const { error = '' } = replica.coordination;
      await replica.coordination.close();
      expect(error).to.match(reason).and.not.include(account.token);
    });
});
