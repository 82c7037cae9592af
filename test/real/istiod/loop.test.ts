import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect } from 'chai';
import { stringify } from 'yaml';
import type { ServiceSummary } from '#admin/report.js';
import { type Istiod, startIstiod } from '#test/servers/istiod.js';
import { type Pontoon, startPontoon } from '#test/servers/pontoon.js';
import { until } from '#test/servers/probes.js';
import { serverFolder } from '#test/servers/process.js';
import { requireServers } from '#test/servers/require.js';
import { EntryFolder } from './folder.js';

describe('Pontoon, which reads the istiod that reads Pontoon', function () {
  this.timeout(60_000);
  const folder = new EntryFolder();
  const path = join(serverFolder('loop'), 'services.yaml');
  let pontoon: Pontoon;
  let istiod: Istiod;

  const write = (...names: string[]) => {
    const instances = [{ address: '10.0.0.1', port: 8080 }];
    writeFileSync(path, stringify({ services: names.map((name) => ({ name, instances })) }));
  };
  /** Hosts of the services → the registries that they are from. */
  const hosts = async (): Promise<Record<string, string>> => {
    const services = (await pontoon.get('/api/v1/services?q=')) as ServiceSummary[];
    return Object.fromEntries(services.map(({ host, registries }) => [host, registries.join()]));
  };
  const held = async () =>
    (await istiod.configz()).flatMap((entry) => (entry as { spec?: { hosts?: string[] } }).spec?.hosts ?? []).sort();

  before(async function () {
    await requireServers(this, 'istiod');
    write('orders.file', 'pay.file');
    folder.write('theirs', { 'theirs.mesh': { endpoints: [{ address: '10.0.1.1' }] } });
    const config = {
      registries: [{ name: 'ours', type: 'file', path }],
      // One that is not in the namespace by which ours can be told.
      policies: [{ when: 'service.name == "pay.file"', namespace: 'shop' }],
      istio: { grace: '4s' },
    };
    pontoon = await startPontoon(config);
    istiod = await startIstiod({ configSources: [pontoon.configSource, folder.configSource] });
    await until('istiod has ours', async () => (await held()).length === 3);
    const mesh = { name: 'mesh', type: 'istiod', servers: [istiod.xdsAddress] };
    await pontoon.reload({ ...config, registries: [...config.registries, mesh] });
  });

  after(async () => {
    await istiod?.stop();
    await pontoon?.stop();
  });

  it('has what others wrote there, and leaves its own services as they are', async () => {
    await until('theirs', async () => 'theirs.mesh' in (await hosts()));
    expect(await hosts()).to.deep.equal({ 'orders.file': 'ours', 'pay.file': 'ours', 'theirs.mesh': 'mesh' });
    expect(await pontoon.serviceEntries())
      .to.include('orders.file')
      .and.include('pay.file')
      .and.not.include('theirs');
    const [dropped] = (await pontoon.get('/api/v1/registries/mesh/dropped')) as { reason: string }[];
    expect(dropped?.reason).to.equal("left out by istio.namespace: it is in pontoon, where Pontoon's own entries are");
  });

  it('empties and deletes what is gone, although istiod still has it meanwhile', async () => {
    write('orders.file');
    await until('emptied', async () => (await hosts())['pay.file'] === '');
    expect(await held()).to.include('pay.file');
    await until('deleted', async () => !('pay.file' in (await hosts())));
    await until('deleted from istiod', async () => !(await held()).includes('pay.file'));
    expect(await hosts()).to.deep.equal({ 'orders.file': 'ours', 'theirs.mesh': 'mesh' });
  });
});
