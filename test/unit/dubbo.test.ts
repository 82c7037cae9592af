import { expect } from 'chai';
import {
  type ApplicationRecord,
  applicationProviders,
  fold,
  type InterfaceRecords,
  type ProviderRecord,
  parseApplicationInstance,
  parseApplicationMetadata,
  parseConsumer,
  parseMapping,
  parseProvider,
  parseServiceDefinition,
} from '#adapters/dubbo/index.js';

// Written by real providers of Dubbo 3.3.4.
const providerNode =
  'dubbo%3A%2F%2F192.0.2.2%3A20882%2Fderisk.Greeter%3Fapplication%3Dgreet-provider%26deprecated%3Dfalse%26dubbo%3D2.0.2%26dynamic%3Dtrue%26generic%3Dfalse%26group%3Dg1%26interface%3Dderisk.Greeter%26logger%3Dslf4j%26metadata-service-port%3D21882%26methods%3Dadd%2Chello%26prefer.serialization%3Dhessian2%2Cfastjson2%26release%3D3.3.4%26revision%3D1.0.0%26service-name-mapping%3Dtrue%26side%3Dprovider%26timeout%3D2000%26timestamp%3D1795386537623%26version%3D1.0.0%26weight%3D50%26zone%3Dz1';
const triNode =
  'tri%3A%2F%2F192.0.2.2%3A50051%2Fderisk.Greeter%3Fapplication%3Dgreet-provider%26interface%3Dderisk.Greeter%26side%3Dprovider%26timestamp%3D1795386554302%26weight%3D100';
const consumerNode =
  'consumer%3A%2F%2F192.0.2.2%2Fderisk.Greeter%3Fapplication%3Dgreet-consumer%26category%3Dconsumers%26check%3Dfalse%26group%3Dgx%26interface%3Dderisk.Greeter%26side%3Dconsumer%26timestamp%3D1795386629831%26version%3D2.0';
const instanceNode = JSON.stringify({
  name: 'greet-provider',
  id: '192.0.2.2:20882',
  address: '192.0.2.2',
  port: 20882,
  sslPort: null,
  payload: {
    '@class': 'org.apache.dubbo.registry.zookeeper.ZookeeperInstance',
    id: '192.0.2.2:20882',
    name: 'greet-provider',
    metadata: {
      'dubbo.endpoints': '[{"port":20882,"protocol":"dubbo"}]',
      'dubbo.metadata-service.url-params': '{"version":"1.0.0","port":"21882","protocol":"dubbo"}',
      'dubbo.metadata.revision': 'fb63e1924797c267fbef08ec7a6e98d5',
      'dubbo.metadata.storage-type': 'local',
      'meta-v': '1.0.0',
      timestamp: '1795386537623',
    },
  },
  registrationTimeUTC: 1795386538301,
  serviceType: 'DYNAMIC',
  uriSpec: null,
});
const metadataNode =
  '{"app":"greet-provider","revision":"17ec905b476d59a3b5100c4af11e0c85","services":{"derisk.Greeter:tri":{"name":"derisk.Greeter","params":{"side":"provider","release":"3.3.4","weight":"70","interface":"derisk.Greeter","application":"greet-provider","zone":"z1"},"path":"derisk.Greeter","port":50052,"protocol":"tri"}}}';
const definitionNode =
  '{"annotations":[],"canonicalName":"derisk.Greeter","parameters":{"anyhost":"true","interface":"derisk.Greeter","version":"1.0.0","application":"greet-provider","group":"g1","side":"provider","weight":"50","bind.port":"20882","bind.ip":"192.0.2.2","zone":"z1","timestamp":"1795386537623"},"types":[],"uniqueId":"x"}';
const springNode =
  '{"name":"orders","id":"8f6c","address":"192.0.2.9","port":8080,"payload":{"@class":"org.springframework.cloud.zookeeper.discovery.ZookeeperInstance","id":"orders","name":"orders","metadata":{"instance_status":"UP"}},"registrationTimeUTC":1,"serviceType":"DYNAMIC"}';

function node(url: string): string {
  return encodeURIComponent(url);
}

