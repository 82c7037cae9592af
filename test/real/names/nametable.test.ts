import { readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect } from 'chai';
import { type Istiod, startIstiod } from '#test/servers/istiod.js';
import { type Pontoon, startPontoon } from '#test/servers/pontoon.js';
import { until } from '#test/servers/probes.js';
import { requireServers } from '#test/servers/require.js';
import { Agent, type capturing } from './agent.js';
import { temporaryDirectory } from './mesh.js';

const one = `
services:
  - { name: orders, ports: [{ protocol: http, number: 80 }], instances: [{ address: 10.0.0.1, port: 8080 }] }
  - { name: stock, ports: [{ protocol: grpc, number: 80 }], instances: [] }
  - { name: a.greeter, ports: [{ protocol: dubbo, number: 20880 }], instances: [{ address: 10.0.0.2, port: 20881 }] }
  - { name: b.greeter, ports: [{ protocol: dubbo, number: 20880 }], instances: [{ address: 10.0.0.2, port: 20882 }] }
  - { name: named, ports: [{ protocol: http, number: 80 }], instances: [{ address: backend.test, port: 8080 }] }
`;
const two = `
services:
  - { name: pay, ports: [{ protocol: http, number: 80 }], instances: [{ address: "fd01::1", port: 8080 }] }
`;
const hosts = ['orders.one', 'orders.legacy', 'stock.one', 'a.greeter.one', 'b.greeter.one', 'named.one', 'pay.two'];

describe('name table of a real istiod', function () {
  this.timeout(60_000);
  let pontoon: Pontoon;
  let istiod: Istiod;
  const agents: Agent[] = [];
  const files = temporaryDirectory();
  const vips = new Map<string, readonly string[]>();

  const agent = (...options: [ip?: string, metadata?: typeof capturing]): Agent => {
    const made = new Agent(istiod.xdsAddress, ...options);
    agents.push(made);
    return made;
  };
  const told = async (from: Agent): Promise<Map<string, readonly string[]>> => {
    await until(`all names${from.error ?? ''}`, () => hosts.every((host) => from.names?.has(host)), 20_000);
    return new Map(hosts.map((host) => [host, [...(from.names?.get(host) ?? [])].sort()]));
  };

  before(async function () {
    await requireServers(this, 'istiod');
    const directory = temporaryDirectory();
    const path = (name: string) => join(directory, `${name}.yaml`);
    writeFileSync(path('one'), one);
    writeFileSync(path('two'), two);
    pontoon = await startPontoon({
      registries: ['one', 'two'].map((name) => ({
        name,
        type: 'file',
        path: path(name),
        host: `{{ service.name }}.${name}`,
      })),
      policies: [{ when: 'service.name == "orders"', aliases: ['orders.legacy'] }],
      istio: { vip: { ranges: ['241.0.0.0/8', 'fd00::/64'] }, files: { directory: files } },
    });
    istiod = await startIstiod({ configSources: [pontoon.configSource] });
    for (const host of hosts) vips.set(host, [...(await pontoon.service(host)).vips].sort());
  });
  after(async () => {
    for (const one of agents) one.close();
    await Promise.all([istiod?.stop(), pontoon?.stop()]);
  });

  it('has every host with its virtual addresses: HTTP and TCP, of all registries, aliases, without instances, IPv4 and IPv6', async () => {
    const names = await told(agent());
    expect(names).to.deep.equal(vips);
  });

  it('is the same for a proxy that says nothing of DNS, and when istiod allocates addresses itself: ours come first', async () => {
    expect(await told(agent('127.0.0.11', { NAMESPACE: 'default', CLUSTER_ID: 'local' }))).to.deep.equal(vips);
    const other = await startIstiod({
      configSources: [pontoon.configSource],
      env: { PILOT_ENABLE_IP_AUTOALLOCATE: 'true' },
    });
    const asks = new Agent(other.xdsAddress);
    try {
      expect(await told(asks)).to.deep.equal(vips);
    } finally {
      asks.close();
      await other.stop();
    }
  });

  it('says what the hosts file says, which is the same on disk and over HTTP', async () => {
    const text = await (await fetch(`${pontoon.url}/api/v1/dns/hosts`)).text();
    const lines = [...vips].flatMap(([host, ips]) => ips.map((ip) => `${ip} ${host}`));
    expect(text.trimEnd().split('\n').slice(1).sort()).to.deep.equal(lines.sort());
    await until('the hosts file', () => readdirSync(files).includes('dns'));
    await until('its content', () => readFileSync(join(files, 'dns/hosts'), 'utf8') === text);
    expect(readdirSync(join(files, 'pontoon')).sort()).to.deep.equal(hosts.map((host) => `${host}.yaml`).sort());
  });

  it('two TCP services on one port have a listener each', async () => {
    const sidecar = agent();
    await told(sidecar);
    const own = ['a.greeter.one', 'b.greeter.one'].map(
      (host) => `${vips.get(host)?.find((vip) => vip.startsWith('241.'))}:20880`,
    );
    await until('listeners', () => sidecar.listeners.size > 0);
    expect([...sidecar.listeners.values()]).to.include.members(own);
    expect(new Set(own).size).to.equal(2);
  });
});
