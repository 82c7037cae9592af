import { execFile } from 'node:child_process';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { expect } from 'chai';
import { pino } from 'pino';
import { loadConfig } from '#config/load.js';
import { compareText } from '#model/mesh.js';
import { ConsulUnderTest } from '#test/real/consul/undertest.js';
import type { RegistryUnderTest, TestInstance } from '#test/real/contract/registry.js';
import { EurekaUnderTest } from '#test/real/eureka/undertest.js';
import { NacosUnderTest } from '#test/real/nacos/undertest.js';
import { interfaceLayout } from '#test/real/zookeeper/layouts.js';
import { ZooKeeperUnderTest } from '#test/real/zookeeper/undertest.js';
import { type Istiod, startIstiod } from '#test/servers/istiod.js';
import { freePort } from '#test/servers/ports.js';
import { until } from '#test/servers/probes.js';
import { serverFolder } from '#test/servers/process.js';
import { requireServers } from '#test/servers/require.js';
import { type Pontoon, startPontoon } from '../../src/main.js';
import { type Entry, entriesOf } from './world.js';

const cli = fileURLToPath(new URL('../../src/cli/pontoon.js', import.meta.url));
/** In the sources. */
const expected = fileURLToPath(new URL('../../../test/e2e/expected/', import.meta.url));
const names = ['orders', 'carts', 'users', 'stock', 'pay'];

/** Instances of one registry: their addresses say which registry and service they are of. */
function instancesOf(registry: number, service: number): TestInstance[] {
  return [1, 2].map((number) => ({
    address: `10.${registry}.${service}.${number}`,
    port: 8000 + number,
    metadata: { tier: number === 1 ? 'a' : 'b' },
  }));
}

const policies = `
policies:
  - { when: 'service.name in ["orders", "ORDERS"]', host: orders.mesh, aliases: [orders.old], namespace: shop }
  - { when: 'service.name in ["stock", "STOCK"]', host: stock.mesh, prefer: first }
  - { when: registry.name == "consul" && service.name == "pay", drop: true }
  - { when: registry.name == "eureka" && service.name == "CARTS", protocol: grpc, ports: [{ name: grpc, number: 7000 }] }
  - { when: registry.name == "nacos" && service.name == "users", revision: canary }
  - { when: registry.name == "consul" && service.name == "users", location: external, exportTo: [shop] }
  - { when: instance.metadata.tier == "b", weight: { share: 50% }, labels: { set: { track: canary }, drop: [tier] } }
  - { when: 'cidr(instance.address, "10.3.0.0/16")', network: three, locality: cn/sh/three, serviceAccount: spiffe-three }
  - { when: instance.address == "10.4.1.2", health: drop }
  - { when: registry.name == "eureka" && service.name == "PAY", metadata: { rename: { tier: stage }, map: { stage: { a: alpha } } } }
  - { when: registry.name == "nacos" && service.name == "carts", host: "preset:name", weight: { max: 30 } }
networks: { far: { cidrs: [10.4.2.0/24, 10.4.4.0/24], gateways: [{ address: 203.0.113.9, port: 80 }] } }
`;