function provider(record: ProviderRecord) {
  if (record.kind !== 'provider') throw new Error(`it is ${JSON.stringify(record)}`);
  return record;
}

function reason(record: ProviderRecord): string {
  if (record.kind !== 'rejected') throw new Error(`it is ${JSON.stringify(record)}`);
  return record.rejection.reason;
}

function instance(json = instanceNode) {
  const found = parseApplicationInstance(json);
  if (found === undefined) throw new Error('it is not of Dubbo');
  return found;
}

function records(more: Partial<InterfaceRecords>): InterfaceRecords {
  return {
    registry: 'zk',
    interface: 'derisk.Greeter',
    providers: [],
    applications: [],
    consumers: [],
    otherwise: [],
    rejected: [],
    ...more,
  };
}

function services(more: Partial<InterfaceRecords>) {
  return fold(records(more)).services;
}

function endpoints(more: Partial<InterfaceRecords>) {
  return services(more).map(({ key, instances }) => [
    key.group,
    key.version,
    instances.map(({ address, ports }) => `${ports[0]?.protocol}://${address}:${ports[0]?.number}`),
  ]);
}

describe('Dubbo provider URL', () => {
  it('is read as a real provider writes it', () => {
    const { service, instance } = provider(parseProvider(providerNode));
    expect(service).to.deep.equal({ interface: 'derisk.Greeter', group: 'g1', version: '1.0.0' });
    expect(instance).to.deep.include({
      id: 'dubbo://192.0.2.2:20882/derisk.Greeter',
      address: '192.0.2.2',
      ports: [{ name: '', protocol: 'dubbo', number: 20882 }],
      status: 'UP',
      weight: 50,
      zone: 'z1',
      changedAt: 1795386537623,
    });
    expect(instance.metadata).to.include({
      methods: 'add,hello',
      timeout: '2000',
      'prefer.serialization': 'hessian2,fastjson2',
    });
  });

  it('of tri is read with neither group nor version', () => {
    const { service, instance } = provider(parseProvider(triNode));
    expect(service).to.deep.equal({ interface: 'derisk.Greeter', group: '', version: '' });
    expect(instance.ports).to.deep.equal([{ name: '', protocol: 'tri', number: 50051 }]);
  });

  it('is decoded exactly once, as Java encodes', () => {
    const { service, instance } = provider(
      parseProvider(`${node('dubbo://10.0.0.1:1/a.B?version=1.0.0+build.5&owner=me%20too&application=')}my+app`),
    );
    expect(service.version).to.equal('1.0.0+build.5');
    expect(instance.metadata).to.include({ owner: 'me%20too', application: 'my app' });
  });

  it('has weight 100 unless it says another, and never less than 0', () => {
    const weight = (query: string) => provider(parseProvider(node(`dubbo://10.0.0.1:1/a.B?${query}`))).instance.weight;
    expect(['', 'weight=0', 'weight=7', 'weight=-3', 'weight=heavy', 'default.weight=9'].map(weight)).to.deep.equal([
      100, 0, 7, 0, 100, 9,
    ]);
  });

  it('says whether the provider is disabled', () => {
    const status = (query: string) => provider(parseProvider(node(`dubbo://10.0.0.1:1/a.B?${query}`))).instance.status;
    expect(['disabled=true', 'enabled=false', 'disabled=false&enabled=true'].map(status)).to.deep.equal([
      'disabled',
      'disabled',
      'UP',
    ]);
  });

  it('may have IPv6 addresses, names, users, and other protocols that a mesh can carry', () => {
    const read = (url: string) => {
      const { instance } = provider(parseProvider(node(url)));
      return [instance.address, instance.ports[0]?.protocol, instance.ports[0]?.number];
    };
    expect(read('dubbo://[2001:DB8::1]:20880/a.B')).to.deep.equal(['2001:db8::1', 'dubbo', 20880]);
    expect(read('dubbo://2001:db8:0:0:0:0:0:1:20880/a.B')).to.deep.equal(['2001:db8::1', 'dubbo', 20880]);
    expect(read('tri://me:secret@Node-1.example:50051/a.B')).to.deep.equal(['node-1.example', 'tri', 50051]);
    expect(read('rest://10.0.0.1:8080/ctx/a.B?interface=a.B')).to.deep.equal(['10.0.0.1', 'http', 8080]);
  });

  it('takes version 0.0.0 for none, as Dubbo does', () => {
    expect(provider(parseProvider(node('dubbo://10.0.0.1:1/a.B?version=0.0.0'))).service.version).to.equal('');
  });

  it('is no provider in another category, nor when it is empty', () => {
    expect(parseProvider(node('override://0.0.0.0/a.B?category=configurators')).kind).to.equal('none');
    expect(parseProvider(node('dubbo://10.0.0.1:1/a.B?category=routers')).kind).to.equal('none');
    expect(parseProvider(node('empty://10.0.0.1/a.B?category=providers')).kind).to.equal('none');
    expect(parseProvider(node('dubbo://10.0.0.1:1/a.B?category=providers')).kind).to.equal('provider');
  });

  it('that cannot be used is rejected with its reason', () => {
    const long = 'x'.repeat(10_000);
    expect(reason(parseProvider('not a URL'))).to.include('"not a URL" is not a URL');
    expect(reason(parseProvider('%zz'))).to.include('not percent-encoded');
    expect(reason(parseProvider('%ff%fe'))).to.include('not percent-encoded');
    expect(reason(parseProvider(node('dubbo://10.0.0.1:0/a.B')))).to.include('port "0"');
    expect(reason(parseProvider(node('dubbo://10.0.0.1:70000/a.B')))).to.include('port "70000"');
    expect(reason(parseProvider(node('dubbo://10.0.0.1/a.B')))).to.include('port ""');
    expect(reason(parseProvider(node('dubbo://:20880/a.B')))).to.include('no address');
    expect(reason(parseProvider(node('dubbo://0.0.0.0:20880/a.B')))).to.include('unspecified');
    expect(reason(parseProvider(node('dubbo://300.1.1.1:20880/a.B')))).to.include('neither an IP address');
    expect(reason(parseProvider(node('dubbo://fe80::1%eth0:20880/a.B')))).to.include('zone');
    expect(reason(parseProvider(node('rmi://10.0.0.1:1099/a.B')))).to.include('"rmi"');
    expect(reason(parseProvider(node('dubbo://10.0.0.1:1')))).to.include('interface');
    expect(reason(parseProvider(node(`dubbo://10.0.0.1:1/a.B?group=${long}`)))).to.include('no names');
    expect(parseProvider(node(`dubbo://10.0.0.1:1/a.B?owner=${long}`)).kind, 'a long value').to.equal('provider');
    const huge = parseProvider(node(`dubbo://10.0.0.1:1/${long}`));
    expect(huge).to.have.property('service', undefined);
    expect(JSON.stringify(huge).length).to.be.below(400);
  });
});

