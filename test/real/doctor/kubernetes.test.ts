import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect } from 'chai';
import { stringify } from 'yaml';
import { type KubeApi, startKubeApi } from '#test/servers/kubeapi.js';
import { startPontoon } from '#test/servers/pontoon.js';
import { freePort } from '#test/servers/ports.js';
import { serverFolder } from '#test/servers/process.js';
import { requireServers } from '#test/servers/require.js';
import { type Diagnosis, doctor } from './command.js';

const stranger = { name: 'stranger', token: 'the-token-of-a-stranger' };

describe('pontoon doctor on the Kubernetes sink', function () {
  this.timeout(120_000);
  let api: KubeApi;
  let folder: string;

  before(async function () {
    await requireServers(this, 'etcd', 'kube-apiserver');
    folder = serverFolder('doctor-kubernetes');
    writeFileSync(join(folder, 'services.yaml'), 'services: []\n');
    // With users, only the admin may do what no role allows.
    api = await startKubeApi({ users: [stranger] });
  });

  after(() => api?.stop());

  async function diagnosed(kubeconfig: string): Promise<Diagnosis> {
    const file = join(folder, 'pontoon.yaml');
    const config = {
      registries: [{ name: 'files', type: 'file', path: join(folder, 'services.yaml') }],
      istio: { xds: [], kubernetes: { kubeconfig } },
      admin: { listen: `127.0.0.1:${await freePort()}` },
    };
    writeFileSync(file, stringify(config));
    return doctor(file);
  }

  const onRights = ({ findings }: Diagnosis) => findings.find(({ subject }) => subject === 'istio.kubernetes');

  it('sees whether the account has the rights that the sink needs', async () => {
    const admin = await diagnosed(api.kubeconfig());
    expect(onRights(admin)).to.include({ verdict: 'ok' });
    expect(admin.status).to.equal(0);
    expect(admin.meshConfig).to.match(/^# Nothing is to be set/);
    const other = await diagnosed(api.kubeconfig(stranger));
    expect(onRights(other)).to.include({ verdict: 'fail' });
    expect(onRights(other)?.found).to.match(/may not list, watch, create, patch, delete serviceentries/);
    expect(other.status).to.equal(1);
    expect(other.output).not.to.include(stranger.token);
  });

  it('warns of services that are objects and over xDS', async () => {
    const pontoon = await startPontoon({
      registries: [{ name: 'files', type: 'file', path: join(folder, 'services.yaml') }],
      istio: { kubernetes: { kubeconfig: api.kubeconfig(), keepOnXds: true } },
    });
    try {
      const { findings } = await doctor(join(pontoon.folder, 'pontoon.yaml'));
      const both = findings.find(({ found }) => found.includes('both as objects and over xDS'));
      expect(both).to.include({ subject: 'istio.kubernetes', verdict: 'warn' });
    } finally {
      await pontoon.stop();
    }
  });

  it('with files only, names their directory for istiod', async () => {
    const file = join(folder, 'files.yaml');
    const config = {
      registries: [{ name: 'files', type: 'file', path: join(folder, 'services.yaml') }],
      istio: { xds: [], files: { directory: join(folder, 'istio') } },
      admin: { listen: `127.0.0.1:${await freePort()}` },
    };
    writeFileSync(file, stringify(config));
    const { findings, status, meshConfig } = await doctor(file);
    expect(meshConfig)
      .to.include(`- address: fs://${join(folder, 'istio')}`)
      .and.include('- address: k8s://');
    expect(status).to.equal(0);
    expect(findings.filter(({ verdict }) => verdict === 'fail')).to.deep.equal([]);
  });

  it('says that the API server cannot be reached', async () => {
    const none = await diagnosed(api.kubeconfig(stranger, await freePort()));
    expect(onRights(none)).to.include({ verdict: 'fail' });
    expect(onRights(none)?.found).to.match(/ECONNREFUSED/);
  });
});
