import { setTimeout as sleep } from 'node:timers/promises';
import { expect } from 'chai';
import { requireServers } from '#test/servers/require.js';
import { Wire } from '#test/servers/wire.js';
import { ConsulRegistry, EurekaRegistry, type FaultRegistry, NacosRegistry, ZooKeeperRegistry } from './registries.js';
import { fault, isFull, within } from './scene.js';
import { Sick, type Sickness } from './sick.js';

/** ms in which a change has to arrive although every third answer is of no use, where one answer says it all. */
const sickMs = 40_000;
/** Each question to these is one HTTP request. */
const oneByOne: ReadonlySet<string> = new Set(['consul', 'eureka']);

describe('faults of what stands before the registries', () => {
  const registries: FaultRegistry[] = [];
  const wires = new Map<FaultRegistry, Wire>();
  const proxies = new Map<FaultRegistry, Sick>();

  before(async function () {
    await requireServers(this, 'zookeeper', 'consul', 'eureka', 'nacos2', 'istiod');
    this.timeout(300_000);
    registries.push(await ZooKeeperRegistry.start(), await ConsulRegistry.start());
    registries.push(await EurekaRegistry.start(), await NacosRegistry.start());
    for (const registry of registries) {
      const wire = await Wire.open(registry.port, registry.offsets);
      const sick = new Sick();
      wire.through = sick.through;
      wires.set(registry, wire);
      proxies.set(registry, sick);
    }
  });
  beforeEach(() => makeAll(undefined));
  after(async () => {
    await Promise.all([...wires.values()].map((wire) => wire.close()));
    await Promise.all(registries.map((registry) => registry.stop()));
  });

  const makeAll = (sickness: Sickness | undefined) => {
    for (const sick of proxies.values()) sick.sickness = sickness;
  };
  const options = () => ({ registries: registries.map((registry) => registry.config(wires.get(registry)?.port)) });

  for (const sickness of ['cut', 'delayed', 'garbled'] as const)
    fault(
      `every third answer of a registry is ${sickness}`,
      async (scene) => {
        const fleets = [];
        for (const registry of registries) fleets.push(await scene.fleet(registry, `on-${registry.name}`, 6));
        await scene.begin();

        await scene.does(`from now on every third answer is ${sickness}`, () => makeAll(sickness));
        await sleep(isFull ? 60_000 : 5_000);
        await scene.middle();
        for (const fleet of fleets) await fleet.add(1);
        const removed = await Promise.all(fleets.map((fleet) => fleet.remove(2)));
        // A session of ZooKeeper and a gRPC connection of Nacos need more answers in a row than they get: they only lose nothing.
        for (const [index, departure] of removed.entries())
          if (oneByOne.has(registries[index]?.name ?? '')) await scene.gone(departure, sickMs);
        for (const [{ name }, sick] of proxies) {
          console.log(`      ${name}: ${sick.count} answers ${sickness}`);
          expect(sick.count, `${name}'s answers that were ${sickness}`).to.be.above(0);
        }

        await scene.does('all is well again', () => makeAll(undefined));
        await scene.allThere(within.back);
        for (const [index, departure] of removed.entries())
          if (!oneByOne.has(registries[index]?.name ?? '')) await scene.gone(departure, sickMs + within.back);
        for (const { name } of registries) await scene.state(`${name} live`);
        await scene.flows();
      },
      options,
    );
});
