import { expect } from 'chai';
import {
  type DubboConsumer,
  type DubboProvider,
  GREETER,
  startDubboConsumer,
  startDubboProvider,
} from '#test/servers/dubbo.js';
import { type Dubbo27, startDubbo27 } from '#test/servers/dubbo27.js';
import { until } from '#test/servers/probes.js';
import { requireServers } from '#test/servers/require.js';
import { startZookeeper, type Zookeeper } from '#test/servers/zookeeper.js';
import { instance, Publisher } from './publisher.js';

const calls = 30;

describe("ZooKeeper as a target, with Dubbo's consumers", function () {
  this.timeout(120_000);
  let server: Zookeeper;
  let publisher: Publisher;

  before(async function () {
    await requireServers(this, 'zookeeper', 'dubbo', 'dubbo27');
    server = await startZookeeper();
    publisher = new Publisher(server.port);
  });

  after(async () => {
    await publisher?.close();
    await server?.stop();
  });

  /** Providers that no ZooKeeper knows. */
  async function withProviders(
    protocol: 'dubbo' | 'tri',
    names: readonly string[],
    act: (at: (name: string, weight: number) => ReturnType<typeof instance>) => Promise<void>,
  ): Promise<void> {
    const providers = new Map<string, DubboProvider>();
    try {
      const about = { group: 'g1', version: '1.0.0' };
      for (const name of names) providers.set(name, await startDubboProvider({ protocol, name, ...about }));
      await act((name, weight) => {
        const [host = '', port] = providers.get(name)?.address.split(':') ?? [];
        return instance(host, Number(port), { weight });
      });
    } finally {
      for (const provider of providers.values()) await provider.stop();
    }
  }

  /** How often each provider answers. */
  async function answers(consumer: DubboConsumer | Dubbo27): Promise<Record<string, number>> {
    const found: Record<string, number> = {};
    for (let n = 0; n < calls; n++) {
      const name = /from (.*)$/.exec(await consumer.call('you'))?.[1] ?? '';
      found[name] = (found[name] ?? 0) + 1;
    }
    return found;
  }

  const about = { group: 'g1', version: '1.0.0' };
  const consumers = {
    '3.3': (protocol: 'dubbo' | 'tri') => startDubboConsumer({ zookeeper: server.connectString, protocol, ...about }),
    '2.7': () =>
      startDubbo27({ kind: 'consumer', zookeeper: server.connectString, application: 'old-consumer', ...about }),
  };

  const cases = [
    { release: '3.3', level: 'interface', protocol: 'dubbo' },
    { release: '3.3', level: 'application', protocol: 'dubbo' },
    { release: '3.3', level: 'application', protocol: 'tri' },
    { release: '3.3', level: 'all', protocol: 'tri' },
    { release: '2.7', level: 'all', protocol: 'dubbo' },
  ] as const;

  for (const { release, level, protocol } of cases)
    it(`lets a consumer of ${release} call: level ${level}, ${protocol}`, async () => {
      await withProviders(protocol, ['light', 'heavy'], async (at) => {
        const settings = { level, protocol, ...about };
        const light = at('light', 1);
        await publisher.write(GREETER, settings, light);
        const consumer = await consumers[release](protocol);
        try {
          await until(
            'an answer',
            () => consumer.call('you').then((text) => text === 'hello you from light'),
            20_000,
            200,
          );
          // Found while it runs, and called by its weight.
          await publisher.write(GREETER, settings, light, at('heavy', 10_000));
          await until('the other one', async () => (await consumer.call('you')).endsWith('from heavy'), 20_000, 100);
          expect((await answers(consumer)).heavy).to.be.at.least(calls - 2);
          // Out of service.
          await publisher.write(GREETER, settings, light, { ...at('heavy', 10_000), isUp: false });
          await until('the first one alone', async () => (await answers(consumer)).light === calls, 20_000, 100);
          await publisher.write(GREETER, settings);
          await until(
            'none',
            () =>
              consumer.call('you').then(
                () => false,
                () => true,
              ),
            20_000,
            200,
          );
        } finally {
          await consumer.stop();
        }
      });
    });
});
