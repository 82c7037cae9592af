import { expect } from 'chai';
import { encodeResource, type IstioResource, typeOfUrl } from '#istio/resource.js';
import { serviceEntries } from '#istio/serviceentry.js';
import { checkServiceEntry } from '#istio/validate.js';
import { istioYaml } from '#istio/yaml.js';
import type { Endpoint, MeshService } from '#model/mesh.js';
import { Resource } from '#proto/istio/mcp.js';
import { ServiceEntry } from '#proto/istio/networking.js';
import { DiscoveryResponse } from '#proto/xds/discovery.js';

const scope = { host: 'orders.test', name: 'orders', namespace: 'shop', registries: [], location: 'internal' } as const;

function endpoint(address: string, ports: Record<string, number>, more: Partial<Endpoint> = {}): Endpoint {
  return {
    address,
    ports,
    weight: 100,
    draining: false,
    locality: undefined,
    network: undefined,
    labels: {},
    origins: [],
    ...more,
  };
}

function mesh(endpoints: Endpoint[], more: Partial<MeshService> = {}): MeshService {
  return {
    host: 'orders.test',
    namespace: 'shop',
    exportTo: ['*'],
    location: 'internal',
    revision: undefined,
    vips: ['241.0.0.1'],
    ports: [{ name: 'http', number: 80, protocol: 'http' }],
    resolution: endpoints.some(({ address }) => address.endsWith('.example')) ? 'dns' : 'static',
    identities: [],
    native: false,
    uniform: true,
    endpoints,
    unreachable: [],
    origins: [],
    ...more,
  };
}

function only(resources: IstioResource<'ServiceEntry'>[]): IstioResource<'ServiceEntry'> {
  expect(resources).to.have.length(1);
  return resources[0] as IstioResource<'ServiceEntry'>;
}

describe('ServiceEntry projection', () => {
  it('is one entry named after its host, with endpoints inline', () => {
    const entry = only(serviceEntries(mesh([endpoint('10.0.0.1', { http: 9001 }, { draining: true, network: 'n1' })])));
    expect(istioYaml([entry])).to.equal(`---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata:
  name: orders.test
  namespace: shop
spec:
  hosts:
    - orders.test
  addresses:
    - 241.0.0.1
  exportTo:
    - "*"
  location: MESH_INTERNAL
  resolution: STATIC
  ports:
    - name: http
      number: 80
      protocol: HTTP
  endpoints:
    - address: 10.0.0.1
      ports:
        http: 9001
      labels:
        istio.io/draining: "true"
      network: n1
      weight: 100
`);
  });

  it('is DNS as a whole if any address is a name', () => {
    const { body } = only(
      serviceEntries(mesh([endpoint('10.0.0.1', { http: 1 }), endpoint('db.example', { http: 2 })])),
    );
    expect(body.resolution).to.equal(2);
    expect(body.endpoints).to.have.length(2);
  });

  it('is one entry per port where the endpoints differ in their ports', () => {
    const ports = [
      { name: 'http', number: 80, protocol: 'http' },
      { name: 'https', number: 443, protocol: 'https' },
    ] as const;
    const both = endpoint('10.0.0.1', { http: 1, https: 2 });
    expect(serviceEntries(mesh([both], { ports }))).to.have.length(1);
    const entries = serviceEntries(mesh([both, endpoint('10.0.0.2', { https: 3 })], { ports, uniform: false }));
    expect(entries.map(({ name, body }) => [name, body.hosts, body.endpoints.map(({ ports }) => ports)])).to.deep.equal(
      [
        ['orders.test.http-1813669b', ['orders.test'], [{ http: 1 }]],
        ['orders.test.https-42ad0cc4', ['orders.test'], [{ https: 2 }, { https: 3 }]],
      ],
    );
  });

  it('marks endpoints of one address with their number, since older istiods miss that one of them goes', () => {
    const labels = (...endpoints: Endpoint[]) =>
      only(serviceEntries(mesh(endpoints))).body.endpoints.map((e) => e.labels);
    const [one, two, other] = [
      endpoint('10.0.0.1', { http: 1 }),
      endpoint('10.0.0.1', { http: 2 }),
      endpoint('10.0.0.2', { http: 1 }),
    ];
    const mark = { 'pontoon.io/endpoints-at-address': '2' };
    expect(labels(one, two, other)).to.deep.equal([mark, mark, {}]);
    expect(labels(one, other)).to.deep.equal([{}, {}]);
  });

  it('keeps an emptied service', () => {
    expect(only(serviceEntries(mesh([]))).body.endpoints).to.deep.equal([]);
  });
});

