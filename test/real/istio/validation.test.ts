import { spawn } from 'node:child_process';
import { join } from 'node:path';
import { expect } from 'chai';
import { pino } from 'pino';
import type { Projection } from '#istio/projection.js';
import type { IstioResource, ResourceType } from '#istio/resource.js';
import { Gateway, ServiceEntry, ServiceEntry_Resolution, VirtualService } from '#proto/istio/networking.js';
import { XdsListener } from '#sinks/xds/server.js';
import { gatewayTo } from '#test/e2e/gateway.js';
import { installed } from '#test/servers/cache.js';
import { startEnvoy } from '#test/servers/envoy.js';
import { startIstiod } from '#test/servers/istiod.js';
import { freePort } from '#test/servers/ports.js';
import { until } from '#test/servers/probes.js';
import { requireServers } from '#test/servers/require.js';
import { fuzzed } from './fuzz.js';

/** Istio's verdict on each resource: empty, or what is wrong. */
function verdicts(resources: readonly IstioResource[]): Promise<string[]> {
  return new Promise((resolve, reject) => {
    const child = spawn(join(installed('istio-validator'), 'istio-validator'), { stdio: ['pipe', 'pipe', 'inherit'] });
    let output = '';
    child.stdout.setEncoding('utf8').on('data', (chunk) => {
      output += chunk;
    });
    child.once('error', reject);
    child.once('close', () => resolve(output.split('\n').slice(0, -1)));
    const lines = resources.map(
      (resource) => `${resource.type} ${resource.name} ${Buffer.from(encoded(resource)).toString('base64')}\n`,
    );
    child.stdin.end(lines.join(''));
  });
}

function encoded(resource: IstioResource): Uint8Array {
  if (resource.type === 'ServiceEntry') return ServiceEntry.encode(resource.body).finish();
  if (resource.type === 'Gateway') return Gateway.encode(resource.body).finish();
  return VirtualService.encode(resource.body).finish();
}

describe('what is sent', function () {
  this.timeout(180_000);
  const projections: Projection[] = [];

  before(async function () {
    await requireServers(this, 'istio-validator', 'istiod', 'envoy');
    for (let seed = 1; seed <= 60; seed++) projections.push(fuzzed(seed));
  });

  it("passes Istio's own validation, whatever the registries hold", async () => {
    const resources = projections.flatMap((projection) => projection.resources());
    const found = await verdicts(resources);
    expect(found).to.have.length(resources.length);
    const refused = resources.flatMap(({ body }, index) =>
      found[index] === '' ? [] : [`${found[index]}: ${JSON.stringify(body)}`],
    );
    const quarantined = projections.reduce((sum, one) => sum + [...one.rejected().values()].flat().length, 0);
    const count = (type: ResourceType) => resources.filter((resource) => resource.type === type).length;
    console.log(
      `      ${count('ServiceEntry')} entries, ${count('Gateway')} Gateways, ${count('VirtualService')} VirtualServices, ${refused.length} refused by Istio; ${quarantined} records quarantined before`,
    );
    expect(refused.slice(0, 3)).to.deep.equal([]);
    for (const type of ['ServiceEntry', 'Gateway', 'VirtualService'] as const)
      expect(count(type)).to.be.greaterThan(500);
  });

  it('is refused by Istio where it is not checked, so that the check means something', async () => {
    const resources = projections[0]?.resources() ?? [];
    const first = <Type extends ResourceType>(type: Type) =>
      resources.find((resource) => resource.type === type) as IstioResource<Type>;
    const entry = first('ServiceEntry');
    const { body } = entry;
    const gateway = first('Gateway');
    const virtualService = first('VirtualService');
    const broken: IstioResource[] = [
      { ...entry, body: { ...body, hosts: ['a_b'] } },
      { ...entry, body: { ...body, ports: [{ name: 'http', number: 0, protocol: 'HTTP', targetPort: 0 }] } },
      { ...entry, body: { ...body, endpoints: [{ ...body.endpoints[0], address: 'x..y' } as never] } },
      { ...gateway, name: 'a.b' },
      { ...gateway, body: { ...gateway.body, servers: [] } },
      { ...virtualService, body: { ...virtualService.body, gateways: ['mesh'] } },
      { ...virtualService, body: { ...virtualService.body, gateways: ['shop/a.b'] } },
    ];
    for (const verdict of await verdicts(broken)) expect(verdict).to.not.equal('');
  });

  it('is taken by a real Envoy through istiod', async () => {
    for (const seed of [1, 2, 3, 4]) {
      const listeners: XdsListener[] = [];
      const options = { host: '127.0.0.1', port: 0, log: pino({ level: 'silent' }) };
      const projection = fuzzed(seed, (empty) => listeners.push(new XdsListener(empty, options)));
      const listener = listeners[0] as XdsListener;
      await listener.open();
      listener.ready();
      const istiod = await startIstiod({ configSources: [`xds://${listener.addresses[0]}`] });
      const envoy = await startEnvoy(gatewayTo(istiod.xdsAddress, await freePort(), []));
      try {
        // istiod leaves draining endpoints out, and makes no cluster of DNS names then.
        const served = ({ resolution, endpoints }: ServiceEntry) =>
          resolution !== ServiceEntry_Resolution.DNS ||
          endpoints.length === 0 ||
          endpoints.some(({ labels }) => labels['istio.io/draining'] === undefined);
        const bodies = projection.entries().map(({ body }) => body);
        const hosts = new Set(bodies.filter(served).flatMap((body) => body.hosts));
        const stats = async () => await envoy.admin('/stats?filter=update_(rejected|success)|warming_clusters');
        const clusters = async () =>
          new Set(
            [...(await envoy.admin('/clusters')).matchAll(/^outbound\|\d+\|\|([^:]+)::/gm)].map(([, host]) => host),
          );
        await until('all clusters', async () => (await clusters()).size >= hosts.size, 30_000);
        await until('none warming', async () => (await stats()).includes('warming_clusters: 0'));
        const rejected = [...(await stats()).matchAll(/^(\S*update_rejected): (\d+)$/gm)].filter(
          ([, , count]) => count !== '0',
        );
        console.log(`      ${hosts.size} hosts`);
        expect(rejected.map(([line]) => line)).to.deep.equal([]);
      } finally {
        await envoy.stop();
        await istiod.stop();
        await listener.close();
      }
    }
  });
});
