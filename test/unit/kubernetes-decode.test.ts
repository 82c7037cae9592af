import { expect } from 'chai';
import { Cluster } from '#adapters/kubernetes/cluster.js';
import { decodeNode, decodePod, decodeService, decodeSlice } from '#adapters/kubernetes/decode.js';

const metadata = { namespace: 'shop', name: 'orders' };

function cluster(): Cluster {
  return new Cluster({
    registry: 'k8s',
    cluster: 'c1',
    clusterDomain: 'cluster.local',
    trustDomain: 'td.example',
    includes: (name) => name !== 'hidden',
  });
}

function slice(name: string, endpoints: object[], more: object = {}) {
  return decodeSlice({
    metadata: { namespace: 'shop', name, labels: { 'kubernetes.io/service-name': 'orders' } },
    addressType: 'IPv4',
    ports: [{ name: 'web', port: 8080, protocol: 'TCP' }],
    endpoints,
    ...more,
  } as never);
}

describe('Kubernetes objects', () => {
  it('a Service’s ports say what they speak by appProtocol, or by their name', () => {
    const ports = [
      { name: 'web', port: 80, appProtocol: 'http' },
      { name: 'grpc-api', port: 81 },
      { name: 'h2', port: 82, appProtocol: 'kubernetes.io/h2c' },
      { name: 'db', port: 83 },
      { name: 'dns', port: 53, protocol: 'UDP' },
    ];
    const service = decodeService({ metadata, spec: { ports } } as never);
    expect(service.ports.map(({ name, protocol }) => `${name} ${protocol}`)).to.deep.equal([
      'web http',
      'grpc-api grpc',
      'h2 http2',
      'db tcp',
    ]);
    expect(service.rejected).to.deep.equal([{ record: 'port dns', reason: 'protocol UDP: a mesh carries TCP only' }]);
  });

  it('an endpoint’s conditions are words of the health table', () => {
    const conditions = [
      {},
      { ready: true, serving: true, terminating: false },
      { ready: false, serving: true, terminating: true },
      { ready: false, serving: false, terminating: true },
      { ready: false },
      // Of a service that publishes addresses which are not ready.
      { ready: true, serving: false, terminating: true },
    ];
    const { endpoints } = slice(
      's',
      conditions.map((one, index) => ({ addresses: [`10.0.0.${index + 1}`], conditions: one })),
    );
    expect(endpoints.map(({ status }) => status)).to.deep.equal([
      'Ready',
      'Ready',
      'Serving',
      'Terminating',
      'NotReady',
      'Ready',
    ]);
  });

  it('a pod counts while it runs at addresses of its own', () => {
    const status = { phase: 'Running', podIPs: [{ ip: '10.0.0.1' }, { ip: 'fd00::1' }] };
    const running = decodePod({ metadata, spec: {}, status } as never);
    expect(running).to.include({ account: 'default', transport: undefined, network: undefined });
    expect(running?.addresses).to.deep.equal(['10.0.0.1', 'fd00::1']);
    expect(decodePod({ metadata, spec: { hostNetwork: true }, status } as never)).to.equal(undefined);
    for (const phase of ['Succeeded', 'Failed'])
      expect(decodePod({ metadata, spec: {}, status: { ...status, phase } } as never)).to.equal(undefined);
    expect(decodePod({ metadata, spec: {}, status: { phase: 'Pending' } } as never)).to.equal(undefined);
  });

  it('a pod takes mutual TLS by the label of injection, and HBONE by ambient’s annotation', () => {
    const status = { phase: 'Running', podIP: '10.0.0.1' };
    const transport = (more: object) => decodePod({ metadata: { ...metadata, ...more }, status } as never)?.transport;
    expect(transport({ labels: { 'security.istio.io/tlsMode': 'istio' } })).to.equal('istio');
    expect(transport({ labels: { 'security.istio.io/tlsMode': 'disabled' } })).to.equal(undefined);
    expect(transport({ annotations: { 'ambient.istio.io/redirection': 'enabled' } })).to.equal('hbone');
    // A gateway: injected, and without mutual TLS at its ports.
    expect(transport({ annotations: { 'sidecar.istio.io/status': '{}' } })).to.equal(undefined);
  });

  it('locality is the node’s, unless the pod says its own', () => {
    const labels = { 'topology.kubernetes.io/region': 'cn', 'topology.kubernetes.io/zone': 'sh' };
    expect(decodeNode({ metadata: { labels } })).to.equal('cn/sh');
    expect(decodeNode({ metadata: { labels: { 'topology.kubernetes.io/zone': 'sh' } } })).to.equal(undefined);
    const known = cluster();
    known.nodes.set('n1', 'cn/sh');
    const pod = (own: object) =>
      decodePod({
        metadata: { ...metadata, labels: own },
        spec: { nodeName: 'n1', serviceAccountName: 'orders' },
        status: { phase: 'Running', podIP: '10.0.0.1' },
      } as never);
    known.setPod('shop/orders', pod({}));
    const [first] = known.pod('shop/orders')?.instances ?? [];
    expect(first).to.include({ locality: 'cn/sh', id: 'shop/orders' });
    expect(first?.metadata.identity).to.equal('spiffe://td.example/ns/shop/sa/orders');
    known.setPod('shop/orders', pod({ 'istio-locality': 'cn.bj.rack1' }));
    expect(known.pod('shop/orders')?.instances[0]?.locality).to.equal('cn/bj/rack1');
    expect([...known.podsOn('n1')]).to.deep.equal(['shop/orders']);
    known.setPod('shop/orders', undefined);
    expect([...known.podsOn('n1')]).to.deep.equal([]);
  });

  it('a Service has the endpoints of its slices, of its first family, with the labels of the pods', () => {
    const known = cluster();
    const spec = { ipFamilies: ['IPv4', 'IPv6'], ports: [{ name: 'web', port: 80, appProtocol: 'http' }] };
    known.services.set('shop/orders', decodeService({ metadata, spec } as never));
    const targetRef = { kind: 'Pod', name: 'orders-0' };
    known.setSlice('shop/a', slice('a', [{ addresses: ['10.0.0.1'], targetRef, zone: 'sh' }]));
    known.setSlice('shop/b', slice('b', [{ addresses: ['fd00::1'], targetRef }], { addressType: 'IPv6' }));
    known.setSlice('shop/c', slice('c', [{ addresses: ['10.0.0.2'] }], { ports: [] }));
    const labels = { version: 'v2', 'pod-template-hash': 'x', 'security.istio.io/tlsMode': 'istio' };
    const status = { phase: 'Running', podIP: '10.0.0.1' };
    known.setPod(
      'shop/orders-0',
      decodePod({ metadata: { namespace: 'shop', name: 'orders-0', labels }, status } as never),
    );
    const service = known.service('shop/orders');
    expect(service?.instances).to.have.length(1);
    expect(service?.instances[0]).to.deep.include({ id: 'orders-0', zone: 'sh', metadata: { version: 'v2' } });
    expect(service?.instances[0]?.ports).to.deep.equal([{ name: 'web', protocol: 'http', number: 8080 }]);
    expect(service?.rejected.map(({ record }) => record)).to.deep.equal(['10.0.0.2']);
    expect([...known.servicesOf('shop/orders-0')]).to.include('shop/orders');
  });

  it('an ExternalName is one endpoint with a DNS name; what is not wanted is not there', () => {
    const known = cluster();
    const spec = { type: 'ExternalName', externalName: 'DB.example.', ports: [{ port: 5432 }] };
    known.services.set('shop/orders', decodeService({ metadata, spec } as never));
    expect(known.service('shop/orders')?.instances.map(({ address }) => address)).to.deep.equal(['db.example']);
    known.services.set('shop/hidden', decodeService({ metadata: { ...metadata, name: 'hidden' }, spec } as never));
    expect(known.service('shop/hidden')).to.equal(undefined);
  });
});