describe('validation by the rules of Istio and Envoy', () => {
  const good = endpoint('10.0.0.1', { http: 1 });
  const bad: [string, Endpoint, RegExp][] = [
    ['a zone', endpoint('fe80::1%eth9', { http: 1 }), /zone/],
    ['an IPv4-mapped address', endpoint('::ffff:10.0.0.1', { http: 1 }), /not normalised: expected 10\.0\.0\.1/],
    ['no address', endpoint('', { http: 1 }), /no address/],
    ['port 0', endpoint('10.0.0.2', { http: 0 }), /port 0/],
    ['port 70000', endpoint('10.0.0.2', { http: 70000 }), /port 70000/],
    ['a label value that is none', endpoint('10.0.0.2', { http: 1 }, { labels: { a: 'x y' } }), /label a="x y"/],
    [
      'a label name that is none',
      endpoint('10.0.0.2', { http: 1 }, { labels: { 'a b': 'x' } }),
      /"a b" is not a label name/,
    ],
    ['a locality of four parts', endpoint('10.0.0.2', { http: 1 }, { locality: 'a/b/c/d' }), /locality/],
    ['a locality with a hole', endpoint('10.0.0.2', { http: 1 }, { locality: 'a//c' }), /locality/],
    ['weight 0', endpoint('10.0.0.2', { http: 1 }, { weight: 0 }), /weight 0/],
  ];
  for (const [what, wrong, reason] of bad)
    it(`takes out an endpoint with ${what}, and keeps the others`, () => {
      const checked = checkServiceEntry(only(serviceEntries(mesh([wrong, good]))));
      expect(checked.resource?.body.endpoints.map(({ address }) => address)).to.deep.equal(['10.0.0.1']);
      expect(checked.rejected).to.have.length(1);
      expect(checked.rejected[0]?.reason).to.match(reason);
    });

  it('takes out an entry that is wrong as a whole, with all its reasons', () => {
    const wrong = mesh([good], {
      host: 'a_b.test',
      namespace: 'No Namespace',
      ports: [
        { name: 'http', number: 80, protocol: 'http' },
        { name: 'http', number: 0, protocol: 'http' },
      ],
    });
    const { resource, rejected } = checkServiceEntry(serviceEntries(wrong)[0] as IstioResource<'ServiceEntry'>);
    expect(resource).to.equal(undefined);
    expect(rejected[0]?.reason).to.match(/namespace.*name "a_b\.test".*host "a_b\.test".*port 0.*two ports/);
  });
});

describe('encoding', () => {
  const resource = only(serviceEntries(mesh([endpoint('10.0.0.1', { http: 1 }, { labels: { b: '2', a: '1' } })])));

  it('wraps a resource as istiod expects it', () => {
    const { field } = encodeResource(resource, scope);
    const [any] = DiscoveryResponse.decode(field).resources;
    expect(any?.typeUrl).to.equal('type.googleapis.com/istio.mcp.v1alpha1.Resource');
    const { metadata, body } = Resource.decode(any?.value ?? new Uint8Array());
    expect(metadata?.name).to.equal('shop/orders.test');
    expect(metadata?.createTime?.seconds).to.equal(Date.UTC(2026, 10, 1) / 1000);
    expect(body?.typeUrl).to.equal('type.googleapis.com/istio.networking.v1alpha3.ServiceEntry');
    expect(ServiceEntry.decode(body?.value ?? new Uint8Array()).hosts).to.deep.equal(['orders.test']);
  });

  it('has a version that follows the content alone', () => {
    const same = only(serviceEntries(mesh([endpoint('10.0.0.1', { http: 1 }, { labels: { a: '1', b: '2' } })])));
    const other = only(serviceEntries(mesh([endpoint('10.0.0.1', { http: 2 })])));
    expect(encodeResource(same, scope)).to.deep.equal(encodeResource(resource, scope));
    expect(encodeResource(other, scope).version).not.to.equal(encodeResource(resource, scope).version);
  });

  it('answers both type URLs', () => {
    expect(typeOfUrl('networking.istio.io/v1/ServiceEntry')).to.equal('ServiceEntry');
    expect(typeOfUrl('networking.istio.io/v1alpha3/ServiceEntry')).to.equal('ServiceEntry');
    expect(typeOfUrl('networking.istio.io/v1/DestinationRule')).to.equal(undefined);
  });
});
