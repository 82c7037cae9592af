import { expect } from 'chai';
import {
  applicationProviders,
  fold,
  type InterfaceRecords,
  type OverrideRecord,
  parseApplicationInstance,
  parseApplicationMetadata,
  parseConfigurators,
  parseOverride,
  parseProvider,
  parseRouter,
  routerDocumentNote,
  ruleDocument,
} from '#adapters/dubbo/index.js';

const iface = 'demo.Greeter';

function provider(host: string, params = '') {
  return parseProvider(encodeURIComponent(`dubbo://${host}/${iface}?interface=${iface}&application=p${params}`));
}

const first = provider('192.0.2.1:20880', '&weight=100&zone=z1');
const second = provider('192.0.2.2:20881', '&weight=100&zone=z2');

function node(url: string): OverrideRecord {
  return parseOverride(encodeURIComponent(url));
}

/** The only service, with two providers unless said otherwise. */
function folded(rules: readonly OverrideRecord[], more: Partial<InterfaceRecords> = {}) {
  const records = { registry: 'zk', interface: iface, providers: [first, second], applications: [], consumers: [] };
  const [service] = fold({ ...records, otherwise: [], rejected: [], rules, ...more }).services;
  if (service === undefined) throw new Error('no service');
  const notes = (service.notes ?? []).map(({ text }) => text);
  return { service, notes, weights: service.instances.map(({ weight }) => weight) };
}

function statuses(rules: readonly OverrideRecord[]): string[] {
  return folded(rules).service.instances.map(({ status }) => status);
}

function yaml(configs: string, head = `scope: service\nkey: ${iface}`): OverrideRecord[] {
  return parseConfigurators(`configVersion: v2.7\n${head}\nenabled: true\nconfigs:\n${configs}`, 'rules');
}

const base = `${iface}?category=configurators&dynamic=false`;

describe('Dubbo override rule in a znode', () => {
  it('is for the provider whose host and port it names', () => {
    const { weights, notes, service } = folded([node(`override://192.0.2.2:20881/${base}&weight=5`)]);
    expect(weights).to.deep.equal([100, 5]);
    expect(notes).to.deep.equal(['sets weight=5 at 1 of 2 providers']);
    expect(service.notes?.[0]?.record).to.equal(`override://192.0.2.2:20881/${iface}`);
  });

  it('is for all providers at 0.0.0.0, and for those on a port at 0.0.0.0:port', () => {
    expect(folded([node(`override://0.0.0.0/${base}&weight=5`)]).weights).to.deep.equal([5, 5]);
    expect(folded([node(`override://0.0.0.0:20880/${base}&weight=5`)]).weights).to.deep.equal([5, 100]);
  });

  it('takes providers out and brings them back', () => {
    expect(statuses([node(`override://192.0.2.1:20880/${base}&disabled=true`)])).to.deep.equal(['disabled', 'UP']);
    const off = provider('192.0.2.1:20880', '&disabled=true');
    const { service } = folded([node(`override://0.0.0.0/${base}&disabled=false`)], { providers: [off] });
    expect(service.instances[0]?.status).to.equal('UP');
  });

  it('leaves what the registry itself says of a provider, unless the rule takes it out', () => {
    const told = (status: string) => (first.kind === 'provider' ? { ...first, status } : first);
    const status = (rule: string, word: string) =>
      folded([node(`override://0.0.0.0/${base}&${rule}`)], { providers: [told(word)] }).service.instances[0]?.status;
    expect(status('timeout=5', 'unhealthy')).to.equal('unhealthy');
    expect(status('disabled=false', 'disabled')).to.equal('disabled');
    expect(status('disabled=true', 'unhealthy')).to.equal('disabled');
  });

  it('has no effect on a mesh when it is for some consumers, for providers, or for nobody', () => {
    const texts = [
      `override://192.0.2.7/${base}&weight=5`,
      `override://0.0.0.0/${base}&weight=5&application=shop`,
      `override://shop@0.0.0.0/${base}&weight=5`,
      `override://0.0.0.0/${base}&weight=5&side=provider`,
      `override://0.0.0.0/${base}&weight=5&enabled=false`,
      `override://0.0.0.0/${base}&weight=5&compatible_config=true`,
      `override://0.0.0.0/${base}`,
      `override://192.0.2.9:1/${base}&weight=5`,
      `override://0.0.0.0/${base}&weight=5&version=9`,
      `override://0.0.0.0/${base}&weight=5&~zone=z1`,
    ];
    const found = texts.map((text) => folded([node(text)]));
    for (const { weights } of found) expect(weights).to.deep.equal([100, 100]);
    expect(found.map(({ notes }) => notes.join())).to.deep.equal([
      'no effect: it is for consumers on host 192.0.2.7 alone',
      'no effect: it is for the consumers of application shop alone',
      'no effect: it is for the consumers of application shop alone',
      'no effect: it is for providers, which apply it themselves and register anew',
      'no effect: it is not enabled',
      'no effect: it is a copy for Dubbo 2.6',
      'no effect: it sets nothing',
      'no effect: it is for none of the 2 providers',
      'no effect: it is for demo.Greeter:9, which has no provider',
      'no effect: it is for none of the 2 providers',
    ]);
  });

  it('gives way to a rule whose host sorts later, or of a greater priority', () => {
    const all = node(`override://0.0.0.0/${base}&weight=5`);
    const one = node(`override://192.0.2.2:20881/${base}&weight=7`);
    expect(folded([one, all]).weights).to.deep.equal([5, 7]);
    const strong = node(`override://0.0.0.0/${base}&weight=9&priority=2`);
    expect(folded([strong, all]).weights).to.deep.equal([9, 9]);
  });

  it('that is absent:// sets what no other rule sets, whatever the provider says', () => {
    const absent = node(`absent://0.0.0.0/${base}&weight=5`);
    expect(folded([absent]).weights).to.deep.equal([5, 5]);
    expect(folded([node(`override://0.0.0.0/${base}&weight=8`), absent]).weights).to.deep.equal([8, 8]);
  });

  it('that cannot be read is rejected, and the others count', () => {
    const { weights, service } = folded([
      parseOverride('%zz'),
      node(`dubbo://0.0.0.0/${base}`),
      node(`override://0.0.0.0/${base}&weight=5`),
    ]);
    expect(weights).to.deep.equal([5, 5]);
    expect(service.rejected.map(({ reason }) => reason)).to.deep.equal([
      '"%zz" is not percent-encoded UTF-8',
      '"dubbo://0.0.0.0/demo.Greeter" is no rule: expected override:// or absent://',
    ]);
  });

  it('shows no values that may be secret', () => {
    expect(folded([node(`override://0.0.0.0/${base}&token=s3cret&timeout=7`)]).notes).to.deep.equal([
      'sets timeout=7, token at 2 of 2 providers',
    ]);
  });
});

