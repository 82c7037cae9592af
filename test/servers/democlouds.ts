import { once } from 'node:events';
import { setTimeout as sleep } from 'node:timers/promises';
import { type Clouds, greeterHost, payHost, startClouds } from '#test/e2e/clouds.js';

/** `npm run demo:clouds`: two clouds on this machine that call each other through their edge gateways, until Ctrl-C. */
const startedAt = performance.now();
const stopping = new AbortController();
process.on('SIGINT', () => stopping.abort());
process.on('SIGTERM', () => stopping.abort());

function told(what: string): void {
  console.log(`${((performance.now() - startedAt) / 1000).toFixed(0).padStart(4)} s  ${what}`);
}

function show({ a, b, consul, zookeeper, ports, pay }: Clouds): void {
  console.log(`
Cloud A, gateway ${a.gateway}, ports ${ports.join('-')}          Cloud B, gateway ${b.gateway}, the same ports
  ZooKeeper ${zookeeper.connectString}                            Consul ${consul.url}
  pay, a Spring Cloud application at 127.0.1.10:${pay.port}    ${greeterHost}, a Dubbo service of the mesh
  a Dubbo consumer, which knows its ZooKeeper only      a workload of the mesh, which calls ${payHost}

  what                              cloud A                          cloud B
  Pontoon's status page             ${a.pontoon.url}           ${b.pontoon.url}
  what it publishes (/api/v1/)      .../publications                 .../publications
  its Gateways, VirtualServices     .../istio/gateways               .../istio/gateways
  listeners of the edge gateway     ${a.edge.adminUrl}/listeners ${b.edge.adminUrl}/listeners
  what istiod holds                 ${a.istiod.url}/debug/configz ${b.istiod.url}/debug/configz

Below are calls of the Dubbo consumer in A and of the workload in B, every five seconds. Every 30 s one of the two Pontoons
is killed and started again: what it has published stays, at the same ports. Ctrl-C stops all of it.
`);
}

async function keepCalling({ a, b, consumer, callPay }: Clouds, signal: AbortSignal): Promise<void> {
  const reason = (error: unknown): string =>
    `failed: ${(error instanceof Error ? error.message : String(error)).slice(0, 120)}`;
  for (let number = 1; !signal.aborted; number++) {
    const [greeting, payment] = await Promise.all([
      consumer.call(`call-${number}`).catch(reason),
      callPay().catch(reason),
    ]);
    if (!signal.aborted) console.log(`A → B  ${greeting}\nB → A  ${payment}`);
    if (number % 6 === 0 && !signal.aborted) {
      const [cloud, { pontoon }] = number % 12 === 0 ? (['A', a] as const) : (['B', b] as const);
      await pontoon.kill();
      told(`Pontoon in cloud ${cloud} is killed, and starts again`);
      void pontoon.start().catch(() => undefined);
    }
    await sleep(5_000, undefined, { signal }).catch(() => undefined);
  }
}

let clouds: Clouds | undefined;
try {
  clouds = await startClouds(told);
  show(clouds);
  const calling = keepCalling(clouds, stopping.signal);
  if (!stopping.signal.aborted) await once(stopping.signal, 'abort');
  await calling;
} catch (error) {
  console.error(error instanceof Error ? error.message : error);
  process.exitCode = 1;
} finally {
  console.log('\nstopping all of it ...');
  await clouds?.stop();
}
process.exit();