describe('policies, explain and plan: twenty services in four registries', function () {
  this.timeout(240_000);
  const registries: Record<string, RegistryUnderTest> = {
    eureka: new EurekaUnderTest(),
    nacos: new NacosUnderTest('2.3.2', 'grpc', 0),
    zookeeper: new ZooKeeperUnderTest(interfaceLayout),
    consul: new ConsulUnderTest(),
  };
  let folder: string;
  let base: string;
  let pontoon: Pontoon | undefined;
  let istiod: Istiod | undefined;

  const file = (name: string) => join(folder, name);
  const run = (...args: readonly string[]): Promise<{ code: number; out: string }> =>
    new Promise((resolve) =>
      execFile(process.execPath, [cli, ...args, '--url', pontoon?.adminUrl ?? ''], (error, stdout, stderr) =>
        resolve({ code: error === null ? 0 : Number(error.code), out: stdout + stderr }),
      ),
    );
  const entry = async (name: string): Promise<Entry['spec'] | undefined> =>
    istiod === undefined ? undefined : (await entriesOf(istiod)).get(name)?.spec;
  const entriesFor = async (host: string) => {
    const entries = [...(await entriesOf(istiod as Istiod))].sort(([a], [b]) => compareText(a, b));
    return entries.map(([, { spec }]) => spec).filter(({ hosts }) => hosts.includes(host));
  };
  const endpoints = async (name: string) => (await entry(name))?.endpoints ?? [];

  before(async function () {
    await requireServers(this, 'istiod', ...new Set(Object.values(registries).flatMap(({ needs }) => needs)));
    folder = serverFolder('policies');
    for (const registry of Object.values(registries)) await registry.start();
    for (const [index, registry] of Object.values(registries).entries())
      for (const [number, name] of names.entries())
        for (const instance of instancesOf(index + 1, number + 1)) await registry.register(name, instance);
    const list = Object.entries(registries).map(([name, registry]) => {
      const keys = registry.keys(registry.server?.().port ?? 0);
      return `  - ${JSON.stringify({ name, type: registry.type, ...keys })}`;
    });
    const xds = await freePort();
    base = `registries:\n${list.join('\n')}\nadmin: { listen: "127.0.0.1:${await freePort()}" }\nistio: { grace: 1s, vip: off, xds: [{ listen: "127.0.0.1:${xds}" }] }\n`;
    writeFileSync(file('pontoon.yaml'), base);
    const reread = () => loadConfig(file('pontoon.yaml'));
    pontoon = await startPontoon(reread(), pino({ level: 'silent' }), reread);
    istiod = await startIstiod({ configSources: [`xds://127.0.0.1:${xds}`], env: { REVISION: 'stable' } });
  });

  after(async () => {
    await istiod?.stop();
    await pontoon?.stop();
    await Promise.all(Object.values(registries).map((registry) => registry.stop()));
  });

  it('are not needed: every registry gives sensible hosts and ports', async () => {
    await until('twenty', async () => istiod !== undefined && (await entriesOf(istiod)).size === 20);
    expect((await entry('orders.eureka'))?.ports).to.deep.equal([{ number: 80, name: 'http', protocol: 'HTTP' }]);
    expect((await entry('orders.dubbo'))?.ports).to.deep.equal([{ number: 20880, name: 'tcp-dubbo', protocol: 'TCP' }]);
    for (const host of ['orders.default-group.public.nacos', 'orders.service.consul'])
      expect(await endpoints(host)).to.have.length(2);
  });

  it('are planned before they are taken over', async () => {
    writeFileSync(file('next.yaml'), base + policies);
    const { code, out } = await run('plan', '-c', file('next.yaml'));
    expect(code).to.equal(2);
    isAsExpected('plan', out);
  });

  it('do at istiod what they say', async () => {
    writeFileSync(file('pontoon.yaml'), base + policies);
    expect((await run('reload')).out).to.equal('taken over\n');
    await until(
      'taken over and grown quiet',
      async () => istiod !== undefined && (await entriesOf(istiod)).size === 16,
      30_000,
    );

    // Two protocols on one host: an entry for each.
    const [http] = await entriesFor('orders.mesh');
    expect(http?.endpoints?.map(({ address, weight }) => [address, weight])).to.deep.equal([
      ['10.1.1.1', 100],
      ['10.1.1.2', 50],
      ['10.2.1.1', 100],
      ['10.2.1.2', 50],
      ['10.4.1.1', 100],
    ]);
    expect((await entriesFor('orders.old')).map(({ endpoints: all }) => all?.length)).to.deep.equal([5, 2]);
    expect((await entriesFor('stock.mesh'))[0]?.endpoints?.map(({ address }) => address)).to.deep.equal([
      '10.1.4.1',
      '10.1.4.2',
    ]);
    expect(await entry('pay.service.consul')).to.equal(undefined);
    expect((await entry('carts.eureka'))?.ports).to.deep.equal([{ number: 7000, name: 'grpc', protocol: 'GRPC' }]);
    // Another revision's.
    expect(await entry('users.default-group.public.nacos')).to.equal(undefined);
    // MESH_EXTERNAL is the default that istiod does not print.
    expect(await entry('users.service.consul'))
      .to.deep.include({ exportTo: ['shop'] })
      .and.not.have.property('location');
    expect(await entry('users.eureka')).to.include({ location: 'MESH_INTERNAL' });
    const [first, second] = await endpoints('users.eureka');
    expect([first?.labels, second?.labels]).to.deep.equal([{ tier: 'a' }, { track: 'canary' }]);
    expect((await endpoints('pay.eureka'))[0]?.labels).to.deep.equal({ stage: 'alpha' });
    expect((await endpoints('carts')).map(({ weight }) => weight)).to.deep.equal([30, 30]);
    // Behind its network's gateway.
    expect(await endpoints('carts.service.consul')).to.deep.equal([
      { address: '203.0.113.9', ports: { http: 80 }, weight: 150 },
    ]);
    expect((await endpoints('users.dubbo'))[0]).to.deep.include({
      network: 'three',
      locality: 'cn/sh/three',
      serviceAccount: 'spiffe-three',
    });
  });

  it('are explained', async () => {
    for (const what of ['orders.mesh', '10.4.1.2', 'pay.eureka', 'stock.mesh', 'nobody'])
      isAsExpected(`explain-${what}`, (await run('explain', what)).out);
  });

  it('leave a trace in the journal', async () => {
    const { out } = await run('journal', '--instance', '10.4.1.2');
    expect(out).to.match(
      /orders\.service\.consul {2}gone: no registry holds it any more; 0 endpoints now {2}\(configuration\)\n/,
    );
    expect(out).to.include('    10.4.1.2:8002 removed: status passing, by policies[8].health\n');
  });
});

/** Compares with a file beside this test, word by word; istiod's own address is not ours to know. */
function isAsExpected(name: string, found: string): void {
  const text = found.replaceAll(/sidecar~[^~]*~istiod/g, 'sidecar~ADDRESS~istiod');
  expect(text).to.equal(readFileSync(join(expected, `${name}.txt`), 'utf8'));
}