describe('Dubbo rules in the config centre', () => {
  it('are for all providers, or those whose addresses they name', () => {
    expect(folded(yaml('- {side: consumer, parameters: {weight: 5}}')).weights).to.deep.equal([5, 5]);
    for (const address of ['192.0.2.2:20881', '192.0.2.2', '0.0.0.0:20881'])
      expect(
        folded(yaml(`- {side: consumer, providerAddresses: ['${address}'], parameters: {weight: 5}}`)).weights,
      ).to.deep.equal([100, 5]);
  });

  it('come after those in znodes, and in their own order', () => {
    const znode = node(`override://192.0.2.2:20881/${base}&weight=7`);
    const document = yaml('- {side: consumer, parameters: {weight: 5}}\n- {side: consumer, parameters: {weight: 6}}');
    expect(folded([...document, znode]).weights).to.deep.equal([6, 6]);
  });

  it('have no effect when they are for providers, for nobody, for other services or for some consumers', () => {
    const { notes, weights } = folded([
      ...yaml('- {side: provider, parameters: {weight: 5}}\n- {parameters: {weight: 5}}'),
      ...yaml('- {side: consumer, applications: [shop], parameters: {weight: 5}}'),
      ...yaml('- {side: consumer, addresses: [192.0.2.7], parameters: {weight: 5}}'),
      ...yaml('- {side: consumer, parameters: {weight: 5}}', 'scope: application\nkey: shop'),
      ...yaml('- {side: consumer, parameters: {weight: 5}}', `scope: service\nkey: g1/${iface}:2.0`),
      ...yaml('- {side: consumer, type: weight, parameters: {weight: 5}}'),
    ]);
    expect(weights).to.deep.equal([100, 100]);
    expect(notes).to.have.members([
      'no effect: it is for providers, which apply it themselves and register anew',
      'no effect: it has no side (consumer or provider), and Dubbo applies it nowhere',
      'no effect: it is for the consumers of application shop alone',
      'no effect: it is for consumers on host 192.0.2.7 alone',
      'no effect: it is for the consumers of application shop alone',
      'no effect: it is for g1/demo.Greeter:2.0, which has no provider',
      'no effect: it is not enabled',
    ]);
  });

  it('of version v3.0 match by provider address, service and parameter', () => {
    const v3 = (match: string) =>
      folded(
        parseConfigurators(
          `{configVersion: v3.0, scope: service, key: ${iface}, configs: [{side: consumer, match: ${match}, parameters: {weight: 5}}]}`,
          'rules',
        ),
      );
    expect(v3('{providerAddress: {wildcard: "192.0.2.2*"}}').weights).to.deep.equal([100, 5]);
    expect(v3('{providerAddress: {cird: 192.0.2.0/24}}').weights).to.deep.equal([100, 100]);
    expect(v3(`{service: {oneof: [{exact: ${iface}}]}}`).weights).to.deep.equal([5, 5]);
    expect(v3('{address: {wildcard: "*"}}').weights).to.deep.equal([5, 5]);
    expect(v3('{param: [{key: side, value: {exact: consumer}}]}').weights).to.deep.equal([5, 5]);
    expect(v3('{param: [{key: zone, value: {regex: "(z+)+1"}}]}').notes).to.deep.equal([
      'no effect: it matches by a regular expression, which is not tried',
    ]);
    expect(v3('{app: {oneof: [{exact: shop}]}}').notes).to.deep.equal([
      'no effect: it is for the consumers of some applications alone',
    ]);
  });

  it('see the parameters of instances of applications, and only there', () => {
    const instance = parseApplicationInstance(
      JSON.stringify({
        name: 'p',
        address: '192.0.2.3',
        port: 20880,
        payload: {
          metadata: { 'dubbo.metadata.revision': '1', 'dubbo.endpoints': '[{"port":20880,"protocol":"dubbo"}]' },
        },
      }),
    );
    if (instance === undefined) throw new Error('no instance');
    const metadata = parseApplicationMetadata(
      JSON.stringify({ services: { a: { name: iface, protocol: 'dubbo', path: iface, params: { zone: 'z1' } } } }),
    );
    const applications = applicationProviders(iface, instance, metadata, []);
    const rules = [...yaml('- {side: consumer, parameters: {weight: 5, "~zone": z1}}')];
    expect(folded(rules, { applications }).weights).to.deep.equal([100, 100, 5]);
    const nodes = [node(`override://0.0.0.0/${base}&weight=5`)];
    expect(folded(nodes, { applications }).weights).to.deep.equal([5, 5, 100]);
  });

  it('may be a list of URLs', () => {
    const list = JSON.stringify([`override://0.0.0.0/${base}&weight=5`]);
    expect(folded(parseConfigurators(list, 'rules')).weights).to.deep.equal([5, 5]);
  });

  it('are void as a whole where anything in them is wrong', () => {
    for (const text of [
      '{',
      'a: b',
      `key: ${iface}\nconfigs: [{side: consumer}]`,
      `key: x\nconfigVersion: 3.0\nconfigs: []`,
    ]) {
      const { service, weights } = folded(parseConfigurators(text, 'rules'));
      expect(weights).to.deep.equal([100, 100]);
      expect(service.rejected[0]?.record).to.equal('rules');
      expect(service.rejected[0]?.reason).to.match(/^the rules are void: ./);
    }
    expect(parseConfigurators('', 'rules')).to.deep.equal([]);
  });

  it('are found by the names of their documents', () => {
    expect(ruleDocument(`${iface}:1.0:g.configurators`)).to.deep.equal({
      kind: 'configurators',
      service: { interface: iface, version: '1.0', group: 'g' },
      name: iface,
    });
    expect(ruleDocument(`${iface}::.condition-router`)?.service).to.deep.equal({
      interface: iface,
      version: '',
      group: '',
    });
    expect(ruleDocument('shop.tag-router')).to.deep.equal({ kind: 'router', service: undefined, name: 'shop' });
    expect(ruleDocument('shop.properties')).to.equal(undefined);
  });
});

