import { renameSync, writeFileSync } from 'node:fs';
import { networkInterfaces } from 'node:os';
import { join } from 'node:path';
import { type Consul, startConsul } from '#test/servers/consul.js';
import {
  type DubboConsumer,
  type DubboProvider,
  GREETER,
  startDubboConsumer,
  startDubboProvider,
} from '#test/servers/dubbo.js';
import { startEdge } from '#test/servers/edge.js';
import { type Envoy, startEnvoy } from '#test/servers/envoy.js';
import { type Istiod, startIstiod } from '#test/servers/istiod.js';
import { type Pontoon, startPontoon } from '#test/servers/pontoon.js';
import { freePort, freePorts } from '#test/servers/ports.js';
import { type Server, serverFolder, subfolder } from '#test/servers/process.js';
import { type SpringCloudZooKeeper, startSpringCloudZooKeeper } from '#test/servers/springcloudzookeeper.js';
import { startZookeeper, type Zookeeper } from '#test/servers/zookeeper.js';
import { gatewayTo } from './gateway.js';

/** What has to be installed for {@link startClouds}. */
export const cloudServers = ['zookeeper', 'consul', 'istiod', 'envoy', 'dubbo', 'springcloud-zookeeper'] as const;

/** A service of the mesh in cloud B, as its registry there has it. */
export const greeterHost = 'greeter.shop.mesh';
/** A Spring Cloud application of cloud A, under the name that it has in the mesh of cloud B. */
export const payHost = 'pay.service.consul';

/** One cloud: a network with an edge gateway, a mesh, and a Pontoon. */
export interface Cloud {
  readonly pontoon: Pontoon;
  readonly istiod: Istiod;
  readonly edge: Envoy;
  /** Address of its edge gateway. */
  readonly gateway: string;
}

/** Two clouds that see of each other nothing but their registries and their edge gateways. */
export interface Clouds {
  readonly a: Cloud;
  readonly b: Cloud;
  /** The registry of cloud A, and that of cloud B. */
  readonly zookeeper: Zookeeper;
  readonly consul: Consul;
  /** In cloud A: knows its ZooKeeper and nothing else. */
  readonly consumer: DubboConsumer;
  /** In cloud A. */
  readonly pay: SpringCloudZooKeeper;
  /** In cloud B: registered nowhere, a workload of the mesh. */
  readonly provider: DubboProvider;
  /** Ports of both gateways: first and last. */
  readonly ports: readonly [number, number];
  /** A workload of cloud B's mesh calls {@link payHost} through its sidecar. @returns the answer's status and text */
  callPay(): Promise<string>;
  /** Says how many instances the greeter has in cloud B: one, or none. */
  setGreeters(count: 0 | 1): void;
  stop(): Promise<void>;
}

/** Labels of the edge gateways' pods. */
const labels = { app: 'edge' };

/**
 * Starts both, on addresses of their own: 127.0.1.* is cloud A, 127.0.2.* cloud B; but its gateway has the machine's own address, since a Dubbo client never dials 127.*.
 * @param told hears of what has started
 */
