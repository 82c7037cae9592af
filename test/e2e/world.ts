import type { Consul } from '#test/servers/consul.js';
import { startConsul } from '#test/servers/consul.js';
import { type Eureka, startEureka } from '#test/servers/eureka.js';
import { type Nacos, startNacos } from '#test/servers/nacos.js';
import { startZookeeper, type Zookeeper } from '#test/servers/zookeeper.js';

/** One real server of each kind, and of Nacos one of each generation. */
export interface World {
  readonly zookeeper: Zookeeper;
  readonly eureka: Eureka;
  readonly nacos2: Nacos;
  readonly nacos3: Nacos;
  readonly consul: Consul;
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
