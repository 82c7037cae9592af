import { once } from 'node:events';
import { setTimeout as sleep } from 'node:timers/promises';
import { type Consul, startConsul } from '#test/servers/consul.js';
import { startDubboProvider } from '#test/servers/dubbo.js';
import { type Eureka, startEureka } from '#test/servers/eureka.js';
import { startIstiod } from '#test/servers/istiod.js';
import { startNacos } from '#test/servers/nacos.js';
import { startNacosClient } from '#test/servers/nacosclient.js';
import { Pontoon } from '#test/servers/pontoon.js';
import { freePort } from '#test/servers/ports.js';
import type { Server } from '#test/servers/process.js';
import { startSpringCloud } from '#test/servers/springcloud.js';
import { startZookeeper } from '#test/servers/zookeeper.js';

/** `npm run demo`: real registries with real clients, Pontoon and an istiod, until Ctrl-C. */
const running: Server[] = [];
const startedAt = performance.now();

async function started<S extends Server>(what: string, starting: Promise<S>): Promise<S> {
  const server = await starting;
  running.push(server);
  console.log(`${((performance.now() - startedAt) / 1000).toFixed(0).padStart(4)} s  ${what}`);
  return server;
}

async function startAll(): Promise<{ pontoon: Pontoon; istiodUrl: string; eureka: Eureka; consul: Consul }> {
  const zookeeper = await started('ZooKeeper', startZookeeper());
  const consul = await started('Consul', startConsul());
  const eureka = await started('Eureka', startEureka());
  const nacos2 = await started('Nacos 2.3.2', startNacos({ version: '2.3.2' }));
  const nacos3 = await started('Nacos 3.1.0', startNacos({ version: '3.1.0' }));
  const pontoon = await started(
    'Pontoon',
    new Pontoon(
      { admin: 15380, xds: 15310 },
      {
        registries: [
          { name: 'eureka', type: 'eureka', servers: [eureka.url] },
          { name: 'nacos2', type: 'nacos', servers: [nacos2.address] },
          { name: 'nacos3', type: 'nacos', servers: [nacos3.address] },
          { name: 'zookeeper', type: 'zookeeper', servers: [zookeeper.connectString] },
          { name: 'consul', type: 'consul', servers: [consul.url] },
        ],
      },
    ).start(),
  );
  const istiod = await started(
    'istiod, with Pontoon as its config source',
    startIstiod({ configSources: [pontoon.configSource] }),
  );
  const zone = { metadata: { zone: 'z1' } };
  await started(
    'Spring Cloud application pay-service in Eureka',
    startSpringCloud({ eurekaUrl: eureka.url, app: 'pay-service', ...zone }),
  );
  await started(
    'Nacos client: service orders in Nacos 2',
    startNacosClient({ address: nacos2.address, service: 'orders', port: await freePort(), weight: 2 }),
  );
  await started(
    'Nacos client: service stock in Nacos 3',
    startNacosClient({
      address: nacos3.address,
      service: 'stock',
      port: await freePort(),
      metadata: { version: 'v1' },
    }),
  );
  await started(
    'Dubbo provider of pontoon.Greeter in ZooKeeper',
    startDubboProvider({ zookeeper: zookeeper.connectString }),
  );
  await fetch(`${consul.url}/v1/agent/service/register`, {
    method: 'PUT',
    body: JSON.stringify({ ID: 'web-1', Name: 'web', Address: '127.0.0.1', Port: 8080, Meta: { version: 'v1' } }),
  });
  return { pontoon, istiodUrl: istiod.url, eureka, consul };
}

/** Registers and deregisters an instance in Consul over and over, so that there is something to see. */
async function keepMoving(consul: Consul, signal: AbortSignal): Promise<void> {
  for (let present = false; !signal.aborted; present = !present) {
    const path = present ? '/v1/agent/service/deregister/web-2' : '/v1/agent/service/register';
    const body = present ? null : JSON.stringify({ ID: 'web-2', Name: 'web', Address: '127.0.0.1', Port: 8081 });
    await fetch(`${consul.url}${path}`, { method: 'PUT', body }).catch(() => undefined);
    await sleep(5_000, undefined, { signal }).catch(() => undefined);
  }
}

async function stopAll(): Promise<void> {
  console.log('\nstopping all of it ...');
  await Promise.all(running.map((server) => server.stop()));
}

const stopping = new AbortController();
process.on('SIGINT', () => stopping.abort());
process.on('SIGTERM', () => stopping.abort());
try {
  const { pontoon, istiodUrl, eureka, consul } = await startAll();
  console.log(`
  Pontoon's status page   ${pontoon.url}
  what Istio gets         ${pontoon.url}/api/v1/istio/serviceentries
  what istiod holds       ${istiodUrl}/debug/configz
  Eureka                  ${eureka.url.replace('/eureka', '')}
  Consul                  ${consul.url}/v1/catalog/services

An instance of web comes and goes in Consul every five seconds. Ctrl-C stops all of it.
`);
  const moving = keepMoving(consul, stopping.signal);
  if (!stopping.signal.aborted) await once(stopping.signal, 'abort');
  await moving;
} catch (error) {
  console.error(error instanceof Error ? error.message : error);
  process.exitCode = 1;
} finally {
  await stopAll();
}
process.exit();
