import { expect } from 'chai';
import { type DubboProvider, GREETER, startDubboConsumer, startDubboProvider } from '#test/servers/dubbo.js';
import { until } from '#test/servers/probes.js';
import { requireServers } from '#test/servers/require.js';
import { instance, Publisher } from './publisher.js';
import { read, server } from './read.js';

const calls = 30;

describe("Nacos as a target, with Dubbo's consumers", function () {
  this.timeout(120_000);
  const nacos = server({ version: '2.3.2' });

  before(async function () {
    await requireServers(this, 'dubbo');
  });

  /** A document of the config centre; empty if there is none. */
  const document = async (group: string, dataId: string): Promise<string> => {
    const response = await nacos().fetch(`/v1/cs/configs?${new URLSearchParams({ dataId, group })}`);
    return response.ok ? response.text() : '';
  };

  it('keeps what applications provide in the config centre, and what belongs to another service where it is', async () => {
    const publisher = new Publisher(nacos());
    const metadata = async (revision: string | undefined) =>
      revision === undefined ? 'none' : await document(revision, 'shop');
    const write = async (name: string, methods: string, host: string) => {
      const dubbo = { level: 'application', application: 'shop', protocol: 'dubbo', methods };
      const mark = { 'pontoon-host': host };
      const one = instance('10.3.0.1', 20880);
      return publisher.write(name, { dubbo }, { ...one, metadata: { ...one.metadata, ...mark } });
    };
    const standing = async (): Promise<string[]> => {
      const query = new URLSearchParams({ serviceName: 'shop' });
      const { hosts } = (await (await nacos().fetch(`/v1/ns/instance/list?${query}`)).json()) as {
        hosts: { metadata: Record<string, string> }[];
      };
      return hosts.map((one) => one.metadata['dubbo.metadata.revision'] ?? '');
    };
    try {
      expect((await write('com.shop.Orders', 'a', 'orders.mesh')).refused).to.deep.equal([]);
      await until('the instance', async () => (await standing()).length === 1);
      const [first] = await standing();
      await until('its metadata', async () => (await metadata(first)).includes('com.shop.Orders'));
      await write('com.shop.Orders', 'a,b', 'orders.mesh');
      await until('another revision', async () => (await standing())[0] !== first);
      await until('no metadata of the first', async () => (await metadata(first)) === '');
      const [second] = await standing();

      const { placed, refused } = await write('com.shop.Stock', 'a', 'stock.mesh');
      expect(placed).to.deep.equal([]);
      expect(refused[0]?.reason).to.include('the application shop has an instance there for another service');
      expect(await standing()).to.deep.equal([second]);
      expect(await document('mapping', 'com.shop.Stock')).to.equal('');
      await publisher.write('com.shop.Orders', { dubbo: { level: 'application', application: 'shop' } });
      await until('nothing', async () => (await standing()).length === 0 && (await metadata(second)) === '');
    } finally {
      await publisher.close();
    }
  });

  for (const [level, protocol] of [
    ['interface', 'tri'],
    ['application', 'tri'],
    ['application', 'dubbo'],
    ['all', 'dubbo'],
  ] as const)
    it(`has what a consumer finds and calls over ${protocol}, by its weight, until it goes: ${level}`, async () => {
      const about = { group: `g-${protocol}-${level}`, version: '1.0.0' };
      const application = `${GREETER}.v-1.0.0.g-${about.group}`;
      const providers: DubboProvider[] = [];
      const publisher = new Publisher(nacos());
      const run = read(nacos());
      // Providers that no Nacos knows.
      for (const name of ['light', 'heavy']) providers.push(await startDubboProvider({ protocol, name, ...about }));
      const consumer = await startDubboConsumer({ nacos: nacos().address, protocol, ...about });
      try {
        const at = (index: number, weight: number) => {
          const [host = '', port] = providers[index]?.address.split(':') ?? [];
          return instance(host, Number(port), { weight, metadata: { team: 'shop' } });
        };
        const block = { dubbo: { ...about, protocol, level } };
        const { placed, refused } = await publisher.write(GREETER, block, at(0, 0.1), at(1, 2));
        expect(refused).to.deep.equal([]);
        const applications = async () => (await document('mapping', GREETER)).split(',');
        if (level !== 'interface') await until('the mapping', async () => (await applications()).includes(application));
        const found = () => [...run.services.values()].find(({ key }) => key.group === about.group)?.instances ?? [];
        await run.wait('both', () => found().length === 2);
        for (const { id, instance } of placed) {
          const same = found().find((one) => one.id === id);
          expect(same?.address).to.equal(instance.address);
          expect(same?.weight).to.equal(instance.weight);
          expect(same?.metadata).to.deep.include(instance.metadata);
        }
        const answers = async (): Promise<string[]> => {
          const names: string[] = [];
          for (let n = 0; n < calls; n++) names.push(/from (.*)$/.exec(await consumer.call('you'))?.[1] ?? '');
          return names;
        };
        await until('an answer', () => consumer.call('you').then(Boolean, () => false), 30_000, 200);
        const heavy = (await answers()).filter((name) => name === 'heavy').length;
        console.log(`      weights 10 and 200: ${calls - heavy} and ${heavy} of ${calls} calls`);
        expect(heavy).to.be.greaterThan(calls / 2);

        await publisher.write(GREETER, block, at(0, 0.1));
        await until('the light one alone', async () => !(await answers()).includes('heavy'), 30_000, 200);
        await publisher.write(GREETER, block);
        await run.wait('none', () => found().length === 0);
        await until('no mapping', async () => !(await applications()).includes(application));
      } finally {
        await consumer.stop();
        for (const provider of providers) await provider.stop();
        await run.stop();
        await publisher.close();
      }
    });
});