describe('Dubbo routing rules', () => {
  it('are told as notes', () => {
    const url = `condition://0.0.0.0/${iface}?category=routers&rule=%3D%3E+host`;
    const notes = [parseRouter(encodeURIComponent(url)), routerDocumentNote(`${iface}:9:.condition-router`)];
    const { service } = folded([], { notes: notes.filter((note) => note !== undefined) });
    expect(service.notes?.map(({ record, text }) => `${record} ${text.slice(0, 26)}`)).to.deep.equal([
      `condition://0.0.0.0/${iface} not applied: a routing rul`,
      `${iface}:9:.condition-router not applied: a routing rul`,
    ]);
  });
});

describe('Dubbo warm-up', () => {
  const warmup = (params: string) => {
    const read = provider('192.0.2.1:20880', params);
    return read.kind === 'provider' ? read.instance.warmup : undefined;
  };

  it('lasts ten minutes from the start, or as long as the provider says', () => {
    expect(warmup('&timestamp=1795386537623')).to.deep.equal({ since: 1795386537623, length: 600_000 });
    expect(warmup('&timestamp=1795386537623&warmup=3000')).to.deep.equal({ since: 1795386537623, length: 3000 });
  });

  it('is none at 0 or less, or without the time of the start', () => {
    for (const params of ['&timestamp=1795386537623&warmup=0', '&timestamp=1&warmup=-1', '&warmup=1000', ''])
      expect(warmup(params)).to.equal(undefined);
  });
});