describe('Dubbo application', () => {
  it('has instances as a real provider registers them', () => {
    expect(instance()).to.deep.include({
      application: 'greet-provider',
      address: '192.0.2.2',
      endpoints: [{ port: 20882, protocol: 'dubbo' }],
      revision: 'fb63e1924797c267fbef08ec7a6e98d5',
      remoteMetadata: false,
      changedAt: 1795386537623,
    });
  });

  it("is not of Dubbo when its instances are Spring Cloud's", () => {
    expect(parseApplicationInstance(springNode)).to.equal(undefined);
  });

  it('says what is wrong with an instance', () => {
    expect(() => parseApplicationInstance('')).to.throw('no data');
    expect(() => parseApplicationInstance('127.0.0.1')).to.throw('not JSON');
    expect(() => parseApplicationInstance('null')).to.throw('expected object');
    expect(() => parseApplicationInstance('{"name":"a","address":7}')).to.throw('address');
    expect(() => instance(instanceNode.replace('[{\\"port', '{{\\"port'))).to.throw('not JSON');
  });

  it('provides what its metadata says, and nothing else', () => {
    const metadata = parseApplicationMetadata(metadataNode);
    const found = applicationProviders('derisk.Greeter', instance(), metadata, []);
    expect(found).to.have.lengthOf(1);
    expect(found[0]?.certain).to.equal(true);
    const record = provider(found[0]?.record ?? { kind: 'none' });
    expect(record.service).to.deep.equal({ interface: 'derisk.Greeter', group: '', version: '' });
    expect(record.instance).to.deep.include({
      address: '192.0.2.2',
      ports: [{ name: '', protocol: 'tri', number: 50052 }],
      weight: 70,
      zone: 'z1',
      changedAt: 1795386537623,
    });
    expect(applicationProviders('other.Greeter', instance(), metadata, [])).to.deep.equal([]);
  });

  it('provides what its definitions say where there is no metadata; their weight counts for their writer only', () => {
    const definition = parseServiceDefinition(definitionNode, 'derisk.Greeter', 'greet-provider');
    const read = (json: string) =>
      applicationProviders('derisk.Greeter', instance(json), undefined, [definition]).map(({ record }) => {
        const { service, instance } = provider(record);
        return [service.group, service.version, instance.weight, instance.zone];
      });
    expect(read(instanceNode)).to.deep.equal([['g1', '1.0.0', 50, 'z1']]);
    expect(read(instanceNode.replaceAll('192.0.2.2', '192.0.2.3'))).to.deep.equal([['g1', '1.0.0', 100, '']]);
  });

  it('without metadata or definition provides the interface without group and version', () => {
    const [found] = applicationProviders('derisk.Greeter', instance(), undefined, []);
    expect(found?.certain).to.equal(false);
    expect(found && provider(found.record).service).to.deep.equal({
      interface: 'derisk.Greeter',
      group: '',
      version: '',
    });
  });

  it('leaves out a definition of an earlier deployment beside a younger one', () => {
    const written = (version: string, timestamp: number) =>
      parseServiceDefinition(
        JSON.stringify({ parameters: { version, timestamp: String(timestamp) } }),
        'derisk.Greeter',
        'greet-provider',
      );
    const versions = (...definitions: ReturnType<typeof written>[]) =>
      applicationProviders('derisk.Greeter', instance(), undefined, definitions).map(
        ({ record }) => provider(record).service.version,
      );
    expect(versions(written('1', 1795386537623 - 86_400_000), written('2', 1795386537623))).to.deep.equal(['2']);
    expect(versions(written('1', 1795386537623 - 1000), written('2', 1795386537623))).to.deep.equal(['1', '2']);
    expect(versions(written('1', 1))).to.deep.equal(['1']);
  });

  it('has one endpoint per protocol', () => {
    const json = instanceNode.replace('[{', '[{\\"port\\":50051,\\"protocol\\":\\"tri\\"},{');
    expect(applicationProviders('derisk.Greeter', instance(json), undefined, [])).to.have.lengthOf(2);
  });

  it('says what is wrong with its metadata', () => {
    expect(() => parseApplicationMetadata('[]')).to.throw('expected object');
    expect(() => parseApplicationMetadata('<html>')).to.throw('not JSON');
    expect(() => parseServiceDefinition('127.0.0.1', 'a.B', 'a')).to.throw();
  });

  it('is named by a mapping', () => {
    expect(parseMapping('b, a,,b')).to.deep.equal(['a', 'b']);
    expect(parseMapping('')).to.deep.equal([]);
  });
});

