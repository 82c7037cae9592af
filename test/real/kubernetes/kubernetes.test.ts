import { readFileSync } from 'node:fs';
import { expect } from 'chai';
import { parseAllDocuments } from 'yaml';
import { Bridge } from '#test/real/contract/bridge.js';
import { type KubeApi, type KubeUser, startKubeApi } from '#test/servers/kubeapi.js';
import { KubeWriter } from '#test/servers/kubewriter.js';
import { until } from '#test/servers/probes.js';
import { requireServers } from '#test/servers/require.js';

const manifest = readFileSync(new URL('../../../../deploy/rbac-registry.yaml', import.meta.url), 'utf8');
const rbac = '/apis/rbac.authorization.k8s.io/v1';
const collections: Readonly<Record<string, string>> = {
  ClusterRole: `${rbac}/clusterroles`,
  ClusterRoleBinding: `${rbac}/clusterrolebindings`,
};

describe('Kubernetes, read with the rights of deploy/rbac-registry.yaml', function () {
  this.timeout(60_000);
  let api: KubeApi;
  let writer: KubeWriter;
  let kubeconfig: string;
  const bridges: Bridge[] = [];

  const open = (keys: object = {}): Bridge => {
    const bridge = new Bridge('kubernetes', { kubeconfig, ...keys }, 'k8s');
    bridges.push(bridge);
    return bridge;
  };
  const podOf = (bridge: Bridge, name: string) =>
    [...bridge.view.services.values()].find(({ key }) => key.group === 'pod' && key.name === name)?.instances[0];
  const service = (namespace: string, name: string, labels = {}) =>
    writer.apply('Service', namespace, name, { metadata: { labels }, spec: { ports: [{ name: 'http', port: 80 }] } });

  before(async function () {
    await requireServers(this, 'etcd', 'kube-apiserver', 'istio-crds');
    const limited: KubeUser = { name: 'limited', token: 'the-token-of-one-namespace' };
    api = await startKubeApi({ users: [limited] });
    writer = new KubeWriter(api.kubeconfig());
    for (const name of ['pontoon', 'shop', 'pay']) await writer.namespace(name);
    await writer.namespace('istio-system', { 'topology.istio.io/network': 'one' });
    await api.create('/api/v1/namespaces/pontoon/serviceaccounts', { metadata: { name: 'pontoon' } });
    for (const document of parseAllDocuments(manifest)) {
      const object = document.toJS() as { kind: string };
      await api.create(collections[object.kind] ?? '', object);
    }
    const account = { name: 'pontoon', token: await api.accountToken('pontoon', 'pontoon') };
    kubeconfig = api.kubeconfig(account);
    const labels = { 'topology.kubernetes.io/region': 'cn', 'topology.kubernetes.io/zone': 'sh' };
    await writer.apply('Node', '', 'n1', { metadata: { labels } });
    await writer.pod('shop', 'orders-0', '10.1.0.1', {
      metadata: { labels: { 'security.istio.io/tlsMode': 'istio' } },
      spec: { nodeName: 'n1', serviceAccountName: 'orders' },
    });
    await service('shop', 'orders', { team: 'shop' });
    await service('pay', 'pay');
  });

  after(async () => {
    await Promise.all(bridges.map((bridge) => bridge.stop()));
    await writer?.close();
    await api?.stop();
  });

  it('gives pods the locality of their node, and the network of their cluster', async () => {
    const bridge = open();
    await bridge.until('live', () => bridge.status.state === 'live');
    expect(podOf(bridge, 'orders-0')).to.include({ locality: 'cn/sh', network: 'one', address: '10.1.0.1' });

    await writer.namespace('istio-system', { 'topology.istio.io/network': 'two' });
    await bridge.until('another network', () => podOf(bridge, 'orders-0')?.network === 'two');
    await writer.apply('Node', '', 'n1', { metadata: { labels: { 'topology.kubernetes.io/region': 'cn-2' } } });
    await bridge.until('another locality', () => podOf(bridge, 'orders-0')?.locality === 'cn-2');
  });

  it('forgets a pod that has finished, and one that is deleted', async () => {
    const bridge = open();
    await writer.pod('shop', 'job', '10.1.0.2');
    await bridge.until('there', () => podOf(bridge, 'job') !== undefined);
    await writer.running('shop', 'job', '10.1.0.2', { phase: 'Succeeded' });
    await bridge.until('finished', () => podOf(bridge, 'job') === undefined);
    await writer.pod('shop', 'short', '10.1.0.2');
    await bridge.until('there', () => podOf(bridge, 'short') !== undefined);
    await writer.delete('Pod', 'shop', 'short');
    await bridge.until('gone', () => podOf(bridge, 'short') === undefined);
  });

  it('reads the wanted namespaces and labels', async () => {
    const shop = open({ namespaces: ['shop'] });
    await shop.until('live', () => shop.status.state === 'live');
    expect(shop.service('orders')?.key.namespace).to.equal('shop');
    expect(shop.service('pay')).to.equal(undefined);
    const labelled = open({ selector: 'team=shop' });
    await labelled.until('live', () => labelled.status.state === 'live');
    expect(labelled.service('orders')).to.not.equal(undefined);
    expect(labelled.service('pay')).to.equal(undefined);
    await service('pay', 'pay', { team: 'shop' });
    await labelled.until('labelled now', () => labelled.service('pay') !== undefined);
    await service('pay', 'pay', {});
    await labelled.until('no longer', () => labelled.service('pay') === undefined);
  });

  it('goes on without nodes and network, where it may read one namespace only', async () => {
    const path = `${rbac}/namespaces/shop`;
    const resources = [
      { apiGroups: [''], resources: ['services', 'pods'], verbs: ['list', 'watch'] },
      { apiGroups: ['discovery.k8s.io'], resources: ['endpointslices'], verbs: ['list', 'watch'] },
    ];
    await api.create(`${path}/roles`, { metadata: { name: 'limited' }, rules: resources });
    const roleRef = { apiGroup: 'rbac.authorization.k8s.io', kind: 'Role', name: 'limited' };
    const subjects = [{ apiGroup: 'rbac.authorization.k8s.io', kind: 'User', name: 'limited' }];
    await api.create(`${path}/rolebindings`, { metadata: { name: 'limited' }, roleRef, subjects });
    const limited = api.kubeconfig({ name: 'limited', token: 'the-token-of-one-namespace' });
    const bridge = open({ kubeconfig: limited, namespaces: ['shop'] });
    await bridge.until('live', () => bridge.status.state === 'live');
    expect(podOf(bridge, 'orders-0')).to.include({ locality: undefined, network: undefined });
    const all = open({ kubeconfig: limited });
    await all.until('refused', () => all.status.state === 'failed');
    expect(all.status.error).to.match(/answered 403/);
  });

  it('keeps the cluster IP of a service, and its annotations for Pontoon', async () => {
    await writer.apply('Service', 'shop', 'orders', {
      metadata: {
        labels: { team: 'shop' },
        annotations: { 'pontoon.io/publish': 'false', 'example.com/notes': 'long' },
      },
      spec: { ports: [{ name: 'http', port: 80 }] },
    });
    const bridge = open();
    await bridge.until('annotated', () => bridge.service('orders')?.metadata['pontoon.io/publish'] === 'false');
    expect(bridge.service('orders')?.metadata).to.have.all.keys(
      'team',
      'pontoon.io/publish',
      'cluster',
      'clusterDomain',
    );
    expect(bridge.service('orders')?.vips?.join()).to.match(/^10\.96\.\d+\.\d+$/);
  });

  it('knows at which ports a pod takes mutual TLS only, by the PeerAuthentications above it', async () => {
    // Without them, and without their kind, it is live all the same.
    const before = open();
    await before.until('live', () => before.status.state === 'live');
    expect(podOf(before, 'orders-0')?.metadata).to.not.include.keys('strict');

    await api.installIstio('PeerAuthentication');
    const bridge = open();
    const scoped = open({ namespaces: ['shop'] });
    const ignoring = open({ mtls: 'ignore' });
    const policy = (namespace: string, name: string, spec: object) =>
      writer.apply('PeerAuthentication', namespace, name, { spec });
    const strict = async (text: string | undefined): Promise<void> => {
      for (const one of [bridge, scoped])
        await one.until(`strict at ${text}`, () => {
          const metadata = podOf(one, 'orders-0')?.metadata;
          return metadata !== undefined && metadata.strict === text;
        });
    };
    await strict(undefined);
    await policy('istio-system', 'mesh', { mtls: { mode: 'STRICT' } });
    await strict('all');
    await policy('shop', 'namespace', { mtls: { mode: 'PERMISSIVE' } });
    await strict(undefined);
    // The label is one that Kubernetes' people do not see among the service's: policies select by it all the same.
    const selector = { matchLabels: { 'security.istio.io/tlsMode': 'istio' } };
    await policy('shop', 'orders', {
      selector,
      mtls: { mode: 'STRICT' },
      portLevelMtls: { 8080: { mode: 'DISABLE' } },
    });
    await strict('all but 8080');
    await writer.delete('PeerAuthentication', 'shop', 'orders');
    await writer.delete('PeerAuthentication', 'shop', 'namespace');
    await strict('all');
    await ignoring.until('live', () => ignoring.status.state === 'live');
    expect(podOf(ignoring, 'orders-0')?.metadata).to.not.include.keys('strict');
  });

  it('finds its context, and says which there are', async () => {
    const bridge = open({ context: 'test' });
    await bridge.until('live', () => bridge.status.state === 'live');
    const wrong = open({ context: 'prod' });
    await until('failed', () => wrong.status.state === 'failed');
    expect(wrong.status.error).to.match(/has no context "prod"; there are test$/);
  });
});