export async function startClouds(told: (what: string) => void = () => undefined): Promise<Clouds> {
  const running: Server[] = [];
  const stop = async (): Promise<void> => {
    await Promise.all(running.splice(0).map((server) => server.stop()));
  };
  const started = async <S extends Server>(what: string, starting: Promise<S>): Promise<S> => {
    const server = await starting;
    running.push(server);
    told(what);
    return server;
  };
  try {
    const first = await freePorts([0, 1, 2, 3]);
    const ports = [first, first + 3] as const;
    const [zookeeper, consul] = await Promise.all([
      started('cloud A: ZooKeeper', startZookeeper()),
      started('cloud B: Consul', startConsul()),
    ]);
    const greeterPort = await freePort();
    const greeters = greeterFile(greeterPort);
    greeters.set(1);

    const apps = Promise.all([
      started(
        'cloud A: Spring Cloud application pay, in ZooKeeper',
        startSpringCloudZooKeeper({
          zookeeper: zookeeper.connectString,
          app: 'pay',
          settings: {
            'server.address': '127.0.1.10',
            'spring.cloud.zookeeper.discovery.instance-host': '127.0.1.10',
          },
        }),
      ),
      started(
        `cloud B: Dubbo provider of ${GREETER}, in the mesh and in no registry`,
        startDubboProvider({ port: greeterPort, name: 'provider-in-b' }),
      ),
    ]);

    const ofB = { name: 'consul-b', type: 'consul', servers: [consul.url] };
    const ofA = { name: 'zookeeper-a', type: 'zookeeper', servers: [zookeeper.connectString] };
    const a = await startCloud('a', '127.0.1.1', ports, started, {
      // Of the other cloud's registry only what is written there.
      registries: [ofA, { ...ofB, include: ['pay'] }],
      publications: [{ name: 'pay-to-b', when: 'mesh.host == "pay.zookeeper"', to: ofB.name, addresses: 'gateway' }],
    });
    const b = await startCloud('b', ownAddress(), ports, started, {
      registries: [{ name: 'mesh-b', type: 'file', path: greeters.path }, ofB, { ...ofA, include: [GREETER] }],
      publications: [
        {
          name: 'greeter-to-a',
          when: `mesh.host == "${greeterHost}"`,
          to: ofA.name,
          as: GREETER,
          addresses: 'gateway',
        },
      ],
    });
    const sidecarPort = await freePort();
    await started(
      'cloud B: the sidecar of a workload that calls pay',
      startEnvoy(gatewayTo(b.istiod.xdsAddress, sidecarPort, [[payHost, 80]])),
    );
    const [pay, provider] = await apps;
    const consumer = await started(
      `cloud A: Dubbo consumer of ${GREETER}, with its ZooKeeper`,
      startDubboConsumer({ zookeeper: zookeeper.connectString }),
    );
    return {
      ...{ a, b, zookeeper, consul, consumer, pay, provider, ports, stop },
      setGreeters: greeters.set,
      callPay: async () => {
        const response = await fetch(`http://127.0.0.1:${sidecarPort}/hello`, { headers: { 'x-host': payHost } });
        return `${response.status} ${await response.text()}`;
      },
    };
  } catch (error) {
    await stop();
    throw error;
  }
}

function ownAddress(): string {
  const all = Object.values(networkInterfaces()).flatMap((addresses) => addresses ?? []);
  return all.find(({ family, internal }) => family === 'IPv4' && !internal)?.address ?? '127.0.2.1';
}

async function startCloud(
  name: 'a' | 'b',
  address: string,
  [from, to]: readonly [number, number],
  started: <S extends Server>(what: string, starting: Promise<S>) => Promise<S>,
  config: { readonly registries: readonly object[]; readonly publications: readonly object[] },
): Promise<Cloud> {
  const cloud = `cloud ${name.toUpperCase()}`;
  const gateway = { address, ports: `${from}-${to}`, selector: labels, bind: address };
  const pontoon = await started(
    `${cloud}: Pontoon`,
    startPontoon({
      ...config,
      networks: { [name]: { gateways: [gateway] } },
      istio: { network: name },
      state: { owner: `cloud-${name}`, directory: subfolder(serverFolder('clouds'), 'state') },
    }),
  );
  const istiod = await started(`${cloud}: istiod`, startIstiod({ configSources: [pontoon.configSource] }));
  const edge = await started(
    `${cloud}: edge gateway at ${address}, an Envoy that has everything from istiod`,
    startEdge({ istiod: istiod.xdsAddress, labels, address: `127.0.${name === 'a' ? 1 : 2}.99` }),
  );
  return { pontoon, istiod, edge, gateway: address };
}

/** The file that is cloud B's registry of its mesh services. */
function greeterFile(port: number): { readonly path: string; readonly set: (count: 0 | 1) => void } {
  const path = join(serverFolder('clouds'), 'services.json');
  return {
    path,
    set: (count) => {
      const service = {
        name: greeterHost,
        ports: [{ name: '', protocol: 'dubbo', number: 20_880 }],
        instances: [{ address: '127.0.2.10', port }].slice(0, count),
      };
      writeFileSync(`${path}.new`, JSON.stringify({ services: [service] }));
      renameSync(`${path}.new`, path);
    },
  };
}
