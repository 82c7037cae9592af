import { type Nacos, startNacos } from '#test/servers/nacos.js';
import { type Pontoon, startPontoon } from '#test/servers/pontoon.js';
import { freePort } from '#test/servers/ports.js';
import { until } from '#test/servers/probes.js';
import { serverFolder } from '#test/servers/process.js';
import { startZookeeper, type Zookeeper } from '#test/servers/zookeeper.js';
import { Lane } from './lane.js';
import { NacosClients } from './nacosclients.js';
import { Relay } from './relay.js';
import { halved, removed, type Service, servicesOn, shrunk } from './services.js';
import { Workload } from './workload.js';
import { ZookeeperClient } from './zookeeperclients.js';

export const pontoonLane = 'Pontoon';
export const peerLane = 'Nacos’s own bridge';

/** Nacos's own config source, as it is at its best: it looks for changes twice a second. */
const peerSettings = (port: number) => ({
  'nacos.extension.naming.istio.enabled': true,
  'nacos.istio.mcp.server.enabled': true,
  'nacos.istio.mcp.server.port': port,
  'nacos.istio.mcp.push.interval': 500,
});

/** All that runs during the proof. */
export interface World {
  readonly services: readonly Service[];
  readonly zookeeper: Zookeeper;
  readonly nacos: Nacos;
  readonly nacosClients: NacosClients;
  readonly zookeeperClients: readonly ZookeeperClient[];
  readonly pontoon: Pontoon;
  readonly lanes: Readonly<Record<'pontoon' | 'peer', Lane>>;
  /** The instances that crash, that are deregistered alone, and that go with their service; the living ones are elsewhere. */
  readonly going: Readonly<Record<'halved' | 'shrunk' | 'removed', Workload>>;
  stop(): Promise<void>;
}

/** Starts everything, and waits until both Envoys have every instance. @param tell gets a line about each step */
export async function startWorld(tell: (line: string) => void): Promise<World> {
  const services = servicesOn(await freePort());
  const named = (name: string) => services.find((service) => service.name === name)?.addresses ?? [];
  const going = {
    halved: new Workload(named(halved).slice(0, named(halved).length / 2)),
    shrunk: new Workload(named(shrunk).slice(0, 1)),
    removed: new Workload(named(removed)),
  };
  const leaving = new Set(Object.values(going).flatMap(({ addresses }) => addresses));
  const staying = new Workload(
    services.flatMap(({ addresses }) => addresses).filter((address) => !leaving.has(address)),
  );
  const workloads = [staying, ...Object.values(going)];
  await Promise.all(workloads.map((workload) => workload.start()));
  tell(`${services.length} services, ${workloads.reduce((sum, { addresses }) => sum + addresses.length, 0)} instances`);

  const peerPort = await freePort();
  const nacos = await startNacos({ settings: peerSettings(peerPort) });
  const zookeeper = await startZookeeper();
  tell('Nacos 2.3.2 and ZooKeeper 3.9');
  const nacosClients = new NacosClients(nacos);
  await nacosClients.start(services.filter(({ registry }) => registry === 'nacos'));
  const zookeeperClients = services
    .filter(({ registry }) => registry === 'zookeeper')
    .map((service) => new ZookeeperClient(zookeeper.connectString, service));
  await Promise.all(zookeeperClients.map((client) => client.start()));
  tell('the instances have registered');

  const pontoon = await startPontoon({
    registries: [
      { name: 'nacos', type: 'nacos', servers: [nacos.address] },
      { name: 'zookeeper', type: 'zookeeper', servers: [zookeeper.connectString] },
    ],
    state: { directory: serverFolder('proof-state') },
  });
  const relay = new Relay(`127.0.0.1:${peerPort}`);
  const inNacos = services.filter(({ registry }) => registry === 'nacos');
  const lanes = {
    pontoon: await Lane.start(pontoonLane, pontoon.configSource, services, ({ name, registry }) => [
      registry === 'nacos' ? `${name}.default-group.public.nacos` : `${name}.zookeeper`,
      80,
    ]),
    // It takes the first instance's port for the service's: all have the same one here.
    peer: await Lane.start(peerLane, await relay.listen(), inNacos, ({ name, addresses }) => [
      `${name}.DEFAULT-GROUP.public.nacos`,
      Number(addresses[0]?.split(':')[1]),
    ]),
  };
  for (const lane of Object.values(lanes))
    await until(`that ${lane.name}'s Envoy has all endpoints`, async () => {
      await lane.look();
      return lane.services.flatMap(({ addresses }) => addresses).every((address) => lane.endpoints.has(address));
    });
  tell('Pontoon, Nacos’s config source behind its relay, and an istiod and an Envoy for each');

  const stop = async () => {
    nacosClients.stop();
    for (const client of zookeeperClients) client.stop();
    relay.close();
    await Promise.all(Object.values(lanes).map((lane) => lane.stop()));
    await Promise.all([pontoon, nacos, zookeeper, ...workloads].map((server) => server.stop()));
  };
  return { services, zookeeper, nacos, nacosClients, zookeeperClients, pontoon, lanes, going, stop };
}
