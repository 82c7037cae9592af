import { execFile } from 'node:child_process';
import { Resolver } from 'node:dns/promises';
import { createServer, type Server as HttpServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { expect } from 'chai';
import ConsulClient from 'consul';
import { EntryFolder } from '#test/real/istiod/folder.js';
import { type Consul, startConsul } from '#test/servers/consul.js';
import { type Eureka, startEureka } from '#test/servers/eureka.js';
import { type Istiod, startIstiod } from '#test/servers/istiod.js';
import { type Nacos, startNacos } from '#test/servers/nacos.js';
import { type NacosClient, startNacosClient } from '#test/servers/nacosclient.js';
import { type Pontoon, startPontoon } from '#test/servers/pontoon.js';
import { freePort } from '#test/servers/ports.js';
import { until } from '#test/servers/probes.js';
import { requireServers } from '#test/servers/require.js';
import { type SpringCloud, startSpringCloud } from '#test/servers/springcloud.js';

const host = 'reviews.shop.mesh';
const publications = [
  { name: 'to-eureka', to: 'eureka', eureka: { leaseDuration: '3s', renewInterval: '1s' } },
  { name: 'to-nacos', to: 'nacos', nacos: { beatInterval: '2s' } },
  { name: 'to-consul', to: 'consul', consul: { weight: 10 } },
].map((one) => ({
  when: `mesh.host == "${host}"`,
  as: 'reviews',
  metadata: { set: { tier: '{{ mesh.namespace }}' } },
  ...one,
}));

/** Clients of three registries, as they are, and a service that only the mesh knows. */
describe('a service of the mesh for those who look into registries', function () {
  this.timeout(180_000);
  const folder = new EntryFolder();
  let istiod: Istiod;
  let eureka: Eureka;
  let nacos: Nacos;
  let consul: Consul;
  let pontoon: Pontoon;
  let spring: SpringCloud;
  let nacosClient: NacosClient;
  let workload: HttpServer;

  const write = (isThere: boolean): void => {
    const { port } = workload.address() as AddressInfo;
    const endpoints = [{ address: '127.0.0.1', ports: { http: port }, weight: 1 }];
    const other = { 'other.shop.mesh': { endpoints: [{ address: '127.0.0.9', ports: { http: port } }] } };
    folder.write('services', isThere ? { [host]: { endpoints }, ...other } : other);
  };
  /** The answer of whom a place is. */
  const call = async (place: string | undefined): Promise<string> =>
    place === undefined ? 'none' : (await fetch(`http://${place}/`)).text();
  const calls = {
    'Spring Cloud': async () => {
      const response = await fetch(`${spring.url}/call/reviews`);
      return response.status === 404 ? 'none' : response.text();
    },
    Nacos: async () => {
      const [found] = await nacosClient.select('reviews');
      const tier = found && /tier=(\S+)/.exec(found)?.[1];
      return found === undefined ? 'none' : `${tier} ${await call(found.slice(0, found.indexOf('@')))}`;
    },
    Consul: async () => {
      const client = new ConsulClient({ host: '127.0.0.1', port: consul.port });
      const [found] = (await client.health.service({ service: 'reviews', passing: true })) as {
        Service: { Address: string; Port: number; Meta: Record<string, string> };
      }[];
      if (found === undefined) return 'none';
      const { Address, Port, Meta } = found.Service;
      return `${Meta.tier} ${await call(`${Address}:${Port}`)}`;
    },
    // It says no metadata.
    'DNS of Consul': async () => {
      const resolver = new Resolver();
      resolver.setServers([consul.dnsAddress]);
      const found = await resolver.resolveSrv('reviews.service.consul').catch((error: NodeJS.ErrnoException) => {
        if (error.code === 'ENOTFOUND') return [];
        throw error;
      });
      if (found[0] === undefined) return 'none';
      const [address] = await resolver.resolve4(found[0].name);
      return `shop ${await call(`${address}:${found[0].port}`)}`;
    },
  };
  const all = async (expected: string, clients = Object.keys(calls)): Promise<void> => {
    for (const [client, ask] of Object.entries(calls).filter(([client]) => clients.includes(client))) {
      const begun = performance.now();
      let last = '';
      const isSo = async (): Promise<boolean> => {
        last = await ask().catch(String);
        return last === expected;
      };
      await until(`${client}: ${expected}`, isSo, 60_000, 100).catch((error: Error) => {
        throw new Error(`${error.message}; last: ${last}`);
      });
      console.log(`      ${client}: ${expected} after ${Math.round(performance.now() - begun)} ms more`);
    }
  };

  before(async function () {
    await requireServers(this, 'istiod', 'eureka', 'springcloud', 'nacos2', 'nacos-client', 'consul');
    workload = createServer((_, response) => response.end('five stars'));
    await new Promise<void>((resolve) => workload.listen(0, '127.0.0.1', resolve));
    write(true);
    [istiod, eureka, nacos, consul] = await Promise.all([
      startIstiod({ configSources: [folder.configSource] }),
      startEureka(),
      startNacos(),
      startConsul({ dns: true }),
    ]);
    pontoon = await startPontoon({
      registries: [
        { name: 'istiod', type: 'istiod', servers: [istiod.xdsAddress], required: true },
        { name: 'eureka', type: 'eureka', servers: [eureka.url], pollInterval: '500ms' },
        { name: 'nacos', type: 'nacos', servers: [nacos.address], pollInterval: '1s' },
        { name: 'consul', type: 'consul', servers: [consul.url] },
      ],
      publications,
    });
    const port = await freePort();
    [spring, nacosClient] = await Promise.all([
      startSpringCloud({ eurekaUrl: eureka.url, app: 'caller' }),
      startNacosClient({ address: nacos.address, service: 'caller', port }),
    ]);
  });

  after(async () => {
    await Promise.all([spring?.stop(), nacosClient?.stop()]);
    await pontoon?.stop();
    await Promise.all([istiod?.stop(), eureka?.stop(), nacos?.stop(), consul?.stop()]);
    workload?.close();
  });

  it('is found and called by each of them, with its metadata', async () => {
    await all('shop five stars');
  });

  it('stays while Pontoon is killed and starts anew', async () => {
    await pontoon.kill();
    await pontoon.start();
    for (const ask of Object.values(calls)) expect(await ask()).to.equal('shop five stars');
  });

  it('is found by none of them once it is gone', async () => {
    write(false);
    await all('none');
  });

  it('goes with its leases when Pontoon is killed for good, and what has none goes when it is withdrawn', async () => {
    write(true);
    await all('shop five stars');
    await pontoon.kill();
    await all('none', ['Spring Cloud', 'Nacos']);
    await all('shop five stars', ['Consul', 'DNS of Consul']);
    await pontoon.start();
    const withdraw = new URL('../../src/cli/pontoon.js', import.meta.url);
    const args = ['withdraw', '--url', pontoon.url];
    await promisify(execFile)(process.execPath, [fileURLToPath(withdraw), ...args]);
    await all('none');
  });
});
