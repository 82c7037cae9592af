import { type Consul, startConsul } from '#test/servers/consul.js';
import { type DubboProvider, GREETER, startDubboProvider } from '#test/servers/dubbo.js';
import { type Eureka, startEureka } from '#test/servers/eureka.js';
import type { Istiod } from '#test/servers/istiod.js';
import { type Nacos, startNacos } from '#test/servers/nacos.js';
import { type NacosClient, startNacosClient } from '#test/servers/nacosclient.js';
import { freePort } from '#test/servers/ports.js';
import { requireServers } from '#test/servers/require.js';
import { type SpringCloud, startSpringCloud } from '#test/servers/springcloud.js';
import { startZookeeper, type Zookeeper } from '#test/servers/zookeeper.js';

/** One real server of each kind, and of Nacos one of each generation. */
export interface World {
  readonly zookeeper: Zookeeper;
  readonly eureka: Eureka;
  readonly nacos2: Nacos;
  readonly nacos3: Nacos;
  readonly consul: Consul;
}

/** For `before` hooks: what {@link startWorld} and {@link startClients} start has to be installed, and istiod and Envoy. */
export function requireWorld(context: Mocha.Context): Promise<void> {
  const servers = ['zookeeper', 'eureka', 'nacos2', 'nacos3', 'consul', 'istiod', 'envoy'];
  return requireServers(context, ...servers, 'dubbo', 'springcloud', 'nacos-client');
}

/** Starts all of them; the quick ones side by side, since Java's starts are what two cores have to do. */
export async function startWorld(): Promise<World> {
  const [zookeeper, consul] = await Promise.all([startZookeeper(), startConsul()]);
  const eureka = await startEureka();
  const [nacos2, nacos3] = await Promise.all([startNacos({ version: '2.3.2' }), startNacos({ version: '3.1.0' })]);
  return { zookeeper, eureka, nacos2, nacos3, consul };
}

export async function stopWorld(world: World | undefined): Promise<void> {
  await Promise.all(Object.values(world ?? {}).map((server) => server.stop()));
}

/** Real clients with one service each, and what a mesh is to see of them. */
export interface Clients {
  readonly pay: SpringCloud;
  readonly orders: NacosClient;
  readonly ordersPort: number;
  readonly stock: NacosClient;
  readonly stockPort: number;
  readonly dubbo: DubboProvider;
}

/** The port of the one instance of `web` in Consul; nobody listens there. */
export const webPort = 18_101;

/** Registers a service in each registry, by the registry's real client. */
export async function startClients({ zookeeper, eureka, nacos2, nacos3, consul }: World): Promise<Clients> {
  const ordersPort = await freePort();
  const stockPort = await freePort();
  await registerInConsul(consul, {
    ID: 'web-1',
    Name: 'web',
    Address: '127.0.0.1',
    Port: webPort,
    Weights: { Passing: 3, Warning: 1 },
  });
  return {
    pay: await startSpringCloud({ eurekaUrl: eureka.url, app: 'pay-service', metadata: { zone: 'z1', version: 'v1' } }),
    orders: await startNacosClient({ address: nacos2.address, service: 'orders', port: ordersPort, weight: 1.5 }),
    ordersPort,
    stock: await startNacosClient({
      address: nacos3.address,
      service: 'stock',
      port: stockPort,
      metadata: { version: 'v3' },
    }),
    stockPort,
    dubbo: await startDubboProvider({ zookeeper: zookeeper.connectString, mode: 'all', weight: 50 }),
  };
}

export async function stopClients(clients: Clients | undefined): Promise<void> {
  await Promise.all([clients?.pay, clients?.orders, clients?.stock, clients?.dubbo].map((client) => client?.stop()));
}

/** What {@link startClients} registers, by host and service port. */
export const hosts: Readonly<Record<'pay' | 'orders' | 'stock' | 'web' | 'greeter', readonly [string, number]>> = {
  pay: ['pay-service.eureka', 80],
  orders: ['orders.default-group.public.nacos', 80],
  stock: ['stock.nacos3', 80],
  web: ['web.service.consul', 80],
  greeter: [`${GREETER.toLowerCase()}.dubbo`, 20880],
};

/** A ServiceEntry as istiod holds it. */
export interface Entry {
  readonly metadata: { readonly name: string; readonly resourceVersion: string };
  readonly spec: {
    readonly hosts: readonly string[];
    readonly ports: readonly { readonly number: number; readonly name: string; readonly protocol: string }[];
    readonly endpoints?: readonly {
      readonly address: string;
      readonly ports: Readonly<Record<string, number>>;
      readonly weight: number;
      readonly locality?: string;
      readonly network?: string;
      readonly serviceAccount?: string;
      readonly labels?: Readonly<Record<string, string>>;
    }[];
  };
}

/** The entries that istiod holds, by name. */
export async function entriesOf(istiod: Istiod): Promise<Map<string, Entry>> {
  return new Map(((await istiod.configz()) as Entry[]).map((entry) => [entry.metadata.name, entry]));
}

/** Pontoon's registries for that world, with what tells two Nacos apart. */
export function registriesOf({ zookeeper, eureka, nacos2, nacos3, consul }: World) {
  return [
    {
      name: 'eureka',
      type: 'eureka',
      servers: [eureka.url],
      pollInterval: '500ms',
      locality: 'cn/sh/{{ instance.zone }}',
    },
    { name: 'nacos2', type: 'nacos', servers: [nacos2.address], pollInterval: '1s' },
    {
      name: 'nacos3',
      type: 'nacos',
      servers: [nacos3.address],
      pollInterval: '1s',
      host: '{{ service.name }}.nacos3',
      network: 'beijing',
    },
    { name: 'zookeeper', type: 'zookeeper', servers: [zookeeper.connectString] },
    { name: 'consul', type: 'consul', servers: [consul.url] },
  ];
}

/** Registers a service at a Consul agent, as its HTTP clients do. */
export async function registerInConsul(consul: Consul, service: object): Promise<void> {
  await put(`${consul.url}/v1/agent/service/register`, service);
}

/** Sends a PUT with a JSON body. @throws Error when it is not answered with 2xx */
export async function put(url: string, body?: object): Promise<void> {
  const response = await fetch(url, { method: 'PUT', ...(body === undefined ? {} : { body: JSON.stringify(body) }) });
  if (!response.ok) throw new Error(`PUT ${url} answered ${response.status}: ${await response.text()}`);
}
