import { expect } from 'chai';
import type { RegistryService } from '#model/service.js';
import { Governance } from '#test/real/nacos/governance.js';
import { read, server, versions } from '#test/real/nacos/read.js';
import type { NacosRun } from '#test/real/nacos/recorder.js';
import { Registrations } from '#test/real/nacos/registrations.js';
import {
  type DubboProvider,
  type DubboProviderOptions,
  GREETER,
  startDubboConsumer,
  startDubboProvider,
} from '#test/servers/dubbo.js';
import { until } from '#test/servers/probes.js';
import { requireServers } from '#test/servers/require.js';

for (const version of versions)
  describe(`Dubbo on Nacos ${version}`, function () {
    this.timeout(120_000);
    const nacos = server({ version });
    let run: NacosRun;
    let governance: Governance;

    before(async function () {
      await requireServers(this, 'dubbo');
      governance = new Governance(nacos());
    });

    beforeEach(async () => {
      run = read(nacos());
      await run.wait('live', ({ lastState }) => lastState?.kind === 'live');
    });

    afterEach(async () => {
      await run.stop();
    });

    const services = (name = GREETER, of = run): RegistryService[] =>
      [...of.services.values()].filter(({ key, kind }) => key.name === name && kind === 'dubbo');

    /** `group/version` → `protocol://address:port` of each instance, and the status of those that are not up. */
    const seen = (of = run) =>
      Object.fromEntries(
        services(GREETER, of).map(({ key, instances }) => [
          `${key.group}/${key.version}`,
          instances.map(({ address, ports, status }) => {
            const place = `${ports[0]?.protocol}://${address}:${ports[0]?.number}`;
            return status === 'UP' ? place : `${status} ${place}`;
          }),
        ]),
      );

    async function withProvider(
      options: DubboProviderOptions,
      act: (provider: DubboProvider) => Promise<void>,
    ): Promise<void> {
      const provider = await startDubboProvider({ nacos: nacos().address, ...options });
      try {
        await act(provider);
      } finally {
        await provider.stop();
      }
    }

    const modes: DubboProviderOptions[] = [
      { mode: 'interface', protocol: 'dubbo', weight: 150 },
      { mode: 'interface', protocol: 'tri', group: 'g2', version: '1.0.0+build.5' },
      { mode: 'instance', protocol: 'dubbo', group: 'g1', version: '1.0.0', weight: 50 },
      { mode: 'instance', protocol: 'tri', group: 'g3' },
      { mode: 'instance', protocol: 'tri', metadata: 'remote', group: 'g4', version: '1.0.0', weight: 50 },
      { mode: 'all', protocol: 'dubbo', version: '2' },
    ];
    for (const options of modes) {
      const { mode, protocol, metadata = 'local', group = '', version = '', weight = 100 } = options;
      it(`reads ${protocol} registered by ${mode}, metadata ${metadata}, service ${group}/${version}`, async () => {
        const key = `${group}/${version}`;
        const app = `app-${group}-${version.replace(/\W/g, '')}`;
        await withProvider({ ...options, application: app }, async ({ address }) => {
          await run.wait('the provider', () => (seen()[key]?.length ?? 0) > 0);
          expect(seen()[key]).to.deep.equal([`${protocol}://${address}`]);
          const ours = (of: NacosRun) =>
            services(GREETER, of).find((one) => `${one.key.group}/${one.key.version}` === key);
          const service = ours(run);
          expect(service?.rejected).to.deep.equal([]);
          expect(service?.instances[0]).to.include({ status: 'UP', weight });
          expect(service?.instances[0]?.metadata).to.include({ application: app });
          // Dubbo's own services are no services of Nacos beside that.
          expect([...run.services.values()].filter(({ kind, key }) => kind === 'nacos' && key.name === app)).to.be
            .empty;
          // Another start sees the same.
          const late = read(nacos());
          await late.wait('live', ({ lastState }) => lastState?.kind === 'live');
          expect(ours(late)).to.deep.equal({ ...service });
          await late.stop();
        });
        await run.wait('emptied', () => (seen()[key] ?? []).length === 0);
      });
    }

    it('reads metadata that the config centre shows after the instance', async () => {
      const registrations = new Registrations(nacos());
      const late = {
        service: 'late',
        port: 20880,
        metadata: {
          'dubbo.endpoints': '[{"port":20880,"protocol":"dubbo"}]',
          'dubbo.metadata.revision': 'abc',
          'dubbo.metadata.storage-type': 'remote',
        },
      };
      await registrations.register(late);
      const beside = () => [...run.services.values()].find(({ key }) => key.name === 'late');
      await run.wait('shown as rejected', () => beside()?.rejected.length === 1);
      expect(beside()?.rejected[0]?.reason).to.include('the config centre has no metadata of late in revision abc');
      const services = {
        [`${GREETER}:late:dubbo`]: { name: GREETER, version: 'late', protocol: 'dubbo', path: GREETER },
      };
      await governance.publish('late', JSON.stringify({ app: 'late', revision: 'abc', services }), 'abc');
      // With the next sign of life, which comes every five seconds, and not half a minute later.
      await run.wait('read', () => seen()['/late']?.[0] === 'dubbo://127.0.0.1:20880', 20_000);
      await registrations.deregister(late);
    });

    it('follows a provider that is killed and started again', async () => {
      await withProvider({ version: 'k' }, async (provider) => {
        await run.wait('there', () => seen()['/k']?.[0] === `dubbo://${provider.address}`);
        await provider.kill();
        await run.wait('gone', () => seen()['/k']?.length === 0, 40_000);
        await provider.start();
        await run.wait('back', () => seen()['/k']?.[0] === `dubbo://${provider.address}`);
      });
    });

    it("has Dubbo's weight, which warms up, times the one that an operator sets in Nacos", async () => {
      await withProvider({ mode: 'interface', version: 'w', weight: 60, warmup: 900_000 }, async ({ address }) => {
        const instance = () => services().find(({ key }) => key.version === 'w')?.instances[0];
        await run.wait('there', () => instance()?.weight === 60);
        expect(instance()?.warmup?.length).to.equal(900_000);
        expect(instance()?.warmup?.since).to.be.closeTo(Date.now(), 60_000);
        await governance.setWeight(`providers:${GREETER}:w:`, address, 0.5, instance()?.metadata ?? {});
        await run.wait('half', () => instance()?.weight === 30);
      });
    });

    it('knows the consumers, where they register', async () => {
      await withProvider({ mode: 'interface', version: 'c' }, async () => {
        const consumer = await startDubboConsumer({
          nacos: `${nacos().address}?register-consumer-url=true`,
          version: 'c',
        });
        const consumers = () => services().find(({ key }) => key.version === 'c')?.consumers ?? [];
        try {
          await run.wait('the consumer', () => consumers()[0]?.application === 'greet-consumer');
        } finally {
          await consumer.stop();
        }
        await run.wait('no consumer', () => consumers().length === 0);
      });
    });

    it('applies a rule of the config centre as a real consumer does', async () => {
      const rules = `${GREETER}:r:.configurators`;
      const disable = (address: string) =>
        [
          'configVersion: v3.0',
          'scope: service',
          `key: ${GREETER}:r`,
          'enabled: true',
          'configs:',
          `- {side: consumer, providerAddresses: ['${address}'], parameters: {disabled: true}}`,
        ].join('\n');
      await withProvider({ mode: 'interface', version: 'r', name: 'one', application: 'one' }, async (one) =>
        withProvider({ mode: 'interface', version: 'r', name: 'two', application: 'two' }, async (two) => {
          const consumer = await startDubboConsumer({ nacos: nacos().address, version: 'r' });
          const answers = async () => {
            const found = new Set<string>();
            for (let i = 0; i < 20; i++) found.add(await consumer.call('x'));
            return [...found].map((answer) => answer.split(' ').at(-1)).sort();
          };
          const ready = () => services().find(({ key }) => key.version === 'r');
          const up = () => ready()?.instances.filter(({ status }) => status === 'UP').length;
          try {
            await run.wait('both', () => up() === 2);
            await until('both answer', async () => (await answers()).join() === 'one,two', 20_000, 200);
            await governance.publish(rules, disable(one.address));
            await run.wait('one of them', () => up() === 1);
            expect(ready()?.notes).to.deep.equal([
              { record: `${rules}[0]`, text: 'sets disabled=true at 1 of 2 providers' },
            ]);
            const disabled = ready()?.instances.find(({ status }) => status === 'disabled');
            expect(`${disabled?.address}:${disabled?.ports[0]?.number}`).to.equal(one.address);
            await until('only the other answers', async () => (await answers()).join() === 'two', 20_000, 200);
            await governance.remove(rules);
            await run.wait('both again', () => up() === 2);
            expect(ready()?.notes).to.equal(undefined);
            expect(two.address).to.not.equal(one.address);
          } finally {
            await consumer.stop();
          }
        }),
      );
    });

    it('leaves what stands beside Dubbo under an application’s name a service of Nacos', async () => {
      await withProvider({ mode: 'instance', application: 'shop', version: 's' }, async () => {
        await run.wait('the provider', () => seen()['/s']?.length === 1);
        const registrations = new Registrations(nacos());
        await registrations.register({ service: 'beside', port: 8080, metadata: { kind: 'web' } });
        await registrations.register({
          service: 'beside',
          port: 20880,
          metadata: {
            'dubbo.endpoints': '[{"port":20880,"protocol":"dubbo"}]',
            'dubbo.metadata.revision': 'abc',
            'dubbo.metadata-service.url-params': '{"port":"1","protocol":"dubbo"}',
          },
        });
        const beside = () => [...run.services.values()].find(({ key }) => key.name === 'beside');
        await run.wait('both', () => beside()?.instances.length === 1 && beside()?.rejected.length === 1);
        expect(beside()).to.include({ kind: 'nacos' });
        expect(beside()?.instances[0]?.ports[0]?.number).to.equal(8080);
        expect(beside()?.rejected[0]?.reason).to.match(
          /^what it provides is not known: metadata service at dubbo:\/\/127\.0\.0\.1:1: connect ECONNREFUSED/,
        );
        await registrations.deregister({ service: 'beside', port: 8080 });
        await registrations.deregister({ service: 'beside', port: 20880 });
      });
    });
  });
