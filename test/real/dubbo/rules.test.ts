import { setTimeout as sleep } from 'node:timers/promises';
import { expect } from 'chai';
import {
  fold,
  type OverrideRecord,
  parseApplicationInstance,
  parseConfigurators,
  parseOverride,
  parseProvider,
} from '#adapters/dubbo/index.js';
import { askMetadata } from '#adapters/dubbo/metadata.js';
import { Writer } from '#test/real/zookeeper/harness.js';
import {
  type DubboConsumer,
  type DubboProvider,
  GREETER,
  startDubboConsumer,
  startDubboProvider,
} from '#test/servers/dubbo.js';
import { until } from '#test/servers/probes.js';
import { requireServers } from '#test/servers/require.js';
import { startZookeeper, type Zookeeper } from '#test/servers/zookeeper.js';

const calls = 120;
/** ms in which a consumer has heard of a change. */
const hearing = 1_000;

describe('Dubbo rules, beside a real consumer', function () {
  this.timeout(180_000);
  let zookeeper: Zookeeper;
  let writer: Writer;
  let consumer: DubboConsumer;
  const providers: DubboProvider[] = [];
  const configurators = `/dubbo/${GREETER}/configurators`;
  const document = `/dubbo/config/dubbo/${GREETER}::.configurators`;
  const nodes: string[] = [];

  before(async function () {
    await requireServers(this, 'zookeeper', 'dubbo');
    zookeeper = await startZookeeper();
    writer = await new Writer(zookeeper.port).open();
    // Providers that know no registry: what is seen is what the consumer does, and never what they do themselves.
    for (const name of ['one', 'two']) {
      const provider = await startDubboProvider({ name });
      providers.push(provider);
      const params = `application=${name}&interface=${GREETER}&side=provider&weight=100&zone=${name}`;
      nodes.push(encodeURIComponent(`dubbo://${provider.address}/${GREETER}?${params}`));
      await writer.create(`/dubbo/${GREETER}/providers/${nodes.at(-1)}`);
    }
    consumer = await startDubboConsumer({ zookeeper: zookeeper.connectString });
    await until('both answer', async () => (await share()) > 0.2 && (await share()) < 0.8, 30_000, 200);
  });

  after(async () => {
    await consumer?.stop();
    await Promise.all(providers.map((provider) => provider.stop()));
    await writer?.close();
    await zookeeper?.stop();
  });

  afterEach(async () => {
    if (await writer.exists(document)) await writer.remove(document);
    // Dubbo never looks again at a folder that was deleted.
    for (const name of await writer.children(configurators)) await writer.remove(`${configurators}/${name}`);
  });

  /** How many of the consumer's calls the first provider answers, of 1. */
  async function share(): Promise<number> {
    let first = 0;
    for (let i = 0; i < calls; i++) if ((await consumer.call('x')).endsWith(' one')) first++;
    return first / calls;
  }

  /** What our model makes of the same records. */
  function modelled(rules: readonly OverrideRecord[]) {
    const records = {
      registry: 'zk',
      interface: GREETER,
      applications: [],
      consumers: [],
      otherwise: [],
      rejected: [],
    };
    const [service] = fold({ ...records, providers: nodes.map(parseProvider), rules }).services;
    const instances = service?.instances ?? [];
    const weights = providers.map(({ address }) => {
      const found = instances.find((one) => `${one.address}:${one.ports[0]?.number}` === address);
      return found?.status === 'UP' ? found.weight : 0;
    });
    return { share: (weights[0] ?? 0) / weights.reduce((sum, weight) => sum + weight, 0), notes: service?.notes };
  }

  async function agree(rules: readonly OverrideRecord[], expected: number): Promise<void> {
    const { share: ours, notes } = modelled(rules);
    expect(ours, JSON.stringify(notes)).to.be.closeTo(expected, 0.001);
    await sleep(hearing);
    let theirs = Number.NaN;
    const isNear = async () => {
      theirs = await share();
      return Math.abs(theirs - ours) < 0.17;
    };
    await until('the consumer agrees', isNear, 15_000, 100).catch(() => {
      throw new Error(`the consumer calls the first provider ${theirs} of the time, ours is ${ours}`);
    });
  }

  const one = () => providers[0]?.address ?? '';
  const port = () => providers[0]?.port;
  const node = (place: string, params: string, protocol = 'override') =>
    `${protocol}://${place}/${GREETER}?category=configurators&dynamic=false&enabled=true&${params}`;

  const nodeCases: [title: string, urls: () => string[], expected: number][] = [
    ['disabled, for one provider', () => [node(one(), 'disabled=true')], 0],
    ['a weight for one provider', () => [node(one(), 'weight=400')], 0.8],
    ['for all, and for one, which counts', () => [node('0.0.0.0', 'weight=100'), node(one(), 'weight=400')], 0.8],
    ['for all on one port', () => [node(`0.0.0.0:${port()}`, 'weight=400')], 0.8],
    ['absent, over what the provider says', () => [node(one(), 'weight=400', 'absent')], 0.8],
    ['absent, under what a rule says', () => [node('0.0.0.0', 'weight=100'), node(one(), 'weight=400', 'absent')], 0.5],
    ['for another host without a port', () => [node('10.9.9.9', 'disabled=true')], 0.5],
    ['for consumers of another application', () => [node(one(), 'disabled=true&application=shop')], 0.5],
    ['not enabled', () => [node(one(), 'disabled=true').replace('enabled=true', 'enabled=false')], 0.5],
    ['for another version', () => [node(one(), 'disabled=true&version=9')], 0.5],
    ['on a condition that consumers do not see', () => [node('0.0.0.0:1', 'weight=1&~zone=one')], 0.5],
    ['on the side of providers', () => [node(one(), 'disabled=true&side=provider')], 0.5],
    ['with a condition on what a provider says', () => [node(one(), 'disabled=true&~zone=one')], 0.5],
  ];
  for (const [title, urls, expected] of nodeCases)
    it(`agree on a znode: ${title}`, async () => {
      const names = urls().map(encodeURIComponent);
      for (const name of names) await writer.create(`${configurators}/${name}`);
      await agree(names.map(parseOverride), expected);
    });

  const rule = (config: string, more = '') =>
    `configVersion: v2.7\nscope: service\nkey: ${GREETER}\nenabled: true\n${more}\nconfigs:\n- ${config}`;
  const documentCases: [title: string, text: () => string, expected: number][] = [
    [
      'disabled, by the provider’s address',
      () => rule(`{side: consumer, providerAddresses: ['${one()}'], parameters: {disabled: true}}`),
      0,
    ],
    [
      'a weight, by the provider’s port',
      () => rule(`{side: consumer, providerAddresses: ['0.0.0.0:${port()}'], parameters: {weight: 400}}`),
      0.8,
    ],
    ['without a side', () => rule(`{providerAddresses: ['${one()}'], parameters: {disabled: true}}`), 0.5],
    ['for providers', () => rule(`{side: provider, addresses: ['${one()}'], parameters: {disabled: true}}`), 0.5],
    [
      'for other applications',
      () =>
        rule(`{side: consumer, applications: [shop], providerAddresses: ['${one()}'], parameters: {disabled: true}}`),
      0.5,
    ],
    [
      'of version v3.0, by a match of the address',
      () =>
        rule(
          `{side: consumer, match: {providerAddress: {wildcard: '*:${port()}'}}, parameters: {weight: 400}}`,
        ).replace('v2.7', 'v3.0'),
      0.8,
    ],
    [
      'of version v3.0, by a range of addresses, which 3.3.4 cannot read',
      () =>
        rule(`{side: consumer, match: {providerAddress: {cird: 0.0.0.0/0}}, parameters: {disabled: true}}`).replace(
          'v2.7',
          'v3.0',
        ),
      0.5,
    ],
    [
      'of version v3.0, by a parameter that consumers do not see',
      () =>
        rule(
          `{side: consumer, match: {param: [{key: zone, value: {exact: one}}]}, parameters: {disabled: true}}`,
        ).replace('v2.7', 'v3.0'),
      0.5,
    ],
    ['void for want of parameters', () => rule(`{side: consumer, providerAddresses: ['${one()}']}`), 0.5],
  ];
  for (const [title, text, expected] of documentCases)
    it(`agree on a document of the config centre: ${title}`, async () => {
      await writer.create(document, text());
      await agree(parseConfigurators(text(), 'rules'), expected);
    });

  it('for providers make these register anew', async () => {
    const provider = await startDubboProvider({
      zookeeper: zookeeper.connectString,
      ...{ mode: 'interface', version: 'p', application: 'p' },
    });
    const folder = `/dubbo/${GREETER}/providers`;
    const mine = async () =>
      (await writer.children(folder)).map(decodeURIComponent).filter((url) => url.includes('version=p'));
    await until('registered', async () => (await mine()).length === 1, 20_000, 50);
    const text = rule('{side: provider, parameters: {weight: 7}}').replace(GREETER, `${GREETER}:p`);
    const ours = document.replace('::', ':p:');
    await writer.create(ours, text);
    await until('its own word', async () => (await mine()).some((url) => url.includes('weight=7')), 20_000, 50);
    await writer.remove(ours);
    await provider.stop();
  });

  it('see what an instance says where its application registers it', async () => {
    const zk = { zookeeper: zookeeper.connectString, mode: 'instance', version: 'i' } as const;
    const both = [];
    for (const name of ['one', 'two'])
      both.push(await startDubboProvider({ ...zk, name, application: 'apps', weight: name === 'one' ? 60 : 61 }));
    const late = await startDubboConsumer({ zookeeper: zookeeper.connectString, version: 'i' });
    const answers = async () => {
      const found = new Set<string>();
      for (let i = 0; i < 30; i++) found.add((await late.call('x').catch(String)).split(' ').at(-1) ?? '');
      return [...found].sort().join();
    };
    try {
      await until('both answer', async () => (await answers()) === 'one,two', 30_000, 200);
      // A provider without a registry of rules: the znode that a consumer of an instance does not look at.
      const [first] = both;
      const ignored = `${configurators}/${encodeURIComponent(node(first?.address ?? '', 'disabled=true&version=i'))}`;
      await writer.create(ignored);
      await sleep(hearing);
      expect(await answers()).to.equal('one,two');
      const text = rule('{side: consumer, parameters: {disabled: true, "~weight": 60}}').replace(
        GREETER,
        `${GREETER}:i`,
      );
      await writer.create(document.replace('::', ':i:'), text);
      const [child = ''] = (await writer.children('/services/apps')).filter((name) => name.endsWith(`:${first?.port}`));
      const instance = parseApplicationInstance(await writer.data(`/services/apps/${child}`));
      if (instance === undefined) throw new Error('no instance of Dubbo');
      const metadata = await askMetadata(instance, new AbortController().signal);
      expect(metadata.services[0]?.params.weight).to.equal('60');
      await until('one answers', async () => (await answers()) === 'two', 20_000, 200);
    } finally {
      await late.stop();
      await Promise.all(both.map((provider) => provider.stop()));
    }
  });
});
