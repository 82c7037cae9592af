import { execFile } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import { connect, createServer } from 'node:net';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { expect } from 'chai';
import { installed } from '#test/servers/cache.js';
import { type Istiod, startIstiod } from '#test/servers/istiod.js';
import { Namespace } from '#test/servers/namespace.js';
import { type Pontoon, startPontoon } from '#test/servers/pontoon.js';
import { until } from '#test/servers/probes.js';
import { Server, serverFolder } from '#test/servers/process.js';
import { requireServers } from '#test/servers/require.js';
import { Agent } from './agent.js';
import { SidecarEnvoy } from './envoy.js';
import { temporaryDirectory } from './mesh.js';

const run = promisify(execFile);
const program = (name: string): string => fileURLToPath(new URL(`./${name}.js`, import.meta.url));

const services = `
services:
  - { name: orders.eureka, ports: [{ protocol: http, number: 80 }], instances: [{ address: 127.0.0.1, port: 8081 }] }
  - { name: pay.eureka, ports: [{ protocol: http, number: 80 }], instances: [{ address: 127.0.0.1, port: 8082 }] }
  - { name: a.dubbo, ports: [{ protocol: dubbo, number: 20880 }], instances: [{ address: 127.0.0.1, port: 20881 }] }
  - { name: b.dubbo, ports: [{ protocol: dubbo, number: 20880 }], instances: [{ address: 127.0.0.1, port: 20882 }] }
`;

/**
 * In a pod, iptables leads what is sent to a virtual address to the sidecar. Here the virtual addresses are the namespace's own and istiod's listeners
 * are bound to them: an EnvoyFilter says so. Without mutual TLS the Envoy needs no certificates, which only Istio's agent could give it.
 */
const settings = `
apiVersion: networking.istio.io/v1alpha3
kind: EnvoyFilter
metadata: { name: bound, namespace: default }
spec:
  configPatches:
    - applyTo: LISTENER
      match: { context: SIDECAR_OUTBOUND }
      patch: { operation: MERGE, value: { bind_to_port: true } }
---
apiVersion: security.istio.io/v1
kind: PeerAuthentication
metadata: { name: plaintext, namespace: istio-system }
spec: { mtls: { mode: DISABLE } }
`;

describe('a call by plain host name from behind an Envoy', function () {
  this.timeout(60_000);
  let namespace: Namespace;
  let pontoon: Pontoon;
  let istiod: Istiod;
  let agent: Agent;
  let envoy: SidecarEnvoy;
  const inside: Server[] = [];
  const folder = temporaryDirectory();
  const path = (name: string): string => join(folder, name);
  const relay = createServer((socket) => {
    const [host, port] = istiod.xdsAddress.split(':');
    const other = connect(Number(port), host);
    socket.pipe(other).pipe(socket);
    socket.on('error', () => other.destroy());
    other.on('error', () => socket.destroy());
  });

  const start = async (name: string, ready: () => boolean | Promise<boolean>, command: string, ...args: string[]) => {
    const [first, ...rest] = namespace.within(command, ...args);
    inside.push(await new Server({ name, command: first, args: rest, folder: serverFolder(name), ready }).start());
  };
  /** What an ordinary program in the namespace gets. */
  const call = async (url: string): Promise<string> => {
    const [command, ...args] = namespace.within(process.execPath, program('client'), url);
    return (await run(command, args, { timeout: 10_000 })).stdout;
  };
  const answers = (url: string, expected: string): Promise<void> =>
    until(`${url} says ${expected}`, async () => (await call(url).catch(() => '')) === expected, 20_000);

  before(async function () {
    await requireServers(this, 'istiod', 'envoy', 'coredns');
    writeFileSync(path('services.yaml'), services);
    pontoon = await startPontoon({ registries: [{ name: 'file', type: 'file', path: path('services.yaml') }] });
    const filters = temporaryDirectory();
    writeFileSync(join(filters, 'settings.yaml'), settings);
    istiod = await startIstiod({ configSources: [pontoon.configSource, `fs://${filters}`] });
    await new Promise<void>((resolve) => relay.listen(path('istiod.sock'), resolve));

    namespace = new Namespace('net', 'mount');
    writeFileSync(path('resolv.conf'), 'nameserver 127.0.0.1\n');
    await namespace.run('ip link set lo up && ip route add local 240.0.0.0/4 dev lo');
    await namespace.run(`mount --bind '${path('resolv.conf')}' /etc/resolv.conf`);

    // What Istio's agent does: it answers from the name table, and from nothing else.
    agent = new Agent(istiod.xdsAddress, '127.0.0.10');
    await until('the name table', () => (agent.names?.size ?? 0) >= 4);
    writeFileSync(path('names'), [...(agent.names ?? [])].map(([host, ips]) => `${ips.join()} ${host}\n`).join(''));
    writeFileSync(path('Corefile'), `. {\n  bind 127.0.0.1\n  hosts ${path('names')}\n}\n`);
    const coredns = join(installed('coredns'), 'coredns');
    await start('coredns', () => true, coredns, '-conf', path('Corefile'), '-dns.port', '53');
    const upstreams = ['http:orders:8081', 'http:pay:8082', 'tcp:a:20881', 'tcp:b:20882'];
    await start('upstreams', () => true, process.execPath, program('upstreams'), ...upstreams);
    envoy = await new SidecarEnvoy(namespace, path('istiod.sock')).start();
  });
  after(async () => {
    agent?.close();
    await Promise.all([envoy, ...inside, istiod, pontoon].map((server) => server?.stop()));
    relay.close();
    await namespace?.close();
  });

  it('HTTP: names that only the name table knows, by listeners, routes and endpoints of istiod', async () => {
    await answers('http://orders.eureka/', 'orders as orders.eureka');
    await answers('http://pay.eureka/', 'pay as pay.eureka');
    expect(await envoy.admin('/stats?filter=upstream_rq_completed')).to.match(
      /outbound\|80\|\|orders\.eureka.*: [1-9]/,
    );
    expect(await envoy.admin('/stats?filter=update_rejected')).to.contain('lds.update_rejected: 0');
  });

  it('TCP: two services on one port, each by its name', async () => {
    await answers('tcp://a.dubbo:20880', 'a got hello');
    await answers('tcp://b.dubbo:20880', 'b got hello');
    const stats = await envoy.admin('/stats?filter=upstream_cx_total');
    for (const host of ['a.dubbo', 'b.dubbo']) expect(stats).to.match(new RegExp(`\\|20880\\|\\|${host}.*: [1-9]`));
  });

  it('a name that is in no table is none', async () => {
    const error = await call('http://nobody.eureka/').catch((reason: unknown) => String(reason));
    expect(error).to.match(/ENOTFOUND|EAI_AGAIN/);
  });
});