describe('Dubbo interface', () => {
  const atBothLevels = (): { providers: ProviderRecord[]; applications: ApplicationRecord[] } => ({
    providers: [parseProvider(providerNode)],
    applications: applicationProviders('derisk.Greeter', instance(), undefined, []),
  });

  it('has each endpoint once, in one service, when it is registered at both levels', () => {
    expect(endpoints(atBothLevels())).to.deep.equal([['g1', '1.0.0', ['dubbo://192.0.2.2:20882']]]);
    expect(fold(records(atBothLevels())).wantsDefinitions).to.equal(false);
  });

  it('has the same service at either level', () => {
    const definition = parseServiceDefinition(definitionNode, 'derisk.Greeter', 'greet-provider');
    const { providers } = atBothLevels();
    const applications = applicationProviders('derisk.Greeter', instance(), undefined, [definition]);
    const [byInterface] = services({ providers });
    const [byApplication] = services({ applications });
    expect(byApplication?.key).to.deep.equal(byInterface?.key);
    expect(byApplication?.instances[0]).to.deep.include({ address: '192.0.2.2', weight: 50, zone: 'z1' });
    expect(fold(records({ applications })).wantsDefinitions).to.equal(true);
  });

  it('has one service for each group and version, in order', () => {
    const urls = ['?version=2', '?group=b', '', '?group=a&version=2'];
    const providers = urls.map((query, index) =>
      parseProvider(node(`dubbo://10.0.0.${index + 1}:1/derisk.Greeter${query}`)),
    );
    expect(services({ providers }).map(({ key }) => `${key.group}/${key.version}`)).to.deep.equal([
      '/',
      '/2',
      'a/2',
      'b/',
    ]);
    expect(services({ providers: [...providers].reverse() })).to.deep.equal(services({ providers }));
  });

  it('takes the younger of two records for one address and port', () => {
    const written = (protocol: string, timestamp: number, weight: number) =>
      parseProvider(node(`${protocol}://10.0.0.1:1/derisk.Greeter?timestamp=${timestamp}&weight=${weight}`));
    const old = written('dubbo', 1_000_000, 1);
    const young = written('tri', 2_000_000, 2);
    for (const providers of [
      [old, young],
      [young, old],
    ])
      expect(services({ providers })[0]?.instances.map(({ weight }) => weight)).to.deep.equal([2]);
    const both = [written('tri', 2_000_005, 1), written('dubbo', 2_000_000, 2)];
    expect(endpoints({ providers: both })).to.deep.equal([['', '', ['dubbo://10.0.0.1:1']]]);
  });

  it('without providers is empty: as published, or else without group and version', () => {
    expect(endpoints({})).to.deep.equal([['', '', []]]);
    const otherwise = [{ interface: 'derisk.Greeter', group: 'g', version: '1' }];
    expect(endpoints({ otherwise })).to.deep.equal([['g', '1', []]]);
    expect(endpoints({ otherwise, providers: [parseProvider(triNode)] })).to.have.lengthOf(1);
    expect(fold(records({})).wantsDefinitions).to.equal(true);
  });

  it('shows what was rejected beside what is good', () => {
    const providers = [
      parseProvider(providerNode),
      parseProvider('garbage'),
      parseProvider(node('dubbo://10.0.0.1:0/derisk.Greeter?group=g1&version=1.0.0')),
      parseProvider(node('dubbo://10.0.0.1:1/other.Greeter')),
    ];
    const found = services({ providers });
    expect(found).to.have.lengthOf(1);
    expect(found[0]?.instances).to.have.lengthOf(1);
    expect(found[0]?.rejected.map(({ record }) => record)).to.deep.equal([
      'dubbo://10.0.0.1:0/derisk.Greeter',
      'dubbo://10.0.0.1:1/other.Greeter',
      'garbage',
    ]);
  });

  it('has the consumers that ask for its group and version', () => {
    const consumer = (query: string) =>
      parseConsumer(node(`consumer://10.0.0.9/derisk.Greeter?application=c${query.length}${query}`));
    const providers = [parseProvider(providerNode)];
    const consumers = [
      consumer('&group=g1&version=1.0.0'),
      consumer('&group=*&version=*'),
      consumer('&group=g0,g1&version=1.0.0'),
      consumer('&group=g2&version=1.0.0'),
      consumer(''),
      parseConsumer(consumerNode),
      parseConsumer('garbage'),
    ];
    const [found] = services({ providers, consumers });
    expect(found?.consumers.map(({ application }) => application)).to.deep.equal(['c18', 'c23', 'c26']);
    expect(found?.rejected.map(({ record }) => record)).to.deep.equal(['garbage']);
    expect(parseConsumer(consumerNode)).to.deep.equal({
      kind: 'consumer',
      service: { interface: 'derisk.Greeter', group: 'gx', version: '2.0' },
      consumer: { application: 'greet-consumer', address: '192.0.2.2' },
    });
  });
});
